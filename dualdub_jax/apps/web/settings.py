"""What a visitor can set, from the values of the page's controls to a request."""

import dataclasses
import pathlib
from collections.abc import Mapping

from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
MAX_SPEAKERS = 8  # that have a place for their voice on the page


@dataclasses.dataclass(frozen=True)
class Settings:
    """Values of the controls, in their order on the page; numbers are None where a field is empty.

    Attributes:
        use_speech, use_background, seed, rt60_s, noise_dbfs, max_rate, strict, allow_overrun: see
            `DubRequest`.
        suffix: of the film to deliver.
        allow_inaudible: the opposite of `DubRequest.must_speak`.
    """

    use_speech: bool = True
    use_background: bool = True
    seed: float | None = None
    suffix: str = SUFFIXES[0]
    rt60_s: float | None = None
    noise_dbfs: float | None = None
    max_rate: float | None = None
    strict: bool = False
    allow_overrun: bool = False
    allow_inaudible: bool = False

    @property
    def checked_suffix(self) -> str:
        """The suffix.

        Raises:
            UserError: it is not one of `SUFFIXES`.
        """
        if self.suffix not in SUFFIXES:
            raise UserError(f"{self.suffix}: unknown file format; choose one of {', '.join(SUFFIXES)}")
        return self.suffix

    def request(
        self,
        film: pathlib.Path,
        script: pathlib.Path | None,
        voice: pathlib.Path | None,
        voices: Mapping[str, pathlib.Path],
    ) -> DubRequest:
        """The request of these settings and files.

        Raises:
            UserError: a value is out of its range.
        """
        given = {} if self.max_rate is None else {"max_rate": self.max_rate}
        return DubRequest(
            film,
            script="" if script is None else str(script),
            voice=voice,
            voices=voices,
            use_speech=self.use_speech,
            use_background=self.use_background,
            seed=int(self.seed or 0),
            rt60_s=self.rt60_s,
            noise_dbfs=self.noise_dbfs,
            strict=self.strict,
            allow_overrun=self.allow_overrun,
            must_speak=not self.allow_inaudible,
            **given,
        )

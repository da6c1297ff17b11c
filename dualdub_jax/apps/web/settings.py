"""What a visitor can set, from the values of the page's controls to a request."""

import dataclasses
import pathlib

from dualdub_jax.dubbing.request import DubRequest

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Values of the controls, in their order on the page.

    Attributes:
        use_speech, use_background, rt60_s, noise_dbfs, seed, allow_overrun: see `DubRequest`.
        allow_inaudible: the opposite of its `must_speak`.
        suffix: of the film to deliver.
    """

    use_speech: bool = True
    use_background: bool = True
    seed: float | None = 0
    suffix: str = ".mp4"
    rt60_s: float | None = None
    noise_dbfs: float | None = None
    allow_overrun: bool = False
    allow_inaudible: bool = False

    def request(
        self, film: pathlib.Path, script: pathlib.Path | None, voice: pathlib.Path | None
    ) -> DubRequest:
        """The request of these settings and files.

        Raises:
            UserError: a value is out of its range.
        """
        request = DubRequest(
            film,
            script="" if script is None else str(script),
            voice=voice,
            use_speech=self.use_speech,
            use_background=self.use_background,
            rt60_s=self.rt60_s,
            noise_dbfs=self.noise_dbfs,
            seed=0 if self.seed is None else int(self.seed),
            allow_overrun=self.allow_overrun,
            must_speak=not self.allow_inaudible,
        )
        request.check()
        return request

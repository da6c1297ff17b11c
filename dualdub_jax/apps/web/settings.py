"""What a visitor can set, from the values of the page's controls to a request."""

import dataclasses
import pathlib
from collections.abc import Mapping

from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from dualdub_jax.media.original_sound import OF_FILM

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
STEM_RATES = ("the model's", "44100 Hz", "48000 Hz")
MAX_TAKES = 4  # at once
MAX_SPEAKERS = 8  # that have a place for their voice on the page


@dataclasses.dataclass(frozen=True)
class Delivery:
    """Formats of the files to download.

    Attributes:
        suffix: of the film.
        add_subtitles: the film gets a track of them.
        language: of the speech, for players' menus; "": not stated.
        stem_rate: sample rate of the stems, Hz; None: the model's.
    """

    suffix: str = SUFFIXES[0]
    add_subtitles: bool = False
    language: str = ""
    stem_rate: int | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """Values of the controls, in their order on the page; numbers are None where a field is empty.

    Attributes:
        use_speech, use_background, seed, takes, rt60_s, noise_dbfs, max_rate, strict, allow_overrun: see
            `DubRequest`.
        suffix, add_subtitles, language: see `Delivery`.
        stem_rate: one of `STEM_RATES`.
        lufs, true_peak, duck: see `MixSettings`.
        own_sound_db: gain of the film's own sound; None: it is replaced.
        allow_inaudible: the opposite of `DubRequest.must_speak`.
    """

    use_speech: bool = True
    use_background: bool = True
    seed: float | None = None
    takes: float | None = 1
    suffix: str = SUFFIXES[0]
    add_subtitles: bool = False
    language: str | None = ""
    stem_rate: str = STEM_RATES[0]
    lufs: float | None = None
    true_peak: float | None = None
    duck: float | None = 0.0
    own_sound_db: float | None = None
    rt60_s: float | None = None
    noise_dbfs: float | None = None
    max_rate: float | None = None
    strict: bool = False
    allow_overrun: bool = False
    allow_inaudible: bool = False

    @property
    def delivery(self) -> Delivery:
        """The formats.

        Raises:
            UserError: an unknown one.
        """
        if self.suffix not in SUFFIXES:
            raise UserError(f"{self.suffix}: unknown file format; choose one of {', '.join(SUFFIXES)}")
        if self.stem_rate not in STEM_RATES:
            raise UserError(f"{self.stem_rate}: unknown rate; choose one of {', '.join(STEM_RATES)}")
        rate = None if self.stem_rate == STEM_RATES[0] else int(self.stem_rate.removesuffix(" Hz"))
        return Delivery(self.suffix, self.add_subtitles, (self.language or "").strip(), rate)

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
        if self.takes is not None and not 1 <= self.takes <= MAX_TAKES:
            raise UserError(f"“Takes” is {self.takes:g}: choose from 1 to {MAX_TAKES}")
        given = {} if self.max_rate is None else {"max_rate": self.max_rate}
        return DubRequest(
            film,
            script="" if script is None else str(script),
            voice=voice,
            voices=voices,
            use_speech=self.use_speech,
            use_background=self.use_background,
            seed=int(self.seed or 0),
            takes=int(self.takes or 1),
            rt60_s=self.rt60_s,
            noise_dbfs=self.noise_dbfs,
            strict=self.strict,
            allow_overrun=self.allow_overrun,
            must_speak=not self.allow_inaudible,
            mix=MixSettings(
                self.lufs,
                self.true_peak,
                self.duck or 0.0,
                {} if self.own_sound_db is None else {OF_FILM: self.own_sound_db},
            ),
            **given,
        )

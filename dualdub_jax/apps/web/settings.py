"""What a visitor can set, from the values of the page's controls to a request."""

import dataclasses
import pathlib
from collections.abc import Mapping

from dualdub_jax.apps.web.numbers import read_number, read_seed, read_whole_number
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.original_sound import OF_FILM
from dualdub_jax.media.rehearsal import check_container

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
FITTING = "what fits the film"
_BY_PREFERENCE = (".mp4", ".webm", ".mkv")  # players know MP4 best; MKV holds nearly everything
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
    """Values of the controls, in their order on the page; numbers are texts, which may be empty.

    Attributes:
        use_speech, use_background, seed, takes, rt60_s, noise_dbfs, max_rate, strict, allow_overrun: see
            `DubRequest`.
        suffix: see `Delivery`; `FITTING`: MP4, or else one that holds the film's video.
        add_subtitles, language: see `Delivery`.
        stem_rate: one of `STEM_RATES`.
        lufs, true_peak, duck: see `MixSettings`.
        own_sound_db: gain of the film's own sound; None: it is replaced.
        allow_inaudible: the opposite of `DubRequest.must_speak`.
    """

    use_speech: bool = True
    use_background: bool = True
    seed: str | None = None
    takes: str | None = None
    suffix: str = FITTING
    add_subtitles: bool = False
    language: str | None = ""
    stem_rate: str = STEM_RATES[0]
    lufs: str | None = None
    true_peak: str | None = None
    duck: str | None = None
    own_sound_db: str | None = None
    rt60_s: str | None = None
    noise_dbfs: str | None = None
    max_rate: str | None = None
    strict: bool = False
    allow_overrun: bool = False
    allow_inaudible: bool = False

    def delivery(self, film: Film) -> Delivery:
        """The formats for a film.

        Raises:
            UserError: an unknown one.
        """
        suffix = _fitting_suffix(film) if self.suffix == FITTING else self.suffix
        if suffix not in SUFFIXES:
            raise UserError(f"{suffix}: unknown file format; choose one of {', '.join(SUFFIXES)}")
        if self.stem_rate not in STEM_RATES:
            raise UserError(f"{self.stem_rate}: unknown rate; choose one of {', '.join(STEM_RATES)}")
        rate = None if self.stem_rate == STEM_RATES[0] else int(self.stem_rate.removesuffix(" Hz"))
        return Delivery(suffix, self.add_subtitles, (self.language or "").strip(), rate)

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
        seed = read_seed(self.seed)
        takes = read_whole_number(self.takes, "Takes")
        if takes is not None and not 1 <= takes <= MAX_TAKES:
            raise UserError(f"“Takes” is {takes}: choose from 1 to {MAX_TAKES}")
        max_rate = read_number(self.max_rate, "Fastest speech")
        own_sound_db = read_number(self.own_sound_db, "Keep the film's own sound")
        return DubRequest(
            film,
            script="" if script is None else str(script),
            voice=voice,
            voices=voices,
            use_speech=self.use_speech,
            use_background=self.use_background,
            seed=seed or 0,
            takes=takes or 1,
            rt60_s=read_number(self.rt60_s, "Reverberation time"),
            noise_dbfs=read_number(self.noise_dbfs, "Noise floor"),
            strict=self.strict,
            allow_overrun=self.allow_overrun,
            must_speak=not self.allow_inaudible,
            mix=MixSettings(
                read_number(self.lufs, "Loudness"),
                read_number(self.true_peak, "True peak"),
                read_number(self.duck, "Ducking") or 0.0,
                {} if own_sound_db is None else {OF_FILM: own_sound_db},
            ),
            **({} if max_rate is None else {"max_rate": max_rate}),
        )


def _fitting_suffix(film: Film) -> str:
    for suffix in _BY_PREFERENCE:
        try:
            check_container(film, film.path.with_suffix(suffix))
        except UserError:
            continue
        return suffix
    return SUFFIXES[0]  # which says what is wrong

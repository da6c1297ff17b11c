"""What a film maker asks of the mix: loudness, ducking, and sound of the film's own."""

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterable, Mapping

from dualdub_jax.errors import UserError
from dualdub_jax.media.original_sound import OF_FILM
from dualdub_jax.stores.path import as_local_path

LUFS_RANGE = (-50.0, -5.0)
TRUE_PEAK_RANGE = (-20.0, 0.0)
DUCK_RANGE = (0.0, 40.0)
GAIN_RANGE = (-60.0, 20.0)
DEFAULT_TRUE_PEAK_DBTP = -1.0
_GAIN = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)\s*(?:db)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class MixSettings:
    """Settings of a mix. The defaults are a plain sum below a peak of -1 dB full scale.

    Attributes:
        lufs: integrated loudness of the mix, -50 to -5 LUFS; None: no target.
        true_peak: highest true peak of the mix, -20 to 0 dBTP; None: -1 if there is a loudness, else samples
            are kept below -1 dB full scale.
        duck: how far the background, and the film's own sound, are lowered under speech, 0 to 40 dB.
        keep_original: gains in dB, -60 to 20, of sound files to mix in, by path; "film": the film's own
            sound. Also an iterable of texts as "music.wav=-12dB".
    """

    lufs: float | None = None
    true_peak: float | None = None
    duck: float = 0.0
    keep_original: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Accepts texts for sounds and their gains.

        Raises:
            UserError: a text without a gain, a sound named twice, or a URL.
        """
        kept = self.keep_original
        pairs = kept.items() if isinstance(kept, Mapping) else [_parse(text) for text in _texts(kept)]
        sounds: dict[str, float] = {}
        for name, gain_db in pairs:
            name = OF_FILM if str(name) == OF_FILM else str(as_local_path(name))
            if name in sounds:
                raise UserError(f"keep_original (--keep-original): {name} is named twice; name it once")
            sounds[name] = gain_db
        object.__setattr__(self, "keep_original", sounds)

    @property
    def limit_dbtp(self) -> float | None:
        """The highest true peak, dBTP; None: only samples are limited."""
        if self.true_peak is None and self.lufs is not None:
            return DEFAULT_TRUE_PEAK_DBTP
        return self.true_peak

    @property
    def inputs(self) -> tuple[pathlib.Path, ...]:
        """The sound files."""
        return tuple(pathlib.Path(name) for name in self.keep_original if name != OF_FILM)

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            UserError: one is out of its range.
        """
        _check("lufs (--lufs)", self.lufs, LUFS_RANGE, "LUFS")
        _check("true_peak (--true-peak)", self.true_peak, TRUE_PEAK_RANGE, "dBTP")
        _check("duck (--duck)", self.duck, DUCK_RANGE, "dB")
        for name, gain_db in self.keep_original.items():
            _check(f"keep_original (--keep-original): the gain of {name}", gain_db, GAIN_RANGE, "dB")


def _texts(sounds: Iterable[str]) -> Iterable[str]:
    return [sounds] if isinstance(sounds, str) else sounds


def _parse(text: str) -> tuple[str, float]:
    """Name and gain of "music.wav=-12dB"; a name may contain equals signs itself."""
    name, separator, gain = str(text).rpartition("=")
    found = _GAIN.fullmatch(gain.strip())
    if not separator or not name or found is None:
        raise UserError(
            f"keep_original (--keep-original): {text!r} names no sound with its gain; give FILE=GAIN, such "
            f"as music.wav=-12dB, or {OF_FILM}=-12dB for the film's own sound"
        )
    return name, float(found[1])


def _check(name: str, value: float | None, limits: tuple[float, float], unit: str) -> None:
    if value is None:
        return
    lowest, highest = limits
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
    if not lowest <= number <= highest:
        shown = f"{value:g}" if isinstance(value, float) else value
        raise UserError(f"{name} is {shown}: choose from {lowest:g} to {highest:g} {unit}")

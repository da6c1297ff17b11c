"""A request: inputs and settings of a dub, checked before any model is loaded."""

import dataclasses
import numbers
import os
import pathlib
import stat
import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from dualdub_jax.config import SAMPLING_RANGES, SamplingConfig
from dualdub_jax.dsp.acoustics import ACOUSTICS_RANGES
from dualdub_jax.dubbing.casting import read_cast
from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE
from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media
from dualdub_jax.stores.path import as_local_path

MOST_TAKES = 999  # of a project; their numbers have three digits
_NO_FILES = {stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK}
# Options of fields that are not named as their field.
_OPTIONS = {
    "video": "VIDEO",
    "rt60_s": "--rt60",
    "noise_dbfs": "--noise",
    "use_speech": "--no-speech",
    "use_background": "--no-background",
    "must_speak": "--allow-inaudible",
}
_UNITS = {"rt60_s": "s", "noise_dbfs": "dBFS"}
_WHOLE, _REAL = ("seed", "takes"), ("rt60_s", "noise_dbfs", "max_rate")
_SWITCHES = ("use_speech", "use_background", "allow_overrun", "must_speak", "strict")


def check_seed(seed: Any) -> None:
    """Raises `UserError` unless a seed is a whole number from 0."""
    check_whole("seed (--seed)", seed, 0)


def check_whole(name: str, value: Any, lowest: int, highest: int | None = None) -> None:
    """Raises `UserError` unless a value is a whole number of a range; `name` is for the message."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < lowest or (highest is not None and value > highest):
        limits = f"from {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise UserError(f"{name} is {_shown(value)}: give a whole number {limits}")


def _is_within(value: Any, lowest: float, highest: float) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and lowest <= value <= highest


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def option_of(field: str) -> str:
    """The option of the command line that sets a field of `DubRequest`."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


@dataclasses.dataclass(frozen=True)
class DubRequest:
    """What to generate for which film.

    Attributes:
        video: any film, half a second or longer; its own sound is ignored unless `mix` keeps it.
        script: the words to speak, or the path of a text or subtitle file; empty: no speech.
        voice: a recording of the reference voice; None: a voice sampled by the model.
        use_speech: False: the speech track is all zeros and not in the mix.
        use_background: likewise.
        rt60_s: reverberation time of both tracks, 0.05 to 3.2 s; None: sampled.
        noise_dbfs: noise floor of both tracks, -80 to -20 dBFS; None: sampled.
        seed: equal seeds and inputs give equal tracks.
        sampling: settings of the sampler; a mapping replaces some of the checkpoint's, None none.
        allow_overrun: cut cues at the video's end, where they would be an error.
        must_speak: False: a script of which nothing is audible is a warning, where it would be an error (but
            for loud room noise, which may hide speech).
        voices: by name of a speaker in the script, a recording of the voice; also the path of a JSON file of
            them. `voice` is then that of words for which the script names nobody.
        max_rate: the fastest speech allowed, as a factor of the comfortable rate of 14 letters a second;
            cues and scripts that need more are an error.
        strict: True: any speech faster than is comfortable is an error.
        mix: loudness, ducking and sound to keep; a mapping names some settings of `MixSettings`.
        takes: variants to generate, with the seeds `seed`, `seed + 1`, …; the best one is delivered.
    """

    video: pathlib.Path
    script: str = ""
    voice: pathlib.Path | None = None
    use_speech: bool = True
    use_background: bool = True
    rt60_s: float | None = None
    noise_dbfs: float | None = None
    seed: int = 0
    sampling: SamplingConfig | Mapping[str, float] | None = None
    allow_overrun: bool = False
    must_speak: bool = True
    voices: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    max_rate: float = MAX_RATE / COMFORTABLE_RATE
    strict: bool = False
    mix: MixSettings | Mapping[str, Any] = dataclasses.field(default_factory=MixSettings)
    takes: int = 1

    def __post_init__(self) -> None:
        """Accepts strings for paths, a path or None for the script, and numbers of any library.

        Raises:
            UserError: a URL; the script is a path that does not exist, or no text; an unknown setting of
                the mix, or a sound to keep without its gain; see also `read_cast`.
        """
        for of, kind, names in ((numbers.Integral, int, _WHOLE), (numbers.Real, float, _REAL)):
            for name in names:
                value = getattr(self, name)
                if isinstance(value, of) and not isinstance(value, bool):
                    object.__setattr__(self, name, kind(value))
        object.__setattr__(self, "video", as_local_path(self.video))
        if isinstance(self.script, os.PathLike) and not pathlib.Path(self.script).exists():
            raise UserError(
                f"{self.script}: no such script file; give a path that exists, or the text itself"
            )
        if not isinstance(self.script, str | os.PathLike | None):
            raise UserError(f"script is a {type(self.script).__name__}; give text or the path of a file")
        object.__setattr__(self, "script", "" if self.script is None else str(self.script))
        if self.voice is not None:
            object.__setattr__(self, "voice", as_local_path(self.voice))
        is_file = isinstance(self.voices, str | os.PathLike)
        object.__setattr__(self, "_voices_file", pathlib.Path(self.voices) if is_file else None)
        object.__setattr__(self, "voices", read_cast(self.voices))
        if not isinstance(self.mix, MixSettings | Mapping):
            raise UserError(f"mix is a {type(self.mix).__name__}; give settings by name, such as lufs")
        if not isinstance(self.mix, MixSettings):
            known = [field.name for field in dataclasses.fields(MixSettings)]
            if unknown := set(self.mix) - set(known):
                raise UserError(f"mix: no setting {', '.join(sorted(unknown))}; there are {', '.join(known)}")
            object.__setattr__(self, "mix", MixSettings(**self.mix))

    @property
    def inputs(self) -> tuple[pathlib.Path, ...]:
        """Paths that no output may overwrite; the script may be text, which is no file's name."""
        script = pathlib.Path(self.script) if self.script else None
        paths = (self.video, self.voice, script, self._voices_file, *self.voices.values(), *self.mix.inputs)
        return tuple(path for path in paths if path is not None)

    @property
    def files(self) -> dict[str, pathlib.Path]:
        """The files that are read, by the name of their field; a voice of the cast by that and its name, a
        sound to keep by that and its path.

        The script is among them only if it is a file.
        """
        paths = {"video": self.video, "voice": self.voice}
        paths |= {f"voices {name}": path for name, path in self.voices.items()}
        paths |= {f"keep_original {path}": path for path in self.mix.inputs}
        if self.script and os.path.isfile(self.script):
            paths["script"] = pathlib.Path(self.script)
        return {name: path for name, path in paths.items() if path is not None}

    @property
    def acoustics(self) -> dict[str, float]:
        """Requested acoustics by field of `Acoustics`, in its units; omitted fields are sampled."""
        asked = {"rt60_s": self.rt60_s, "noise_dbfs": self.noise_dbfs}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def fastest_rate(self) -> Fraction:
        """Letters a second that are allowed."""
        # Exact for the default, whose quotient is not.
        factor = Fraction(1) if self.strict else Fraction(self.max_rate).limit_denominator(1000)
        return factor * COMFORTABLE_RATE

    def sampling_with(self, defaults: SamplingConfig) -> SamplingConfig:
        """The sampler's settings: the checkpoint's, with the request's overrides."""
        if isinstance(self.sampling, SamplingConfig):
            return self.sampling
        return dataclasses.replace(defaults, **(self.sampling or {}))

    def check(self) -> None:
        """Checks all that needs neither the film's length nor a model.

        Raises:
            UserError: both tracks are off, a value is out of its range, an unknown setting of the sampler,
                the script is no file, or a voice's file cannot be opened.
        """
        if not self.use_speech and not self.use_background:
            raise UserError(
                "--no-speech and --no-background: nothing is left to generate; leave one of them out"
            )
        for name in _SWITCHES:
            if (value := getattr(self, name)) not in (True, False):
                raise UserError(f"{name} ({option_of(name)}) is {value!r}: give True or False")
        for name, value in self.acoustics.items():
            lowest, highest = ACOUSTICS_RANGES[name]
            if not _is_within(value, lowest, highest):
                raise UserError(
                    f"{name} ({option_of(name)}) is {_shown(value)}: choose from {lowest:g} to {highest:g} "
                    f"{_UNITS[name]}"
                )
        check_seed(self.seed)
        if not _is_within(self.max_rate, 1, sys.float_info.max):
            raise UserError(
                f"max_rate (--max-rate) is {_shown(self.max_rate)}: give a factor of the comfortable rate, "
                "from 1"
            )
        check_whole("takes (--takes)", self.takes, 1, MOST_TAKES)
        self._check_sampling()
        if os.path.exists(self.script) and stat.S_IFMT(os.stat(self.script).st_mode) in _NO_FILES:
            raise UserError(f"{self.script}: is a pipe or a device; save it as a script file first")
        self.mix.check()
        for path in filter(None, (self.voice, *self.voices.values())):
            open_media(path, "sound").close()

    def _check_sampling(self) -> None:
        settings = self.sampling or {}
        if isinstance(settings, SamplingConfig):
            settings = dataclasses.asdict(settings)
        if not isinstance(settings, Mapping):
            raise UserError(f"sampling is a {type(settings).__name__}; give settings by name")
        kinds = {field.name: field.type for field in dataclasses.fields(SamplingConfig)}
        if unknown := set(settings) - set(kinds):
            raise UserError(
                f"sampling: no setting {', '.join(sorted(map(str, unknown)))}; there are {', '.join(kinds)}"
            )
        for name, value in settings.items():
            label = f"{name} ({option_of(name)})"
            lowest, highest = SAMPLING_RANGES.get(name, (0, sys.float_info.max))
            if kinds[name] is int:
                check_whole(label, value, 0)
            elif not _is_within(value, lowest, highest):
                limits = f"of at least {lowest:g}" if highest > 1 else f"from {lowest:g} to {highest:g}"
                raise UserError(f"{label} is {_shown(value)}: give a number {limits}")

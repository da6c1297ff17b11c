"""Speech and background out of a mix, by one interface."""

import importlib.util
import pathlib
import tempfile
from typing import Any, NamedTuple, Protocol

import numpy as np
import soundfile

from dualdub_jax.data_pipeline.builders.clips.sound import Sound
from dualdub_jax.errors import UserError
from dualdub_jax.media.sound_file import read_mono

_SPEECH_STEMS = ("vocals", "speech", "dialog", "dialogue", "voice")
_GATE_LENGTH, _GATE_DB = 1024, 9.0


class Stems(NamedTuple):
    """float32[S] each, as long as the mix and at its rate."""

    speech: np.ndarray
    background: np.ndarray


class Separator(Protocol):
    """Separates a mix.

    Attributes:
        fingerprint: tells the method and its weights.
    """

    fingerprint: str

    def separate(self, mix: Sound) -> Stems:
        """Separates a mono mix."""
        ...


def check_separator(method: str, model: pathlib.Path | None) -> None:
    """Fails before any work if a method cannot be used.

    Args:
        method: "gate" or "audio-separator".
        model: the checkpoint's file, for "audio-separator".

    Raises:
        UserError: no checkpoint, or the package is not installed.
    """
    if method == "gate":
        if model is not None:
            raise UserError("--separator-model: only goes with --separate audio-separator; leave it out")
        return
    if model is None:
        raise UserError(
            "--separate audio-separator: needs --separator-model FILE, a checkpoint that the package knows, "
            "such as vocals_mel_band_roformer.ckpt or htdemucs_ft.yaml; `audio-separator --list_models` "
            "lists them, and `audio-separator -m NAME --download_model_only` gets one"
        )
    if not model.is_file():
        raise UserError(f"{model}: no such file; give --separator-model the checkpoint of a separation model")
    if importlib.util.find_spec("audio_separator") is None:
        raise UserError(
            "--separate audio-separator: needs the package audio-separator and torch; "
            "pip install 'dualdub-jax[separate]'"
        )


def make_separator(method: str, model: pathlib.Path | None) -> Separator:
    """The separator of a method; see `check_separator`."""
    return SpectralGate() if method == "gate" else AudioSeparator(model)


class SpectralGate:
    """Takes what rises above the usual level of each frequency for speech; for tests and nothing else.

    Source: our choice; after spectral subtraction (Boll, 1979).
    """

    fingerprint = f"gate-{_GATE_LENGTH}-{_GATE_DB:g}"

    def separate(self, mix: Sound) -> Stems:
        """See `Separator`. The two stems add up to the mix."""
        import scipy.signal  # not in each building process: it takes a second

        length = min(_GATE_LENGTH, max(len(mix.samples), 2))
        _, _, spectrum = scipy.signal.stft(mix.samples, nperseg=length)
        levels = np.abs(spectrum)
        floor = np.median(levels, axis=1, keepdims=True)
        mask = levels > floor * 10 ** (_GATE_DB / 20)
        speech = scipy.signal.istft(spectrum * mask, nperseg=length)[1][: len(mix.samples)]
        speech = np.pad(speech, (0, len(mix.samples) - len(speech))).astype(np.float32)
        return Stems(speech, mix.samples - speech)


class AudioSeparator:
    """Mel-Band-RoFormer, Demucs and others, by the package `audio-separator`.

    Stems of the model that are not speech are added up.

    Args:
        model: the checkpoint's file; the package finds its configuration by the file's name.
    """

    def __init__(self, model: pathlib.Path) -> None:
        self._model = model
        self.fingerprint = f"audio-separator-{model.name}"
        self._loaded: tuple[Any, tempfile.TemporaryDirectory] | None = None

    def separate(self, mix: Sound) -> Stems:
        """See `Separator`.

        Raises:
            UserError: the model has no stem of speech.
        """
        separator, folder = self._load()
        mix_file = pathlib.Path(folder.name) / "mix.wav"
        soundfile.write(mix_file, mix.samples, mix.sample_rate_hz, subtype="FLOAT")
        try:
            names = separator.separate(str(mix_file))
        except Exception as error:  # of any type, from the package or from torch; the clip is dropped
            raise UserError(f"{self._model}: separation failed ({error})") from error
        files = [pathlib.Path(folder.name) / pathlib.Path(name).name for name in names]
        speech = background = None
        for file in files:
            stem = _fitted(read_mono(file, mix.sample_rate_hz, max_s=np.inf), len(mix.samples))
            file.unlink()
            # Files are called "mix_(Vocals)_MODEL.wav".
            name = file.name.partition("(")[2].partition(")")[0].lower()
            if name in _SPEECH_STEMS:
                speech = stem
            else:
                background = stem if background is None else background + stem
        if speech is None:
            found = ", ".join(file.name for file in files) or "none"
            raise UserError(
                f"{self._model}: gives no stem called {' or '.join(_SPEECH_STEMS)} ({found}); give a model "
                "that separates speech"
            )
        return Stems(speech, mix.samples - speech if background is None else background)

    def _load(self) -> tuple[Any, tempfile.TemporaryDirectory]:
        """Once a process: a model takes seconds to load."""
        if self._loaded is None:
            from audio_separator.separator import Separator as Package

            folder = tempfile.TemporaryDirectory(prefix="dualdub-")
            separator = Package(
                model_file_dir=str(self._model.parent),
                output_dir=folder.name,
                output_format="WAV",
                normalization_threshold=1.0,
                log_level=40,
            )
            separator.load_model(model_filename=self._model.name)
            self._loaded = separator, folder
        return self._loaded


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))

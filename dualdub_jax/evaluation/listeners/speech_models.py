"""UTMOS and WavLM for speaker verification, on single recordings."""

import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.config import from_dict
from dualdub_jax.encoders.audio.utmos import Utmos, UtmosConfig
from dualdub_jax.encoders.audio.wavlm_sv import WavlmSv, WavlmSvConfig, least_samples

_BUCKET_SAMPLES = 16_000  # lengths are padded to multiples, so that few programs are compiled
_LEAST_UTMOS_SAMPLES = 1_600


class SpeechModel:
    """A network of waveforms with its weights.

    Args:
        folder: of `dualdub convert`.
        kind: "utmos" or "wavlm_sv".

    Raises:
        UserError: as `read_converted`.
    """

    def __init__(self, folder: pathlib.Path, kind: str) -> None:
        sizes, params = read_converted(folder, kind)
        self._params = jax.device_put(params)
        if kind == "utmos":
            module: Any = Utmos(from_dict(sizes, UtmosConfig, str(folder)))
            self._least = _LEAST_UTMOS_SAMPLES
        else:
            module = WavlmSv(from_dict(sizes, WavlmSvConfig, str(folder)))
            self._least = least_samples(module.config)
        self._apply = jax.jit(lambda params, x, n: module.apply({"params": params}, x, n))

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """The network's output for one recording.

        Args:
            waveform: float[S] at 16 kHz; zeros are appended to one below a third of a second (WavLM) or
                0.1 s (UTMOS).

        Returns:
            float32[512] of WavLM, not normalised; float32[] of UTMOS.
        """
        samples = np.asarray(waveform, np.float32)
        length = max(len(samples), self._least)
        padded = math.ceil(length / _BUCKET_SAMPLES) * _BUCKET_SAMPLES
        batch = np.pad(samples, (0, padded - len(samples)))[None]
        with jax.default_matmul_precision("highest"):
            return np.asarray(self._apply(self._params, batch, np.array([length], np.int32)))[0]


@functools.cache
def load(folder: pathlib.Path, kind: str) -> SpeechModel:
    """A model, loaded once a process."""
    return SpeechModel(folder, kind)

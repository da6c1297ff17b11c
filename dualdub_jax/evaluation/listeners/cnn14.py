"""Cnn14 of PANNs with the preprocessing of `audioldm_eval`."""

import math
import pathlib

import jax
import numpy as np

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.config import from_dict
from dualdub_jax.dsp.sinc_resample import sinc_resample
from dualdub_jax.encoders.audio.cnn14 import Cnn14, Cnn14Config, log_mel
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

LEAST_SAMPLES = 32_000  # at the network's rate; shorter clips are padded with zeros
_BUCKET_FRAMES = 128  # lengths are padded to multiples, so that few programs are compiled


class Cnn14Tagger:
    """The network with its weights.

    Args:
        folder: of `dualdub convert`.

    Raises:
        UserError: as `read_converted`.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        sizes, params = read_converted(folder, "cnn14")
        self.config = from_dict(sizes, Cnn14Config, str(folder))
        self._filters, self._params = params["filters"], jax.device_put(params["network"])
        self._apply = jax.jit(lambda params, x, n: Cnn14(self.config).apply({"params": params}, x, n))

    def __call__(self, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeds a whole clip.

        Args:
            waveform: float[S] at 16 kHz; its mean is subtracted.

        Returns:
            float32[2048] and class logits float32[527].
        """
        samples = np.asarray(waveform, np.float32)
        samples = samples - (samples.mean() if len(samples) else 0.0)
        samples = sinc_resample(samples, SAMPLE_RATE_HZ, self.config.sample_rate_hz)
        samples = np.pad(samples, (0, max(0, LEAST_SAMPLES - len(samples))))
        mels = log_mel(samples, self._filters, self.config)
        padded = math.ceil(len(mels) / _BUCKET_FRAMES) * _BUCKET_FRAMES
        batch = np.pad(mels, ((0, padded - len(mels)), (0, 0)))[None]
        with jax.default_matmul_precision("highest"):
            embedding, logits = self._apply(self._params, batch, np.array([len(mels)], np.int32))
        return np.asarray(embedding)[0], np.asarray(logits)[0]

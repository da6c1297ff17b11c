"""VGGish with the preprocessing of `audioldm_eval`."""

import pathlib

import jax
import numpy as np

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.config import from_dict
from dualdub_jax.encoders.audio.vggish import Vggish, VggishConfig, log_mel_patches

LEAST_SAMPLES = 32_000  # shorter clips are padded with zeros
_BATCH = 4  # patches a call, so that one program serves clips of any length


class VggishEncoder:
    """The network with its weights.

    Args:
        folder: of `dualdub convert`.

    Raises:
        UserError: as `read_converted`.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        sizes, params = read_converted(folder, "vggish")
        self.config = from_dict(sizes, VggishConfig, str(folder))
        self._params = jax.device_put(params)
        self._apply = jax.jit(lambda params, x: Vggish(self.config).apply({"params": params}, x))

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Embeds every 0.96 s of a clip.

        Args:
            waveform: float[S] at 16 kHz; its mean is subtracted.

        Returns:
            float32[N, 128], N at least 2.
        """
        samples = np.asarray(waveform, np.float32)
        samples = samples - (samples.mean() if len(samples) else 0.0)
        patches = log_mel_patches(np.pad(samples, (0, max(0, LEAST_SAMPLES - len(samples)))))
        parts = []
        with jax.default_matmul_precision("highest"):
            for first in range(0, len(patches), _BATCH):
                part = patches[first : first + _BATCH]
                padded = np.pad(part, ((0, _BATCH - len(part)), (0, 0), (0, 0)))
                parts.append(np.asarray(self._apply(self._params, padded))[: len(part)])
        return np.concatenate(parts)

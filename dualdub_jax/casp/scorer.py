"""CASP embeddings of stems in the conventions of DualBench and PodEval."""

import functools
from typing import Literal

import jax
import numpy as np

from dualdub_jax.casp import bundle
from dualdub_jax.casp.model import Casp
from dualdub_jax.casp.waveform import dualbench_windows, is_silent, podeval_chunks
from dualdub_jax.stores.path import StorePath
from dualdub_jax.types import Stream

Convention = Literal["dualbench", "podeval"]

_MAX_BATCH = 8


class CaspScorer:
    """CASP with its weights.

    Args:
        weights: folder written by `bundle.save`.

    Raises:
        UserError: as `bundle.load`.
    """

    def __init__(self, weights: StorePath) -> None:
        self.config, self._params = bundle.load(weights, "casp")
        self.weights_sha256 = bundle.params_sha256(self._params)
        model = Casp(self.config)
        self._embed = {
            stream: jax.jit(functools.partial(model.apply, method=method))
            for stream, method in (("speech", Casp.embed_speech), ("background", Casp.embed_background))
        }

    def embed(
        self, stream: Stream, stem: np.ndarray, convention: Convention = "dualbench"
    ) -> np.ndarray | None:
        """Embeds the windows of a stem.

        Args:
            stream: selects the encoder.
            stem: float32[S] at 16 kHz.
            convention: of the windowing, see `waveform.py`.

        Returns:
            float32[N, D] of unit norm, one row per window; None for a stem that is silent, empty or not
            finite.
        """
        stem = np.asarray(stem, np.float32)
        if not np.isfinite(stem).all() or is_silent(stem):
            return None
        if convention == "dualbench":
            windows = dualbench_windows(
                stem,
                self.config.score_crop_samples,
                self.config.score_window_samples,
                self.config.score_hop_samples,
            )
        else:
            windows = np.stack(list(podeval_chunks(stem)))
        return np.concatenate(
            [
                self._embed_batch(stream, windows[i : i + _MAX_BATCH])
                for i in range(0, len(windows), _MAX_BATCH)
            ]
        )

    def _embed_batch(self, stream: Stream, windows: np.ndarray) -> np.ndarray:
        # Padded to a power of two to limit the number of compiled shapes.
        fill = (1 << (len(windows) - 1).bit_length()) - len(windows)
        batch = np.pad(windows, ((0, fill), (0, 0)))
        with jax.default_matmul_precision("highest"):
            embeddings = self._embed[stream]({"params": self._params}, batch)
        return np.asarray(embeddings)[: len(windows)]


def mean_embedding(embeddings: np.ndarray) -> np.ndarray:
    """The normalised mean of a stem's windows: float32[N, D] -> float32[D] of unit norm."""
    mean = embeddings.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)

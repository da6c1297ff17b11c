"""FD, KLD and IS of the background by PANNs' Cnn14: columns of the paper's Tables 2 and 4."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, mean
from dualdub_jax.evaluation.listeners.cnn14 import Cnn14Tagger
from dualdub_jax.evaluation.listeners.public_weights import Weights
from dualdub_jax.evaluation.statistics.background_formulas import divergence, inception_score
from dualdub_jax.evaluation.statistics.frechet import frechet_distance
from dualdub_jax.evaluation.statistics.frechet_draws import frechet_draws

FEATURE_DIM = 2048


def frechet(values: Sequence[np.ndarray]) -> float:
    """Fréchet distance over float[2, D], embeddings of the clip and of its truth."""
    generated, true = np.stack(values).swapaxes(0, 1)
    return frechet_distance(generated, true)


def frechet_of_draws(values: Sequence[np.ndarray], draws: np.ndarray) -> np.ndarray:
    """`frechet` of every draw."""
    return frechet_draws([value[:1] for value in values], [value[1:] for value in values], draws)


def _no_number(value: np.ndarray) -> float:
    return float("nan")


class PaperBackground(ClipMetric):
    """FD, KLD and IS by Cnn14 on the background track.

    Preprocessing and formulas are `audioldm_eval`'s: the clip's mean is subtracted, a clip below 32,000
    samples is padded with zeros, and the network sees the whole clip. A silent track is scored like any
    other. The paper does not state the sample rate; the published checkpoints for 16 and 32 kHz are both
    taken, the latter on sound without content above 8 kHz.

    Limits: the means over time hide when something sounds. FD with fewer clips than 2,048 is biased upwards:
    compare rows of equal n. IS depends on the order of clips.

    Source: the paper; github.com/haoheliu/audioldm_eval.

    Args:
        weights: the folder of `--weights`; None: not given.
    """

    name = "paper_background"
    uses_jax = True

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        self._weights = Weights("cnn14", weights)
        self.requirements = (self._weights,)
        self._model: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
        self.figures = (
            Figure(
                "fd",
                "",
                "lower",
                "Fréchet distance of Cnn14 embeddings to those of the true backgrounds (audioldm_eval).",
                frechet,
                _no_number,
                num_resamples=50,
                paired_floor=False,
                of_the_set=True,
                feature_dim=FEATURE_DIM,
                draws=frechet_of_draws,
                limits=(0.0, np.inf),
            ),
            Figure(
                "kld",
                "",
                "lower",
                "KL divergence of the clip's Cnn14 class distribution from the truth's (softmax).",
                mean,
            ),
            Figure(
                "inception_score_cnn14",
                "",
                "higher",
                "Inception score of Cnn14 classes, mean of 10 splits; undefined below 10 clips.",
                inception_score,
                _no_number,
                num_resamples=200,
                paired_floor=False,
                of_the_set=True,
                limits=(1.0, np.inf),
            ),
        )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float32[2, 2048] (clip, truth), float64[1] and float32[527]; only the last without truth."""
        if clip.background is None:
            return {}
        if self._model is None:
            self._model = once_per_track()(Cnn14Tagger(self._weights.path).__call__)
            self.weights_sha256 = self._weights.version()
        embedding, logits = self._model(clip.background)
        values: dict[str, Value] = {"inception_score_cnn14": logits}
        if clip.true_background is not None:
            true_embedding, true_logits = self._model(clip.true_background)
            values["fd"] = np.stack([embedding, true_embedding])
            values["kld"] = np.array([divergence(true_logits, logits)])
        return values

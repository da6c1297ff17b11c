"""FAD of the background by VGGish: a column of the paper's Tables 2 and 4."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.evaluation.listeners.public_weights import Weights
from dualdub_jax.evaluation.listeners.vggish import VggishEncoder
from dualdub_jax.evaluation.statistics.frechet import frechet_distance
from dualdub_jax.evaluation.statistics.frechet_draws import frechet_draws

FEATURE_DIM = 128


def frechet_of_patches(values: Sequence[np.ndarray]) -> float:
    """Fréchet distance over float[N, 2, D], patches of the clip and of its truth; NaN rows are padding."""
    generated, true = (np.concatenate([value[:, side] for value in values]) for side in (0, 1))
    return frechet_distance(generated[~np.isnan(generated[:, 0])], true[~np.isnan(true[:, 0])])


def frechet_of_patch_draws(values: Sequence[np.ndarray], draws: np.ndarray) -> np.ndarray:
    """`frechet_of_patches` of every draw."""
    sides = ([rows[~np.isnan(rows[:, 0])] for rows in (v[:, side] for v in values)] for side in (0, 1))
    return frechet_draws(*sides, draws)


class PaperFad(ClipMetric):
    """Fréchet audio distance by VGGish, without PCA and without the last ReLU, on the background track.

    Patches of 0.96 s do not overlap, and the end of a clip below a whole patch is not seen: a clip of 2.65 s
    has two patches. A clip below 2 s is padded with zeros.

    Limits: with few clips it says little: at 12 clips, the same background 120 ms late has scored worse than
    another clip's. Compare rows of equal n.

    Source: the paper; github.com/haoheliu/audioldm_eval; Kilgour et al. (2019) for the distance.

    Args:
        weights: the folder of `--weights`; None: not given.
    """

    name = "paper_fad"
    uses_jax = True

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        self._weights = Weights("vggish", weights)
        self.requirements = (self._weights,)
        self._model: Callable[[np.ndarray], np.ndarray] | None = None
        self.figures = (
            Figure(
                "fad_vggish",
                "",
                "lower",
                "Fréchet distance of VGGish embeddings to those of the true backgrounds (audioldm_eval).",
                frechet_of_patches,
                lambda value: float("nan"),
                num_resamples=200,
                paired_floor=False,
                of_the_set=True,
                feature_dim=FEATURE_DIM,
                draws=frechet_of_patch_draws,
                limits=(0.0, np.inf),
            ),
        )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float32[N, 2, 128], patches of clip and truth; the shorter one is filled up with NaN."""
        if clip.background is None or clip.true_background is None:
            return {}
        if self._model is None:
            self._model = once_per_track()(VggishEncoder(self._weights.path).__call__)
            self.weights_sha256 = self._weights.version()
        sides = [self._model(track) for track in (clip.background, clip.true_background)]
        count = max(map(len, sides))
        filled = [np.pad(x, ((0, count - len(x)), (0, 0)), constant_values=np.nan) for x in sides]
        return {"fad_vggish": np.stack(filled, axis=1)}

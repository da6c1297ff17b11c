"""DualScore of the paper's Table 4: the CASP cosine, and retrieval over all pairs of the suite (Table 5)."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dualdub_jax.casp import bundle
from dualdub_jax.casp.scorer import CaspScorer
from dualdub_jax.evaluation.analysis.due import is_wrongly_silent
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.evaluation.metrics.casp import cosine, worst_pair
from dualdub_jax.types import STREAMS

FOLDER = "casp"  # under `--weights`
TOPS = (1, 3, 5)


def retrieval(values: Sequence[np.ndarray], top: int) -> float:
    """Share of stems whose partner is among the `top` nearest of all partners, both directions.

    Args:
        values: float[2, D] a clip, unit embeddings of speech and background.
        top: how many nearest ones; of equally near ones the partner is the last.

    Returns:
        In [0, 1]; NaN with no more than `top` clips.
    """
    if len(values) <= top:
        return float("nan")
    pairs = np.asarray(values, np.float64)
    similarity = pairs[:, 0] @ pairs[:, 1].T
    # A bootstrap draw repeats clips; copies of the partner are no rivals.
    _, identity = np.unique(pairs.reshape(len(pairs), -1), axis=0, return_inverse=True)
    is_rival = identity.reshape(-1, 1) != identity.reshape(1, -1)
    nearer = np.stack(
        [
            np.sum(is_rival & (direction >= np.diag(direction)[:, None]), axis=1)
            for direction in (similarity, similarity.T)
        ]
    )
    # Constant embeddings have no rivals, and find nothing.
    return float(np.mean((nearer < top) & is_rival.any(axis=1)))


class _CaspWeights:
    """CASP among a metric's requirements, which has a converter of its own; see `metric.Required`.

    Attributes:
        folder: of the converted weights; None: not given.
    """

    distribution = "weights of casp"

    def __init__(self, folder: pathlib.Path | None) -> None:
        self.folder = folder

    def missing(self) -> str | None:
        """What to bring, in one line; None if the folder is there."""
        if self.folder is not None and (self.folder / "config.json").is_file():
            return None
        return (
            "bring DualBench's CASP (MIT, huggingface.co/wonderfuluuuuuuuuuuu/DualDub): "
            f"python -m dualdub_jax.casp.convert --checkpoint FILE --out {self.folder or 'DIR/casp'}"
            + ("" if self.folder else ", then --weights DIR")
        )

    def version(self) -> str:
        """Empty: `DualScore.settings` has the digest."""
        return ""


class DualScore(ClipMetric):
    """CASP cosine of speech and background, and retrieval over all pairs.

    The first 5 s of each stem, as in the authors' code. A stem that is silent where something is due scores
    -1 (the authors' code divides by zero); where nothing is due the clip has no score.

    Limits: levels are normalised, so it is blind to the balance of the stems. Both stems of a film below 5 s
    have the same length of padding, which alone helps retrieval: read it beside the floor.

    Source: the paper; the public DualBench repository.

    Args:
        weights: folder of converted CASP weights; None: not given.
    """

    name = "paper_dualscore"
    uses_jax = True

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        self._weights = _CaspWeights(weights)
        self.requirements = (self._weights,)
        self._scorer: CaspScorer | None = None
        about = "cosine of CASP embeddings of speech and background, the first 5 s"
        self.figures = (
            Figure("dualscore", "", "higher", about, _mean_cosine, cosine),
            *(
                Figure(
                    f"dualscore_top{top}",
                    "%",
                    "higher",
                    f"retrieval of the partner among all pairs, both directions, top {top}",
                    _retrieval_at(top),
                    cosine,
                    num_resamples=100,
                    of_the_set=True,
                    limits=(0.0, 1.0),
                )
                for top in TOPS
            ),
        )

    def settings(self) -> str:
        """Digest of the weights."""
        if self._weights.missing():
            return ""
        from dualdub_jax.stores.digests import describe_folder

        return describe_folder(self._weights.folder)["sha256"]

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2, D], unit embeddings of speech and background, for every figure."""
        if clip.speech is None or clip.background is None:
            return {}
        if self._scorer is None:
            bundle.read_header(self._weights.folder, "casp")
            self._scorer = CaspScorer(self._weights.folder)
            self.weights_sha256 = self._scorer.weights_sha256
        if any(is_wrongly_silent(clip, stream) for stream in STREAMS):
            pair = worst_pair(self._scorer.config.encoder.width)
        else:
            stems = [self._scorer.embed(stream, getattr(clip, stream)) for stream in STREAMS]
            if any(stem is None for stem in stems):
                return {}
            pair = np.stack([stem[0] for stem in stems]).astype(np.float64)
        return {figure.name: pair for figure in self.figures}


def _mean_cosine(values: Sequence[np.ndarray]) -> float:
    return float(np.mean([cosine(value) for value in values]))


def _retrieval_at(top: int) -> Callable[[Sequence[np.ndarray]], float]:
    return lambda values: retrieval(values, top)

"""CASP: do a soundtrack's speech and background sound as if they belonged to one scene?

What: a contrastive pair of encoders, trained to tell the speech and the background of one film from those of
others; the score is the cosine of their embeddings. Two conventions are in use; their figures do not compare:

- `casp`, DualBench's: the first 5 s, zeros behind them, the plain cosine.
- `casp_podeval`, PodEval's: chunks of 10 s, a short one repeated, (cosine + 1) / 2. PodEval has weights of
  its own.

Weights: none of the authors' are redistributed here. `python -m dualdub_jax.casp.convert` converts theirs.
Without them a small CASP of our own is used, which knows the Puppet Stage world alone: there the stems of a
film share a room (reverberation, noise floor) and the background gives way to speech. For `casp` it scores
crops of 2 s, every half second, and takes their mean. Its figures for real films mean little; the report
names the weights beside each figure.

Known limits: levels are normalised away, so the balance of the stems is not heard (the loudness difference
says it). A silent stem has no score. With the 5 s window, films shorter than that show both encoders the same
length of zeros, which by itself makes pairs recognisable: read `casp` beside its floor and
`casp_retrieval_top1`, which say whether the score separates anything.

Source: the public DualBench and PodEval repositories; margin and retrieval are our choice of the control that
DualBench asks for.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.casp import bundle
from dualdub_jax.casp.scorer import CaspScorer, mean_embedding
from dualdub_jax.dubbing.soundtrack import describe_folder
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value

BATCH_SIZE = 32  # of the retrieval


def cosine(value: np.ndarray) -> float:
    """float[2, D], embeddings of speech and background at unit length -> their cosine."""
    return float(value[0] @ value[1])


def margin(values: Sequence[np.ndarray]) -> float:
    """Mean cosine of matched pairs less that of all mismatched ones.

    Args:
        values: float[2, D] a clip; copies of a clip (in a bootstrap) are not mismatched.

    Returns:
        In [-2, 2]; NaN where there is nothing to mismatch.
    """
    similarity, is_rival = _similarity(values)
    if not is_rival.any():
        return float("nan")
    return float(np.diag(similarity).mean() - similarity[is_rival].mean())


def retrieval_top1(values: Sequence[np.ndarray]) -> float:
    """How often a stem's own partner is the nearest of `BATCH_SIZE`, chance being 1 / `BATCH_SIZE`.

    The mean over both directions, all clips, and all batches that can be drawn: with r of the n - 1 wrong
    partners at least as near as the right one, none of them is in a batch with probability
    C(n - 1 - r, 31) / C(n - 1, 31). So the figure does not depend on the order of clips.

    Args:
        values: float[2, D] a clip; copies of a clip (in a bootstrap) are not rivals of each other.

    Returns:
        In [0, 1]; NaN with fewer than `BATCH_SIZE` clips, where chance would be another one.
    """
    count = len(values)
    if count < BATCH_SIZE:
        return float("nan")
    similarity, is_rival = _similarity(values)
    seats = np.arange(BATCH_SIZE - 1)
    hits = []
    for direction in (similarity, similarity.T):
        nearer = np.sum(is_rival & (direction >= np.diag(direction)[:, None]), axis=1)
        free = np.maximum(count - 1 - nearer[:, None] - seats, 0) / (count - 1 - seats)
        # Encoders that say the same of everything have found nothing.
        hits.append(np.prod(free, axis=1) * is_rival.any(axis=1))
    return float(np.mean(hits))


def _similarity(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """float64[n, n], speech by background; and bool[n, n], True where the two are of different clips."""
    pairs = np.asarray(values, np.float64)
    _, identity = np.unique(pairs.reshape(len(pairs), -1), axis=0, return_inverse=True)
    identity = identity.reshape(-1)
    return pairs[:, 0] @ pairs[:, 1].T, identity[:, None] != identity[None, :]


class CaspMetric(ClipMetric):
    """CASP of the system's speech and background.

    Args:
        weights: folder of `dualdub_jax.casp.bundle`; None: the small CASP that comes with the
            package.

    Raises:
        UserError: `weights` is no such folder.
    """

    name = "casp"

    def __init__(self, weights: pathlib.Path | None = None) -> None:
        self._weights = pathlib.Path(weights) if weights is not None else bundle.default_path()
        config, _ = bundle.read_header(self._weights, "casp")
        self._folder_sha256 = describe_folder(self._weights)["sha256"]
        named = "the bundled Puppet Stage CASP" if weights is None else f"CASP of {self._weights.name}"
        first_s = config.score_crop_samples / 16_000
        window = f"crops of {first_s:g} s" if config.score_hop_samples else f"the first {first_s:g} s"
        self._scorer: CaspScorer | None = None
        self.figures = (
            Figure(
                "casp",
                "",
                "higher",
                f"cosine of speech and background, {window} (DualBench's convention); weights: {named}",
            ),
            Figure(
                "casp_podeval",
                "",
                "higher",
                f"(cosine + 1) / 2, 10 s chunks repeated when short (PodEval's convention); weights: {named}",
            ),
            Figure(
                "casp_margin",
                "",
                "higher",
                f"mean cosine of matched pairs less that of all mismatched pairs; weights: {named}",
                summarise=margin,
                clip_value=cosine,
                num_resamples=200,
            ),
            Figure(
                "casp_retrieval_top1",
                "%",
                "higher",
                f"own partner nearest among {BATCH_SIZE}, both directions, chance {1 / BATCH_SIZE:.1%}; "
                f"not given for fewer than {BATCH_SIZE} clips; weights: {named}",
                summarise=retrieval_top1,
                clip_value=cosine,
                num_resamples=200,
                of_the_set=True,
            ),
        )

    def settings(self) -> str:
        """Digest of the weights' folder: scores of other weights are not taken for these."""
        return self._folder_sha256

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """See `ClipMetric.score_clip`; nothing where a stem is missing, silent, empty or not finite."""
        if self._scorer is None:
            self._scorer = CaspScorer(self._weights)
            self.weights_sha256 = self._scorer.weights_sha256
        pair = self._embed(clip)
        return {
            "casp": None if pair is None else np.asarray([cosine(pair)]),
            "casp_podeval": self._podeval(clip),
            "casp_margin": pair,
            "casp_retrieval_top1": pair,
        }

    def _embed(self, clip: Clip) -> Value:
        """float64[2, D], speech and background."""
        if clip.speech is None or clip.background is None:
            return None
        speech = self._scorer.embed("speech", clip.speech)
        background = self._scorer.embed("background", clip.background)
        if speech is None or background is None:
            return None
        return np.stack([mean_embedding(speech), mean_embedding(background)]).astype(np.float64)

    def _podeval(self, clip: Clip) -> Value:
        if clip.speech is None or clip.background is None:
            return None
        speech = self._scorer.embed("speech", clip.speech, "podeval")
        background = self._scorer.embed("background", clip.background, "podeval")
        if speech is None or background is None:
            return None
        count = min(len(speech), len(background))
        cosines = np.sum(speech[:count].astype(np.float64) * background[:count], axis=1)
        return np.asarray([(cosines.mean() + 1.0) / 2.0])

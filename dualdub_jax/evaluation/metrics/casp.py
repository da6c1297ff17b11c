"""CASP: speech–background harmony as the cosine of contrastive embeddings of the two stems.

A speech encoder and an audio encoder are trained contrastively to match the stems of one film. The score is
the cosine of their embeddings. Two conventions are in use, and their figures are not comparable:

- `casp`, DualBench's (the paper's DualScore): the first 5 s, zero-padded; the cosine.
- `casp_podeval`, PodEval's: chunks of 10 s, short ones repeated; (cosine + 1) / 2. PodEval has weights of
  its own.

Weights: the authors' are not redistributed here; `python -m dualdub_jax.casp.convert` converts them. The
default is a small CASP trained on Puppet Stage only, where the stems of a film share a room (reverberation
time, noise floor) and the background is ducked under speech. For `casp` it embeds crops of 2 s every half
second and takes their mean. Its figures are not meaningful for real films; the report names the weights
beside each figure.

Limits: levels are normalised, so CASP is blind to the balance of the stems; the loudness difference covers
it. A stem that is silent where something is due scores -1; where nothing is due there is no score. With the
5 s window, both stems of a shorter film have the same length of zero padding, which alone helps to identify
pairs: read `casp` beside its floor and `casp_retrieval_top1`.

Source: the paper and the public DualBench and PodEval repositories; margin and retrieval are our choice of
control.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.casp import bundle
from dualdub_jax.casp.scorer import CaspScorer, mean_embedding
from dualdub_jax.evaluation.analysis.due import is_wrongly_silent
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.stores.digests import describe_folder
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.types import STREAMS

BATCH_SIZE = 32  # candidates of the retrieval


def cosine(value: np.ndarray) -> float:
    """The cosine of float[2, D], unit-norm embeddings of speech and background."""
    return float(value[0] @ value[1])


def margin(values: Sequence[np.ndarray]) -> float:
    """Mean cosine of matched pairs minus that of all mismatched pairs.

    Args:
        values: float[2, D] a clip; duplicates of a clip (in a bootstrap draw) are not mismatched pairs.

    Returns:
        In [-2, 2]; NaN without any mismatched pair.
    """
    similarity, is_rival = _similarity(values)
    if not is_rival.any():
        return float("nan")
    return float(np.diag(similarity).mean() - similarity[is_rival].mean())


def retrieval_top1(values: Sequence[np.ndarray]) -> float:
    """Top-1 retrieval accuracy among `BATCH_SIZE` candidates; chance is 1 / `BATCH_SIZE`.

    The expectation over both directions, all clips and all batches of candidates, so it does not depend on
    the order of clips: if r of the n - 1 wrong partners are at least as similar as the right one, a batch
    contains none of them with probability C(n - 1 - r, 31) / C(n - 1, 31).

    Args:
        values: float[2, D] a clip; duplicates of a clip (in a bootstrap draw) do not compete.

    Returns:
        In [0, 1]; NaN with fewer than `BATCH_SIZE` clips.
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
        # Constant embeddings score 0, not 1.
        hits.append(np.prod(free, axis=1) * is_rival.any(axis=1))
    return float(np.mean(hits))


def _similarity(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines float64[n, n], speech by background, and bool[n, n], True where the clips differ."""
    pairs = np.asarray(values, np.float64)
    _, identity = np.unique(pairs.reshape(len(pairs), -1), axis=0, return_inverse=True)
    identity = identity.reshape(-1)
    return pairs[:, 0] @ pairs[:, 1].T, identity[:, None] != identity[None, :]


def worst_pair(dim: int) -> np.ndarray:
    """float64[2, D]: unit vectors of cosine -1."""
    vector = np.full(dim, dim**-0.5)
    return np.stack([vector, -vector])


class CaspMetric(ClipMetric):
    """CASP of the system's speech and background.

    Args:
        weights: folder in the format of `dualdub_jax.casp.bundle`; None: the small bundled CASP.

    Raises:
        UserError: `weights` is not such a folder.
    """

    name = "casp"
    uses_jax = True
    version = "2"

    def __init__(self, weights: StorePath | str | None = None) -> None:
        self._weights = as_path(weights) if weights is not None else bundle.default_path()
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
                f"(cosine + 1) / 2, 10 s chunks, repeated if short (PodEval's convention); weights: {named}",
            ),
            Figure(
                "casp_margin",
                "",
                "higher",
                f"mean cosine of matched pairs minus that of all mismatched pairs; weights: {named}",
                summarise=margin,
                clip_value=cosine,
                num_resamples=200,
            ),
            Figure(
                "casp_retrieval_top1",
                "%",
                "higher",
                f"top-1 retrieval among {BATCH_SIZE} candidates, both directions, chance "
                f"{1 / BATCH_SIZE:.1%}; undefined below {BATCH_SIZE} clips; weights: {named}",
                summarise=retrieval_top1,
                clip_value=cosine,
                num_resamples=200,
                of_the_set=True,
                limits=(0.0, 1.0),
            ),
        )

    def settings(self) -> str:
        """Digest of the weights' folder, part of the key of cached scores."""
        return self._folder_sha256

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[1], or float64[2, D] embeddings for margin and retrieval; None where a stem is missing or
        not finite, or silent where nothing is due."""
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
        """float64[2, D], speech and background; of opposite directions if one is wrongly silent."""
        if clip.speech is None or clip.background is None:
            return None
        if any(is_wrongly_silent(clip, stream) for stream in STREAMS):
            return worst_pair(self._scorer.config.encoder.width)
        speech = self._scorer.embed("speech", clip.speech)
        background = self._scorer.embed("background", clip.background)
        if speech is None or background is None:
            return None
        return np.stack([mean_embedding(speech), mean_embedding(background)]).astype(np.float64)

    def _podeval(self, clip: Clip) -> Value:
        if clip.speech is None or clip.background is None:
            return None
        if any(is_wrongly_silent(clip, stream) for stream in STREAMS):
            return np.zeros(1)
        speech = self._scorer.embed("speech", clip.speech, "podeval")
        background = self._scorer.embed("background", clip.background, "podeval")
        if speech is None or background is None:
            return None
        count = min(len(speech), len(background))
        cosines = np.sum(speech[:count].astype(np.float64) * background[:count], axis=1)
        return np.asarray([(cosines.mean() + 1.0) / 2.0])

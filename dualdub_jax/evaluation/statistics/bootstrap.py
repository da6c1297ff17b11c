"""Bootstrap 95% intervals of a figure, and of the paired difference of two systems.

Percentile bootstrap (Efron, 1979) over clips: resample clips with replacement, recompute the figure, take the
2.5% and 97.5% quantiles. These are too narrow for few clips, so both move outwards as Student's t and n - 1
require (the expanded interval of Hesterberg, 2015). Clips are the sampling unit, since words of one clip or
patches of one background are not independent. Draws depend on the number of clips alone, so every figure and
both systems of a comparison share them.

A draw repeats some clips and omits about a third. A mean is unaffected; a distance between sets (FAD) or a
retrieval accuracy is biased by duplicate clips. The draws of such figures (`Figure.of_the_set`) are recentred
on the point estimate, and their intervals end at the limits of the figure (a distance is not negative): our
choice.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats

from dualdub_jax.evaluation.contracts import metric

LEVEL = 0.95
SEED = 0
METHOD = f"expanded percentile bootstrap over clips, at most 1000 draws, set figures recentred, {LEVEL:.0%}"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A point estimate with its interval; NaN where undefined.

    Attributes:
        value: the point estimate.
        low: lower bound of the 95% interval.
        high: upper bound.
        n: number of clips with a value.
    """

    value: float
    low: float
    high: float
    n: int


NONE = Estimate(float("nan"), float("nan"), float("nan"), 0)


def estimate(values: Sequence[metric.Value], figure: metric.Figure) -> Estimate:
    """Point estimate and interval of a figure.

    Args:
        values: one a clip; None: the figure does not apply to that clip.
        figure: defines the statistic and the number of resamples.
    """
    present = [np.asarray(value) for value in values if value is not None]
    if not present:
        return NONE
    draws = _draws(len(present), figure)
    outcomes = _resample(present, draws, figure)
    value = _number(figure.summarise(present))
    low, high = np.clip(_interval(outcomes, value, figure, len(present)), *figure.limits)
    return Estimate(value, float(low), float(high), len(present))


def paired_difference(
    ours: Sequence[metric.Value], other: Sequence[metric.Value], figure: metric.Figure
) -> tuple[float, float, Estimate]:
    """Paired difference, ours minus other, over the clips with values of both.

    Args:
        ours: one value a clip.
        other: of the same clips in the same order.
        figure: defines the statistic and the number of resamples.

    Returns:
        Both point estimates over the shared clips, and the estimate of their difference.
    """
    pairs = [
        (np.asarray(a), np.asarray(b))
        for a, b in zip(ours, other, strict=True)
        if a is not None and b is not None
    ]
    if not pairs:
        return float("nan"), float("nan"), NONE
    ours_present, other_present = ([pair[i] for pair in pairs] for i in range(2))
    draws = _draws(len(pairs), figure)
    outcomes = _resample(ours_present, draws, figure) - _resample(other_present, draws, figure)
    a, b = _number(figure.summarise(ours_present)), _number(figure.summarise(other_present))
    return a, b, Estimate(a - b, *_interval(outcomes, a - b, figure, len(pairs)), len(pairs))


def _draws(num_clips: int, figure: metric.Figure) -> np.ndarray:
    """int[R, N]: indices of the clips of each draw; R = 0 for too few clips."""
    count = figure.num_resamples if num_clips >= figure.least_clips else 0
    return np.random.default_rng(SEED).integers(num_clips, size=(count, num_clips))


def _resample(values: list[np.ndarray], draws: np.ndarray, figure: metric.Figure) -> np.ndarray:
    """float64[R]: the figure of each draw."""
    if figure.draws is not None:
        return figure.draws(values, draws)
    summarise = figure.summarise
    fast = _FAST.get(summarise)
    if fast is not None:
        return fast(np.stack([np.atleast_1d(value)[:2] for value in values]).astype(np.float64), draws)
    return np.array([_number(summarise([values[i] for i in draw])) for draw in draws], np.float64)


def _interval(
    outcomes: np.ndarray, value: float, figure: metric.Figure, num_clips: int
) -> tuple[float, float]:
    """Percentile bounds; NaN if half of the draws or more are undefined."""
    finite = outcomes[np.isfinite(outcomes)]
    if len(finite) <= len(outcomes) / 2:
        return float("nan"), float("nan")
    if figure.of_the_set:
        finite = finite - finite.mean() + value
    tail = _tail(num_clips)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def _tail(num_clips: int) -> float:
    """Share of draws outside of the interval on either side."""
    t = scipy.stats.t.ppf((1 + LEVEL) / 2, num_clips - 1)
    return float(scipy.stats.norm.cdf(-t * np.sqrt(num_clips / (num_clips - 1))))


def _number(value: float) -> float:
    value = float(value)
    return value if np.isfinite(value) else float("nan")


# Vectorised forms of the common statistics: float64[N, 1 or 2], int[R, N] -> float64[R]. Tests hold them
# equal to the statistics in `metric`.


def _means(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return values[draws, 0].mean(axis=1)


def _ratios(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    top, bottom = values[draws].sum(axis=1).T
    return np.divide(top, bottom, out=np.full(len(draws), np.nan), where=bottom != 0)


def _correlations(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    centred = values[draws] - values[draws].mean(axis=1, keepdims=True)  # [R, N, 2]
    x, y = centred[..., 0], centred[..., 1]
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    # A draw that repeats one clip has no variance; rounding may leave a small positive one.
    constant = (np.ptp(values[draws], axis=1) == 0).any(axis=-1)
    return np.divide(
        (x * y).sum(axis=1), spread, out=np.full(len(draws), np.nan), where=(spread > 0) & ~constant
    )


_FAST: dict[metric.Summarise, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    metric.mean: _means,
    metric.ratio: _ratios,
    metric.correlation: _correlations,
}

"""How well, and how late, does a sound follow something seen? Correlation against delay, finer than a frame.

Source: our choice.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

MAX_LAG_MS = 500.0
_STEP_MS = 5.0
_FEWEST_FRAMES = 12  # half a second; a correlation of fewer says nothing


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How a sound agrees with what is seen.

    Attributes:
        correlation: Pearson's, at no delay; 0 where the sound does not vary.
        lag_ms: the delay of the sound behind the picture (below 0: ahead of it) at which the correlation is
            highest, within `MAX_LAG_MS`; None where the sound never varies.
        best_correlation: at that delay.
    """

    correlation: float
    lag_ms: float | None
    best_correlation: float


def agreement(
    seen: np.ndarray, heard_at: Callable[[np.ndarray], np.ndarray], frame_rate_hz: float
) -> Agreement | None:
    """Compares a curve on the frame grid with a sound that can be looked up at any time.

    Args:
        seen: float[T], one value a frame; NaN where it is not known.
        heard_at: times in seconds float[T] -> the sound's curve there, float[T]; NaN outside the track.
        frame_rate_hz: of `seen`.

    Returns:
        None where `seen` is known in fewer than 12 frames or does not vary.
    """
    times_s = np.arange(len(seen)) / frame_rate_hz
    if np.isfinite(seen).sum() < _FEWEST_FRAMES or np.ptp(seen[np.isfinite(seen)]) < 1e-6:
        return None
    num_steps = round(MAX_LAG_MS / _STEP_MS)
    lags_ms = np.arange(-num_steps, num_steps + 1) * _STEP_MS
    scores = np.array([_pearson(seen, heard_at(times_s + lag / 1000)) for lag in lags_ms])
    at_once = scores[num_steps]
    if np.isnan(scores).all():
        return Agreement(0.0, None, 0.0)
    best = int(np.nanargmax(scores))
    return Agreement(
        correlation=0.0 if np.isnan(at_once) else float(at_once),
        lag_ms=float(lags_ms[best] + _STEP_MS * _vertex(scores[max(best - 1, 0) : best + 2])),
        best_correlation=float(scores[best]),
    )


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Over places where both are known; NaN if those are too few or one of them does not vary."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < _FEWEST_FRAMES:
        return float("nan")
    x, y = x[known] - x[known].mean(), y[known] - y[known].mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 1e-12 else float("nan")


def _vertex(three: np.ndarray) -> float:
    """Where the parabola through three neighbours is highest, -0.5 to 0.5 steps from the middle one."""
    if len(three) < 3 or not np.isfinite(three).all():
        return 0.0
    left, middle, right = three
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0

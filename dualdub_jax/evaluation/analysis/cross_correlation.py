"""Cross-correlation of a visual and an audio curve, with a lag resolved below one frame.

Source: our choice.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

MAX_LAG_MS = 500.0
_STEP_MS = 5.0
_FEWEST_FRAMES = 12  # half a second at 25 Hz; fewer give no meaningful correlation


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of an audio curve with a visual curve.

    Attributes:
        correlation: Pearson's, at zero lag; 0 where the audio curve is constant.
        lag_ms: lag of the audio behind the video (negative: ahead) with the highest correlation, within
            `MAX_LAG_MS`; None where the audio curve is constant at every lag.
        best_correlation: at that lag.
    """

    correlation: float
    lag_ms: float | None
    best_correlation: float


def agreement(
    visual: np.ndarray, audio_at: Callable[[np.ndarray], np.ndarray], frame_rate_hz: float
) -> Agreement | None:
    """Correlates a curve on the frame grid with an audio curve that can be sampled at any time.

    Args:
        visual: float[T], one value a frame; NaN where unknown.
        audio_at: times in seconds float[T] -> the audio curve there, float[T]; NaN outside the track.
        frame_rate_hz: of `visual`.

    Returns:
        None where `visual` is known in fewer than 12 frames or is constant.
    """
    times_s = np.arange(len(visual)) / frame_rate_hz
    if np.isfinite(visual).sum() < _FEWEST_FRAMES or np.ptp(visual[np.isfinite(visual)]) < 1e-6:
        return None
    num_steps = round(MAX_LAG_MS / _STEP_MS)
    lags_ms = np.arange(-num_steps, num_steps + 1) * _STEP_MS
    scores = np.array([_pearson(visual, audio_at(times_s + lag / 1000)) for lag in lags_ms])
    at_zero_lag = scores[num_steps]
    if np.isnan(scores).all():
        return Agreement(0.0, None, 0.0)
    best = int(np.nanargmax(scores))
    return Agreement(
        correlation=0.0 if np.isnan(at_zero_lag) else float(at_zero_lag),
        lag_ms=float(lags_ms[best] + _STEP_MS * _vertex(scores[max(best - 1, 0) : best + 2])),
        best_correlation=float(scores[best]),
    )


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation where both are known; NaN with too few such frames or without variance."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < _FEWEST_FRAMES:
        return float("nan")
    x, y = x[known] - x[known].mean(), y[known] - y[known].mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 1e-12 else float("nan")


def _vertex(three: np.ndarray) -> float:
    """Vertex of the parabola through three neighbours, -0.5 to 0.5 steps from the middle one."""
    if len(three) < 3 or not np.isfinite(three).all():
        return 0.0
    left, middle, right = three
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0

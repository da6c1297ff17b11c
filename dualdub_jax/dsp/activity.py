"""Where a track is active: levels of short frames against a threshold."""

import numpy as np

FRAME_S = 0.01
LEAST_ACTIVE_FRAMES = 3  # fewer are a click


def frame_rms(samples: np.ndarray, frame_length: int) -> np.ndarray:
    """Root mean square of consecutive frames: float[S] -> float[S // frame_length]."""
    frames = samples[: len(samples) // frame_length * frame_length].reshape(-1, frame_length)
    return np.sqrt(np.mean(frames**2, axis=1))


def levels_dbfs(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Level of every 10 ms.

    Args:
        samples: float[S].
        sample_rate_hz: of the samples.

    Returns:
        float64[S / sample_rate_hz * 100], dBFS, at least -200.
    """
    rms = frame_rms(np.asarray(samples, np.float64), round(FRAME_S * sample_rate_hz))
    return 20 * np.log10(np.maximum(rms, 1e-10))


def active_span_s(
    samples: np.ndarray, sample_rate_hz: int, threshold_dbfs: float
) -> tuple[float, float] | None:
    """The first and the last time at which a track is active.

    Args:
        samples: float[S].
        sample_rate_hz: of the samples.
        threshold_dbfs: a frame of 10 ms is active from this level on.

    Returns:
        Seconds from the first sample; None if fewer than `LEAST_ACTIVE_FRAMES` frames are active.
    """
    active = np.flatnonzero(levels_dbfs(samples, sample_rate_hz) >= threshold_dbfs)
    if len(active) < LEAST_ACTIVE_FRAMES:
        return None
    return float(active[0]) * FRAME_S, float(active[-1] + 1) * FRAME_S

"""The speech envelope: smoothed, compressed level as a function of continuous time.

It is the curve that animates the mouths of Puppet Stage (`speech_envelope` in the world's acoustics), with
two changes for tracks with reverberation and noise: the noise floor is subtracted, and the curve is
interpolated between frames, which resolves a lag to a few milliseconds.
"""

from collections.abc import Callable

import numpy as np

from dualdub_jax.evaluation.analysis.onsets import finite
from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, SAMPLE_RATE_HZ

_STEP_SAMPLES = 80  # 5 ms
_HALF_FRAME_STEPS = SAMPLE_RATE_HZ // FRAME_RATE_HZ // 2 // _STEP_SAMPLES
_WEIGHTS = (0.15, 0.35, 0.35, 0.15)  # of half frames from -0.5 to +1.5 frames around a frame's time
_FLOOR_PERCENTILE = 10
_QUIET_POWER = 1e-7  # -70 dBFS: no speech below


def speech_envelope(samples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The envelope of a speech track as a function of time.

    Args:
        samples: float[S] at 16 kHz; may be empty and may hold NaN.

    Returns:
        float[...] times in s -> float[...], 0 (silent) to 1 (loudest tenth); NaN outside the track. The
        curve is invariant to gain.
    """
    samples = finite(samples)
    num_steps = len(samples) // _STEP_SAMPLES
    power = np.square(samples[: num_steps * _STEP_SAMPLES]).reshape(num_steps, _STEP_SAMPLES).mean(axis=1)
    kernel = np.repeat(_WEIGHTS, _HALF_FRAME_STEPS) / _HALF_FRAME_STEPS
    before, after = _HALF_FRAME_STEPS, 3 * _HALF_FRAME_STEPS
    # Row i corresponds to the time of sample i * _STEP_SAMPLES.
    smooth = np.convolve(np.pad(power, (before, after)), kernel[::-1], mode="valid")[: num_steps + 1]
    if num_steps:
        smooth = smooth - np.percentile(smooth[:num_steps], _FLOOR_PERCENTILE)
    level = np.sqrt(np.maximum(smooth, 0))
    spoken = level[level > max(np.sqrt(_QUIET_POWER), 0.03 * level.max(initial=0))]
    loudest = np.percentile(spoken, 90) if len(spoken) else np.inf
    curve = np.clip((level / loudest) ** 0.7 * 1.05 - 0.07, 0, 1)
    step_s = _STEP_SAMPLES / SAMPLE_RATE_HZ

    def at(times_s: np.ndarray) -> np.ndarray:
        if not num_steps:
            return np.full(np.shape(times_s), np.nan)
        grid = np.arange(len(curve)) * step_s
        return np.interp(times_s, grid, curve, left=np.nan, right=np.nan)

    return at

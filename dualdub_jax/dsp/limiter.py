"""A look-ahead limiter of true peaks.

The gain that each sample needs is held for `REACH_S` before and after it and then smoothed by a Hann window
of the same width: an average of values none of which is higher than needed. Pitch periods of speech are
shorter than that, so the waveform inside them keeps its shape. All channels have one gain. The gain at a
sample depends on what lies within `Limiter.halo` samples of it and on nothing else. Source: our choice.
"""

import dataclasses

import numpy as np

from dualdub_jax.dsp.true_peak import HALO, local_peaks, most_overshoot

REACH_S = 0.02
_ROUNDING = 1e-9  # of the convolution, by Fourier transforms


@dataclasses.dataclass(frozen=True)
class Limiter:
    """A limiter at one level.

    Attributes:
        ceiling: the highest true peak, an amplitude.
        sample_rate_hz: of the signal.
    """

    ceiling: float
    sample_rate_hz: int

    @property
    def halo(self) -> int:
        """Samples on either side that the gain of a sample depends on."""
        return 2 * self._reach + HALO

    @property
    def _reach(self) -> int:
        return max(1, round(REACH_S * self.sample_rate_hz))

    def gains(self, samples: np.ndarray) -> np.ndarray:
        """The gain of every sample.

        Args:
            samples: float[halo + n + halo], or float[halo + n + halo, channels].

        Returns:
            float64[n], at most 1.
        """
        num_samples = len(samples) - 2 * self.halo
        if np.abs(samples).max(initial=0.0) * most_overshoot() <= self.ceiling:
            return np.ones(num_samples)
        peaks = local_peaks(samples)
        if peaks.max() <= self.ceiling:
            return np.ones(num_samples)
        import scipy.ndimage  # takes a while, and few mixes are limited
        import scipy.signal

        width = 2 * self._reach + 1
        needed = np.minimum(1.0, self.ceiling / np.maximum(peaks, self.ceiling))
        held = scipy.ndimage.minimum_filter1d(needed, width)[self._reach : -self._reach]
        window = scipy.signal.windows.hann(width + 2)[1:-1]
        gains = scipy.signal.oaconvolve(held, window / window.sum(), "valid")
        return np.where(gains > 1 - _ROUNDING, 1.0, gains)

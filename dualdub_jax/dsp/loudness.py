"""Integrated loudness by ITU-R BS.1770, of a signal of any length in blocks.

The weighting filters are those of `pyloudnorm`, which evaluation measures with: the standard's own at 48
kHz to 0.05 dB, designed anew for every rate. Source: ITU-R BS.1770-4; Steinmetz and Reiss, pyloudnorm,
2021.
"""

import math

import numpy as np

BLOCK_S = 0.4  # gating blocks, which overlap by three quarters
GATE_LUFS = -70.0
_STEPS_PER_BLOCK = 4
_RELATIVE_GATE_LU = -10.0
_OFFSET_DB = -0.691
# (gain in dB, quality, frequency in Hz): a shelf for the head, a high-pass for the ear.
_SHELF = (4.0, 1 / math.sqrt(2), 1500.0)
_HIGH_PASS = (0.5, 38.0)


class LoudnessMeter:
    """Measures a mono or stereo signal that is pushed in blocks.

    Example:
        meter = LoudnessMeter(48_000)
        for block in blocks:
            meter.push(block)
        meter.integrated_lufs
    """

    def __init__(self, sample_rate_hz: int, num_channels: int = 1) -> None:
        """Begins a measurement."""
        self._sections = _k_weighting(sample_rate_hz)
        self._state = np.zeros((len(self._sections), 2, num_channels))
        self._sample_rate_hz, self._num_channels = sample_rate_hz, num_channels
        self._num_pushed = 0
        self._energies = np.zeros(0)  # of the steps, all channels; the last one is not complete yet

    def push(self, block: np.ndarray) -> None:
        """Takes float[n], or float[n, num_channels], in [-1, 1]."""
        import scipy.signal  # takes a while, and not every mix is measured

        samples = np.asarray(block, np.float64).reshape(-1, self._num_channels)
        if not len(samples):
            return
        weighted, self._state = scipy.signal.sosfilt(self._sections, samples, axis=0, zi=self._state)
        powers = np.square(weighted).sum(axis=1)
        # Boundaries of the steps in samples, as integers of a rate that need not be a multiple of ten.
        places = np.arange(self._num_pushed, self._num_pushed + len(powers))
        steps = (places * 10) // self._sample_rate_hz
        energies = np.bincount(steps - steps[0], powers)
        grown = np.zeros(int(steps[-1]) + 1)
        grown[: len(self._energies)] = self._energies
        grown[steps[0] :] += energies
        self._energies = grown
        self._num_pushed += len(powers)

    @property
    def integrated_lufs(self) -> float | None:
        """Gated loudness of what was pushed; None: below -70 LUFS, or shorter than a gating block."""
        if self._num_pushed < BLOCK_S * self._sample_rate_hz:
            return None
        # A last step that is more than half full counts, as in pyloudnorm.
        num_steps = round(self._num_pushed * 10 / self._sample_rate_hz)
        sums = np.convolve(self._energies[:num_steps], np.ones(_STEPS_PER_BLOCK), "valid")
        powers = sums / (BLOCK_S * self._sample_rate_hz)
        loud = powers[_lufs(powers) >= GATE_LUFS]
        if not len(loud):
            return None
        gated = loud[_lufs(loud) > _lufs(loud.mean()) + _RELATIVE_GATE_LU]
        return float(_lufs(gated.mean()))


def integrated_lufs(samples: np.ndarray, sample_rate_hz: int) -> float | None:
    """Integrated loudness of float[S], or float[S, channels]; see `LoudnessMeter.integrated_lufs`."""
    meter = LoudnessMeter(sample_rate_hz, 1 if samples.ndim == 1 else samples.shape[1])
    meter.push(samples)
    return meter.integrated_lufs


def _lufs(power: np.ndarray | float) -> np.ndarray:
    return _OFFSET_DB + 10.0 * np.log10(np.maximum(power, 1e-30))


def _k_weighting(sample_rate_hz: int) -> np.ndarray:
    """Second-order sections, float64[2, 6]. Source: Bristow-Johnson's cookbook, as in pyloudnorm."""
    gain_db, quality, shelf_hz = _SHELF
    root, angle = 10.0 ** (gain_db / 40.0), 2 * math.pi * shelf_hz / sample_rate_hz
    cos, alpha = math.cos(angle), math.sin(angle) / (2 * quality)
    slope = 2 * math.sqrt(root) * alpha
    shelf = [
        root * ((root + 1) + (root - 1) * cos + slope),
        -2 * root * ((root - 1) + (root + 1) * cos),
        root * ((root + 1) + (root - 1) * cos - slope),
        (root + 1) - (root - 1) * cos + slope,
        2 * ((root - 1) - (root + 1) * cos),
        (root + 1) - (root - 1) * cos - slope,
    ]
    quality, pass_hz = _HIGH_PASS
    angle = 2 * math.pi * pass_hz / sample_rate_hz
    cos, alpha = math.cos(angle), math.sin(angle) / (2 * quality)
    high_pass = [(1 + cos) / 2, -(1 + cos), (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha]
    sections = np.array([shelf, high_pass])
    return sections / sections[:, 3:4]

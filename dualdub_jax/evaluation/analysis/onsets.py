"""Onset detection by spectral flux with fixed parameters, and one-to-one matching with annotated times.

Source: after SuperFlux (Böck and Widmer, 2013): a maximum filter over neighbouring bands before the
difference suppresses vibrato; the parameters are ours, chosen on Puppet Stage's training split.
"""

import functools

import numpy as np

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

HOP_SAMPLES = 80
STEP_S = HOP_SAMPLES / SAMPLE_RATE_HZ
NUM_BANDS = 40
_FFT_SAMPLES = 512
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 7900.0
_FLOOR_POWER = 1e-7  # of a band: levels are clipped at -70 dBFS
_LAG_STEPS = 4
_APART_STEPS = 8
_THRESHOLD_DB = 1.0
_MEDIAN_STEPS = 101
# Half of a window covers a sound that starts at its centre: detected onsets are early by this much.
_EARLY_S = 0.0077


def finite(samples: np.ndarray) -> np.ndarray:
    """The waveform as float64[S], flattened, with NaN and infinity replaced by 0."""
    return np.nan_to_num(np.asarray(samples, np.float64).reshape(-1), nan=0.0, posinf=0.0, neginf=0.0)


@functools.cache
def _filters() -> np.ndarray:
    """float64[_FFT_SAMPLES // 2 + 1, NUM_BANDS]: triangular mel filters, each with sum 1."""

    def mel(hz: float) -> float:
        return 2595 * np.log10(1 + hz / 700)

    edges_hz = 700 * (10 ** (np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), NUM_BANDS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(_FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    return filters / filters.sum(axis=0)


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Power in mel bands every 5 ms.

    Args:
        samples: float[S] at 16 kHz; may be empty and may hold NaN.

    Returns:
        float64[1 + S // 80, 40]; row i is centred on sample 80 i; a full-scale sine has power about 1.
    """
    window = np.hanning(_FFT_SAMPLES)
    padded = np.pad(finite(samples), _FFT_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.abs(np.fft.rfft(frames * window, axis=1)) * 2 / window.sum()
    return np.square(spectrum) @ _filters()


def decibels(power: np.ndarray) -> np.ndarray:
    """Power in dBFS, clipped at -70."""
    return 10 * np.log10(power + _FLOOR_POWER)


def onset_strength(power: np.ndarray) -> np.ndarray:
    """Spectral flux: the mean rise of the bands over 20 ms, in dB.

    Args:
        power: float64[N, bands], of `mel_power`.

    Returns:
        float64[N], at least 0.
    """
    level_db = decibels(power)
    sides = np.pad(level_db, ((0, 0), (1, 1)), mode="edge")
    widened = np.maximum(np.maximum(sides[:, :-2], sides[:, 2:]), level_db)
    rise = np.zeros_like(level_db)
    rise[_LAG_STEPS:] = np.maximum(0, level_db[_LAG_STEPS:] - widened[:-_LAG_STEPS])
    return rise.mean(axis=1)


def pick_onsets(strength: np.ndarray) -> np.ndarray:
    """Onset candidates: local maxima within 40 ms, at least 1 dB above the median of the surrounding 0.5 s.

    Tuned for recall: a classifier rejects false candidates such as chirps and rain drops.

    Args:
        strength: float64[N], of `onset_strength`.

    Returns:
        float64[K], seconds, rising.
    """
    if not len(strength):
        return np.zeros(0)

    def around(reach: int) -> np.ndarray:
        padded = np.pad(strength, reach, mode="edge")
        return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)

    is_peak = strength >= around(_APART_STEPS).max(axis=1)
    is_peak &= strength > np.median(around(_MEDIAN_STEPS // 2), axis=1) + _THRESHOLD_DB
    steps: list[int] = []
    for step in np.flatnonzero(is_peak):
        if not steps or step - steps[-1] > _APART_STEPS:  # one onset per plateau
            steps.append(int(step))
    return np.maximum((np.array(steps, float) - _LAG_STEPS / 2) * STEP_S + _EARLY_S, 0.0)


def match(found_s: np.ndarray, true_s: np.ndarray, tolerance_s: float) -> list[tuple[int, int]]:
    """Matches detections one-to-one with annotations: maximum number of pairs, then minimum total distance.

    Args:
        found_s: float[K], ascending.
        true_s: float[N], ascending.
        tolerance_s: maximum distance of a pair.

    Returns:
        (index into `found_s`, index into `true_s`) of each pair, ascending.
    """
    # An optimal matching on a line is monotonic, so dynamic programming over prefixes finds it; the objective
    # is (number of pairs, -distance).
    best = np.zeros((len(found_s) + 1, len(true_s) + 1, 2))
    for i in range(1, len(found_s) + 1):
        for j in range(1, len(true_s) + 1):
            options = [tuple(best[i - 1, j]), tuple(best[i, j - 1])]
            distance = abs(found_s[i - 1] - true_s[j - 1])
            if distance <= tolerance_s + 1e-9:
                options.append((best[i - 1, j - 1, 0] + 1, best[i - 1, j - 1, 1] - distance))
            best[i, j] = max(options)
    pairs = []
    i, j = len(found_s), len(true_s)
    while i and j:
        if tuple(best[i, j]) == tuple(best[i - 1, j]):
            i -= 1
        elif tuple(best[i, j]) == tuple(best[i, j - 1]):
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]

"""Where sounds begin: a spectral-flux picker with fixed parameters, and one-to-one matching to known times.

Source: the idea of SuperFlux (Böck and Widmer, 2013), a maximum over neighbouring bands before the
difference so that vibrato is no onset; the parameters are ours, chosen once on Puppet Stage's training
split.
"""

import functools

import numpy as np

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

HOP_SAMPLES = 80
STEP_S = HOP_SAMPLES / SAMPLE_RATE_HZ
NUM_BANDS = 40
_FFT_SAMPLES = 512
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 7900.0
_FLOOR_POWER = 1e-7  # of a band: -70 dBFS counts as silence
_LAG_STEPS = 4
_APART_STEPS = 8
_THRESHOLD_DB = 1.0
_MEDIAN_STEPS = 101
# A window is half full of a sound 8 ms after its centre: found onsets are this much early.
_EARLY_S = 0.0077


def finite(samples: np.ndarray) -> np.ndarray:
    """float64[S] of a waveform as it may come: holes of NaN and infinities are silence."""
    return np.nan_to_num(np.asarray(samples, np.float64).reshape(-1), nan=0.0, posinf=0.0, neginf=0.0)


@functools.cache
def _filters() -> np.ndarray:
    """float64[_FFT_SAMPLES // 2 + 1, NUM_BANDS], triangles on the mel scale, each with sum 1."""

    def mel(hz: float) -> float:
        return 2595 * np.log10(1 + hz / 700)

    edges_hz = 700 * (10 ** (np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), NUM_BANDS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(_FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    return filters / filters.sum(axis=0)


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Power in bands, at steps of 5 ms.

    Args:
        samples: float[S] at 16 kHz; may be empty and may hold NaN.

    Returns:
        float64[1 + S // 80, 40]; row i is centred on sample 80 i; a sine at full scale is about 1.
    """
    window = np.hanning(_FFT_SAMPLES)
    padded = np.pad(finite(samples), _FFT_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.abs(np.fft.rfft(frames * window, axis=1)) * 2 / window.sum()
    return np.square(spectrum) @ _filters()


def decibels(power: np.ndarray) -> np.ndarray:
    """Power in dB of full scale, silence at -70."""
    return 10 * np.log10(power + _FLOOR_POWER)


def onset_strength(power: np.ndarray) -> np.ndarray:
    """Mean rise of the bands over 20 ms, in dB.

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
    """Candidates: local maxima within 40 ms that stand 1 dB above the median of the half second around.

    Generous on purpose: nearly all hits are among them, and some chirps and drops of rain.

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
        if not steps or step - steps[-1] > _APART_STEPS:  # a flat peak counts once
            steps.append(int(step))
    return np.maximum((np.array(steps, float) - _LAG_STEPS / 2) * STEP_S + _EARLY_S, 0.0)


def match(found_s: np.ndarray, true_s: np.ndarray, tolerance_s: float) -> list[tuple[int, int]]:
    """Pairs what was found with what is true, one to one: as many pairs as possible, then the nearest.

    Args:
        found_s: float[K], rising.
        true_s: float[N], rising.
        tolerance_s: the farthest that a pair may be apart.

    Returns:
        (index into `found_s`, index into `true_s`) of each pair, rising.
    """
    # In one dimension a best pairing keeps the order, so it is an alignment: (pairs, -distance) of prefixes.
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

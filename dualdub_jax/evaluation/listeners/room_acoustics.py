"""Blind estimation of reverberation time (RT60) and noise level from a single track.

RT60 is estimated from free decays. The strongest rises of the track (hits, words) are detected. For each, the
decay of every band in the following half second, relative to the loudest band at the peak, is mapped by a
small network to an estimate of log RT60 and its precision. The clip's estimate is the precision-weighted
mean. A clip with insufficient total precision has no estimate, so a track without free decays (steady rain,
one held note) is excluded.

The noise level is estimated by a linear function of low quantiles over time of every band. Ambience masks the
noise floor in some bands, never in all.

By construction RT60 is invariant to gain, and the noise level shifts with it dB by dB.

Speech and background have separate coefficients, since words and hits decay differently and the world's two
microphones are at different distances. `fit_room_acoustics.py` fits them to Puppet Stage
(`assets/room_acoustics.npz`) and prints their accuracy on held-out clips. Limits: rooms of other domains are
extrapolation; read the figures beside those of the true tracks.

Source: our choice; RT60 from decay rates of band envelopes: Wen, Habets and Naylor (2008); noise floor by
minimum statistics: Martin (2001).
"""

import functools
import hashlib
import itertools
import pathlib
from typing import Literal

import numpy as np
from einops import rearrange

from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.evaluation.analysis.audible import as_sound, is_silent
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ

Track = Literal["speech", "background"]
TRACKS: tuple[Track, ...] = ("speech", "background")
ASSET = pathlib.Path(__file__).parents[1] / "assets" / "room_acoustics.npz"

# Minimum total precision, in units of the prior's: the posterior standard deviation of log RT60 is at most
# half of the prior's.
MIN_PRECISION = 4.0
LOG_RT60_MEAN, LOG_RT60_SPREAD = float(np.log(0.4)), 0.55
MIN_SAMPLES = SAMPLE_RATE_HZ // 2

_WINDOW, _HOP = 256, 64  # 16 ms and 4 ms: a decay of 0.1 s is still resolved
_BAND_EDGES_HZ = (150, 300, 500, 800, 1200, 1700, 2300, 3000, 3800, 4700, 5600, 6500, 7300, 7900)
_NUM_BANDS = len(_BAND_EDGES_HZ) - 1
_DECAY_EDGES = (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 86, 115)  # hops after the peak
_RISE_HOPS, _MIN_RISE_DB, _MAX_RISES, _APART_HOPS = 4, 4.0, 10, 25
_PEAK_WITHIN_HOPS, _LEAST_TAIL_HOPS = 12, 40
_FLOOR_PERCENTILE, _NOISE_PERCENTILE = 10, 5
_DIGITAL_SILENCE_DB = -99.0  # of a band; below the resolution of 16 bits
# Low quantiles of broad-band noise lie this far below its level in the quietest band: an upper bound of the
# floor relative to them.
_QUIETEST_BELOW_FLOOR_DB = 10.0
_MAX_DEVIATIONS = 4.0  # standardised features are clipped here, which prevents extrapolation


def estimate_acoustics(samples: np.ndarray | None, track: Track) -> Acoustics:
    """Estimates RT60 and noise level of a track.

    Args:
        samples: float32[S] at 16 kHz; None: no such track.
        track: selects the coefficients.

    Returns:
        The estimates in seconds and dBFS; RT60 is None if too uncertain, both are None for tracks that are
        missing, silent or shorter than 0.5 s.
    """
    sound = np.zeros(0) if samples is None else as_sound(samples)
    if len(sound) < MIN_SAMPLES or is_silent(sound):
        return Acoustics(None, None)
    levels = band_levels_db(sound)
    weights = _weights()
    return Acoustics(_rt60_s(decays(levels), weights, track), _noise_dbfs(levels, weights, track))


def asset_sha256() -> str:
    """Hex digest of the file with the coefficients."""
    return hashlib.sha256(ASSET.read_bytes()).hexdigest()


# --- Features ----------------------------------------------------------------------------------------------


def band_levels_db(sound: np.ndarray) -> np.ndarray:
    """Mean level of each band every 4 ms, calibrated such that white noise reads its dBFS: float64[T, 13].

    Bands that are mostly digital silence (narrow-band recordings) are replaced by the nearest other band.
    """
    window = np.hanning(_WINDOW + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP] * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / np.sum(window**2)
    frequency_hz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE_HZ)
    edges = np.array(_BAND_EDGES_HZ)[:, None]
    in_band = (frequency_hz >= edges[:-1]) & (frequency_hz < edges[1:])
    levels = 10 * np.log10(power @ (in_band / in_band.sum(axis=1, keepdims=True)).T + 1e-10)
    bands = np.arange(_NUM_BANDS)
    is_full = np.median(levels[_is_sounding(levels)], axis=0) > _DIGITAL_SILENCE_DB
    if not is_full.any():
        return levels
    nearest = np.argmin(np.where(is_full, np.abs(bands[:, None] - bands), _NUM_BANDS), axis=1)
    return levels[:, nearest]


def _is_sounding(levels: np.ndarray) -> np.ndarray:
    """bool[T]: True where the track is not digital silence, which is a gap and not a quiet moment."""
    is_sounding = levels.max(axis=1) > _DIGITAL_SILENCE_DB
    return is_sounding if is_sounding.any() else np.ones_like(is_sounding)


def rises(levels: np.ndarray) -> list[int]:
    """Detects abrupt rises: the strongest ten, at least 100 ms apart, as hop indices in ascending order.

    The end of a digital silence is excluded.
    """
    rise_db = np.clip(levels[_RISE_HOPS:] - levels[:-_RISE_HOPS], 0, 30).mean(axis=1)
    is_gap = np.convolve(~_is_sounding(levels), np.ones(_WINDOW // _HOP + 1))[: len(rise_db)] > 0
    rise_db[is_gap] = 0.0
    taken: list[int] = []
    for hop in np.argsort(-rise_db, kind="stable"):
        if rise_db[hop] < _MIN_RISE_DB or len(taken) == _MAX_RISES:
            break
        if all(abs(hop - other) > _APART_HOPS for other in taken):
            taken.append(int(hop))
    return sorted(taken)


def decays(levels: np.ndarray) -> np.ndarray:
    """Features of the decay after each rise.

    The curve of a band is its running minimum, clipped at the track's floor in that band, so that later
    sounds do not raise it. The floor and the level before the rise are appended. All values are in dB
    relative to the loudest band at the peak.

    Args:
        levels: float64[T, 13] of `band_levels_db`.

    Returns:
        float64[K, 221], one row a rise.
    """
    floor = np.percentile(levels[_is_sounding(levels)], _FLOOR_PERCENTILE, axis=0)
    longest = _DECAY_EDGES[-1]
    padded = np.pad(levels, ((0, longest + _PEAK_WITHIN_HOPS), (0, 0)), mode="edge")
    rows = []
    for hop in rises(levels):
        if len(levels) - hop < _LEAST_TAIL_HOPS:
            continue
        peak = hop + int(np.argmax(levels[hop : hop + _PEAK_WITHIN_HOPS].mean(axis=1)))
        loudest = levels[peak : peak + 2].mean(axis=0).max()
        fall = np.minimum.accumulate(np.maximum(padded[peak : peak + longest], floor), axis=0)
        parts = [fall[a:b].mean(axis=0) for a, b in itertools.pairwise(_DECAY_EDGES)]
        before = levels[max(0, hop - 4) : max(hop, 1)].mean(axis=0)
        curve = np.clip(np.stack(parts) - loudest, -60, 0)
        context = [np.clip(floor - loudest, -70, 0), np.clip(before - loudest, -70, 5)]
        rows.append(rearrange(np.stack([*curve, *context]), "time band -> (time band)"))
    return np.array(rows).reshape(len(rows), (len(_DECAY_EDGES) + 1) * _NUM_BANDS)


def noise_features(levels: np.ndarray) -> tuple[np.ndarray, float]:
    """Low quantiles of each band's level over time.

    Args:
        levels: float64[T, 13] of `band_levels_db`.

    Returns:
        float64[27], dB relative to the quietest band, and the level of that band in dBFS.
    """
    quiet = np.percentile(levels[_is_sounding(levels)], _NOISE_PERCENTILE, axis=0)
    lowest = float(quiet.min())
    above = quiet - lowest
    soft_minimum = -10 * np.log10(np.mean(10 ** (-above / 10)))
    return np.concatenate([above, np.sort(above), [soft_minimum]]), lowest


# --- Estimates ---------------------------------------------------------------------------------------------


def votes(rows: np.ndarray, weights: dict[str, np.ndarray], track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Estimates RT60 from each decay.

    Args:
        rows: float64[K, 221] of `decays`.
        weights: of the asset.
        track: selects the coefficients.

    Returns:
        float64[K], standardised log RT60, and float64[K], their precisions.
    """
    of = {name.split("/")[1]: value for name, value in weights.items() if name.startswith(f"{track}/")}
    deviations = (rows - of["decay_mean"]) / of["decay_scale"]
    hidden = np.maximum(
        np.clip(deviations, -_MAX_DEVIATIONS, _MAX_DEVIATIONS) @ of["kernel_in"] + of["bias_in"], 0
    )
    out = hidden @ of["kernel_out"] + of["bias_out"]
    return out[:, 0], np.exp(np.clip(out[:, 1], -5, 4))


def _rt60_s(rows: np.ndarray, weights: dict[str, np.ndarray], track: Track) -> float | None:
    if not len(rows):
        return None
    opinions, precisions = votes(rows, weights, track)
    # The prior contributes mean 0 with precision 1.
    total = precisions.sum() + 1
    if total < MIN_PRECISION:
        return None
    return float(np.exp(LOG_RT60_MEAN + LOG_RT60_SPREAD * (precisions @ opinions) / total))


def _noise_dbfs(levels: np.ndarray, weights: dict[str, np.ndarray], track: Track) -> float:
    features, lowest = noise_features(levels)
    deviations = (features - weights[f"{track}/noise_mean"]) / weights[f"{track}/noise_scale"]
    deviations = np.clip(deviations, -_MAX_DEVIATIONS, _MAX_DEVIATIONS)
    above_db = deviations @ weights[f"{track}/noise_kernel"] + weights[f"{track}/noise_bias"]
    return float(lowest + min(above_db, _QUIETEST_BELOW_FLOOR_DB))


@functools.cache
def _weights() -> dict[str, np.ndarray]:
    with np.load(ASSET) as file:
        return {name: file[name].astype(np.float64) for name in file.files}

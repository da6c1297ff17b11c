"""Blind estimates of a track's room: reverberation time and noise level, from the sound alone.

Reverberation is heard where a sound stops. The track's loudest rises (hits, words) are found; how each band
falls in the half second after one, relative to the rise's loudest band, goes to a small network that gives a
vote: a logarithm of RT60 and how sure it is of it (a precision). A clip's estimate is the precision-weighted
mean of its votes; a clip whose votes together are not sure enough has none. So a track without free decays
(steady rain, one note held) is left out and not guessed.

The noise level is heard where nothing else is: low quantiles over time of every band, of which a linear
function takes the broad-band floor. Ambience hides the floor in some bands, never in all.

RT60 does not change with gain, and the noise level moves with it dB by dB, by construction.

Speech and background have coefficients of their own (words and hits end differently; the world's two
microphones stand at different distances). They lie in `assets/room_acoustics.npz`, fitted to Puppet Stage by
`fit_room_acoustics.py`, which prints how well they do on clips that it never saw. Limits: other worlds'
rooms are extrapolation; read the figures beside those of the true tracks.

Source: our choice; that decay rates of band envelopes tell RT60 is Wen, Habets and Naylor (2008), the noise
floor is minimum statistics (Martin 2001).
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

# Of votes' summed precision in units of log RT60's spread in the world: what is left unknown is less than
# half of what was unknown before listening.
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
_DIGITAL_SILENCE_DB = -99.0  # of a band; lower than a track of 16 bits can tell
# The quiet moments of broad-band noise lie so far below its level in its quietest band; a floor cannot be
# higher above them, whatever else sounds.
_QUIETEST_BELOW_FLOOR_DB = 10.0
_MAX_DEVIATIONS = 4.0  # of a feature from its mean: beyond what was fitted nothing is extrapolated


def estimate_acoustics(samples: np.ndarray | None, track: Track) -> Acoustics:
    """Listens to a track.

    Args:
        samples: float32[S] at 16 kHz; None if there is none.
        track: which of the two it is.

    Returns:
        The estimates; both None for tracks that are missing, silent or shorter than 0.5 s.
    """
    sound = np.zeros(0) if samples is None else as_sound(samples)
    if len(sound) < MIN_SAMPLES or is_silent(sound):
        return Acoustics(None, None)
    levels = band_levels_db(sound)
    weights = _weights()
    return Acoustics(_rt60_s(decays(levels), weights, track), _noise_dbfs(levels, weights, track))


def asset_sha256() -> str:
    """Of the coefficients."""
    return hashlib.sha256(ASSET.read_bytes()).hexdigest()


# --- Features ----------------------------------------------------------------------------------------------


def band_levels_db(sound: np.ndarray) -> np.ndarray:
    """Mean level of each band every 4 ms, such that white noise reads its dBFS: float64[T, 13].

    Bands with digital silence at most times (narrow-band recordings) repeat the nearest other band.
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
    """bool[T]: no digital silence, which is a gap in the track and no quiet moment of a room."""
    is_sounding = levels.max(axis=1) > _DIGITAL_SILENCE_DB
    return is_sounding if is_sounding.any() else np.ones_like(is_sounding)


def rises(levels: np.ndarray) -> list[int]:
    """Where the track gets louder at once, the strongest ten at least 100 ms apart: hops, rising.

    The end of a digital silence is none: the room does not begin there.
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
    """How each band falls after each rise: float64[K, 221].

    A band's curve is its lowest level so far, never below the track's floor in that band, so that the
    next sound cannot lift it again; beside it stand the floor and the level before the rise. All are dB
    relative to the loudest band at the peak.

    Args:
        levels: float64[T, 13] of `band_levels_db`.
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
    """The quiet moments of each band, relative to the quietest band: float64[27], and that band's level.

    Args:
        levels: float64[T, 13] of `band_levels_db`.
    """
    quiet = np.percentile(levels[_is_sounding(levels)], _NOISE_PERCENTILE, axis=0)
    lowest = float(quiet.min())
    above = quiet - lowest
    soft_minimum = -10 * np.log10(np.mean(10 ** (-above / 10)))
    return np.concatenate([above, np.sort(above), [soft_minimum]]), lowest


# --- Estimates ---------------------------------------------------------------------------------------------


def votes(rows: np.ndarray, weights: dict[str, np.ndarray], track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Each decay's opinion of the room.

    Args:
        rows: float64[K, 221] of `decays`.
        weights: of the asset.
        track: whose.

    Returns:
        float64[K], log RT60 in spreads from its mean, and float64[K], precisions of it.
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
    # One more vote of precision 1 is what is known before listening.
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

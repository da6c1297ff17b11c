"""Reference voices: one channel of speech at one level, of any recording.

- **Channels** are averaged; those that are silent beside the loudest are left out, and if the others cancel
  each other (opposite phase), the loudest is used alone.
- **Below the voice**: an offset (DC) is subtracted, and rumble and hum below 70 Hz are filtered out where
  they are strong enough to matter.
- **Stretch**: of a recording that is longer than the model takes, the stretch with the most 10 ms frames of
  speech, the loudest of equals. Speech is what lies within 25 dB of the loudest 0.3 s, between 200 Hz and
  4 kHz. Only the first ten minutes are considered.
- **Level**: that of the references of training, for the level of a recording does not determine how loud the
  voice should be in the film.

Source: our choice.
"""

import pathlib

import numpy as np

from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.media.sound_file import read_channels

MIN_VOICE_S = 0.5
# Louder than the noise of a muted 16-bit converter, softer than any usable recording.
SILENCE_DBFS = -60.0
VOICE_DBFS = -23.0  # of the active frames; training has -26 to -20
_PEAK = 0.95
_ACTIVE_RANGE_DB = 30.0  # below the loudest frame

_SPEECH_HZ = (200.0, 4_000.0)
_HUM_HZ = (40.0, 190.0)  # mains and their first harmonics
_RUMBLE_HZ = 70.0  # below any voice
_LOUDEST_S = 0.3  # longer than a click
_SPEECH_RANGE_DB = 25.0
# Powers relative to that of the speech band.
_MOST_OFFSET = 1e-4
_MOST_RUMBLE = 1e-2
_MOST_HUM = 300.0
_CANCELLED = 0.1  # power of the average, relative to the average power
_SILENT_CHANNEL = 0.01  # power relative to the loudest channel's


def read_voice(path: pathlib.Path | str, grid: GridConfig) -> np.ndarray:
    """Reads a reference recording: any container, codec, rate and channel count; films too.

    Returns:
        float32[S] in [-1, 1], mono at `grid.sample_rate_hz`, from 0.5 s to `grid.num_voice_frames` long,
        its speech at -23 dB full scale.

    Raises:
        UserError: the file is missing, empty, not media, without sound, shorter than 0.5 s, silent (no 10 ms
            of it reach -60 dB full scale between 200 Hz and 4 kHz), nothing but hum, or damaged.
    """
    path, rate_hz = pathlib.Path(path), grid.sample_rate_hz
    channels = read_channels(path, rate_hz)
    seconds = len(channels) / rate_hz
    if seconds < MIN_VOICE_S:
        raise UserError(
            f"{path}: the voice is {seconds:.2f} s long but at least {MIN_VOICE_S} s are needed; "
            "give a longer recording"
        )
    if not np.isfinite(channels).all():
        raise UserError(f"{path}: holds samples that are not numbers; give an undamaged recording")
    samples = _mono(channels, rate_hz)
    speech = _band(samples, rate_hz, *_SPEECH_HZ)
    _check_speech(path, samples, speech, rate_hz)
    samples, is_filtered = _without_rumble(samples, speech, rate_hz)
    levels_db = _frame_levels_db(speech if is_filtered else samples, rate_hz)
    is_active = levels_db > max(SILENCE_DBFS, levels_db.max() - _ACTIVE_RANGE_DB)
    level = np.sqrt(np.mean(10.0 ** (_frame_levels_db(samples, rate_hz)[is_active] / 10.0)))
    gain = min(10.0 ** (VOICE_DBFS / 20.0) / level, _PEAK / np.abs(samples).max())
    return _liveliest(samples, speech, grid) * np.float32(gain)


def _mono(channels: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32[S] of float32[S, C]."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    powers = np.mean(np.square(_band(channels, sample_rate_hz, *_SPEECH_HZ)), axis=0)
    used = powers >= _SILENT_CHANNEL * powers.max()
    average = channels[:, used].mean(axis=1)
    if np.mean(np.square(_band(average, sample_rate_hz, *_SPEECH_HZ))) < _CANCELLED * powers[used].mean():
        return channels[:, powers.argmax()]
    return average


def _check_speech(path: pathlib.Path, samples: np.ndarray, speech: np.ndarray, sample_rate_hz: int) -> None:
    loudest_db = _frame_levels_db(speech, sample_rate_hz).max()
    if np.mean(np.square(_band(samples, sample_rate_hz, *_HUM_HZ))) > _MOST_HUM * np.mean(np.square(speech)):
        raise UserError(f"{path}: nothing but hum below 200 Hz; give a recording of speech")
    if loudest_db < SILENCE_DBFS:
        raise UserError(
            f"{path}: the voice is silent (below {SILENCE_DBFS:.0f} dB full scale); "
            "give a recording of speech"
        )


def _without_rumble(samples: np.ndarray, speech: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, bool]:
    """The recording without offset and rumble, and whether it was filtered; a clean one to the bit."""
    power, offset = np.mean(np.square(speech)), samples.mean(dtype=np.float64)
    if np.square(offset) > _MOST_OFFSET * power:
        samples = samples - np.float32(offset)
    above = _filter(samples, sample_rate_hz, _RUMBLE_HZ, "highpass")
    if np.mean(np.square(samples - above)) <= _MOST_RUMBLE * power:
        return samples, False
    return above.astype(np.float32), True


def _liveliest(samples: np.ndarray, speech: np.ndarray, grid: GridConfig) -> np.ndarray:
    num_wanted = grid.num_voice_frames * grid.samples_per_frame
    if len(samples) <= num_wanted:
        return samples
    hop = grid.sample_rate_hz // 100
    powers = 10.0 ** (_frame_levels_db(speech, grid.sample_rate_hz) / 10.0)
    width = round(100 * _LOUDEST_S)
    loudest_db = 10.0 * np.log10(np.convolve(powers, np.full(width, 1 / width), "valid").max())
    is_speech = 10.0 * np.log10(powers) > max(SILENCE_DBFS, loudest_db - _SPEECH_RANGE_DB)
    # Fractions of a frame decide between stretches with equally many frames.
    scores = np.concatenate([[0.0], np.cumsum(is_speech + 0.5 * powers / powers.sum())])
    length = num_wanted // hop
    start = int(np.argmax(scores[length:] - scores[:-length])) * hop
    return samples[start : start + num_wanted]


def _band(samples: np.ndarray, sample_rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """float64, filtered along time (axis 0) without delay."""
    return _filter(samples, sample_rate_hz, [low_hz, min(high_hz, 0.45 * sample_rate_hz)], "bandpass")


def _filter(samples: np.ndarray, sample_rate_hz: int, hz: float | list[float], kind: str) -> np.ndarray:
    import scipy.signal  # takes a while, and not every film has a reference voice

    sections = scipy.signal.butter(4, hz, kind, fs=sample_rate_hz, output="sos")
    return scipy.signal.sosfiltfilt(sections, samples.astype(np.float64), axis=0)


def _frame_levels_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float[N]: level of each 10 ms, dB full scale."""
    hop = sample_rate_hz // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    return 10.0 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)

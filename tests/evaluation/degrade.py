"""Spoils soundtracks in known ways, so that tests can see each figure move as it should.

Every function is pure: a `Clip` in, a new `Clip` out, the truth and the references untouched unless the
function says otherwise. The same arguments give the same clip.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip

Track = Literal["speech", "background", "mixture"]


def changed(clip: Clip, track: Track, change: Callable[[np.ndarray], np.ndarray]) -> Clip:
    """`clip` with `track` put through `change`, float32[S] -> float[S']; a missing track stays missing."""
    samples = getattr(clip, track)
    if samples is None:
        return clip
    return dataclasses.replace(clip, **{track: np.asarray(change(samples.copy()), np.float32)})


# --- Level and noise -----------------------------------------------------------------------------------


def with_noise(clip: Clip, track: Track, snr_db: float, seed: int = 0) -> Clip:
    """White noise `snr_db` below the track's mean power (below 0: above it)."""

    def change(x: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(seed).standard_normal(len(x))
        return x + noise * np.sqrt(np.mean(np.square(x, dtype=np.float64)) * 10 ** (-snr_db / 10))

    return changed(clip, track, change)


def with_noise_at(clip: Clip, track: Track, level_dbfs: float, seed: int = 0) -> Clip:
    """White noise with a root mean square of `level_dbfs`, whatever the track's level."""

    def change(x: np.ndarray) -> np.ndarray:
        return x + np.random.default_rng(seed).standard_normal(len(x)) * 10 ** (level_dbfs / 20)

    return changed(clip, track, change)


def only_noise(clip: Clip, track: Track, level_dbfs: float = -25.0, seed: int = 0) -> Clip:
    """Nothing but white noise."""
    return with_noise_at(silenced(clip, track), track, level_dbfs, seed)


def amplified(clip: Clip, track: Track, gain_db: float) -> Clip:
    """Louder or, below 0, quieter; not clipped."""
    return changed(clip, track, lambda x: x * 10 ** (gain_db / 20))


def silenced(clip: Clip, track: Track) -> Clip:
    """Digital silence of the same length."""
    return changed(clip, track, np.zeros_like)


def clipped(clip: Clip, track: Track, gain_db: float = 30.0) -> Clip:
    """Driven `gain_db` too hard into full scale."""
    return changed(clip, track, lambda x: np.clip(x * 10 ** (gain_db / 20), -1, 1))


# --- Time ----------------------------------------------------------------------------------------------


def shifted(clip: Clip, track: Track, shift_ms: float) -> Clip:
    """Later by `shift_ms` (below 0: earlier); the length stays, the gap is silent."""

    def change(x: np.ndarray) -> np.ndarray:
        shift = int(np.clip(round(shift_ms * SAMPLE_RATE_HZ / 1000), -len(x), len(x)))
        late = np.zeros_like(x)
        if shift >= 0:
            late[shift:] = x[: len(x) - shift]
        else:
            late[:shift] = x[-shift:]
        return late

    return changed(clip, track, change)


def with_length(clip: Clip, track: Track, num_samples: int) -> Clip:
    """Cut, or padded with silence, to `num_samples`; the film keeps its length."""
    return changed(clip, track, lambda x: np.pad(x, (0, max(0, num_samples - len(x))))[:num_samples])


def slowed(clip: Clip, track: Track, ratio: float) -> Clip:
    """Played `ratio` times as long, pitch and all (linear interpolation), then cut or padded to length."""

    def change(x: np.ndarray) -> np.ndarray:
        return np.interp(np.arange(len(x)) / ratio, np.arange(len(x)), x, right=0.0)

    return changed(clip, track, change)


# --- Spectrum and room -----------------------------------------------------------------------------------


def low_passed(clip: Clip, track: Track, cutoff_hz: float = 3000.0) -> Clip:
    """Nothing above `cutoff_hz`; a 10% wide transition."""

    def change(x: np.ndarray) -> np.ndarray:
        frequency_hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE_HZ)
        gain = np.clip((1.1 * cutoff_hz - frequency_hz) / (0.1 * cutoff_hz), 0, 1)
        return np.fft.irfft(np.fft.rfft(x) * gain, len(x))

    return changed(clip, track, change)


def reverberated(clip: Clip, track: Track, rt60_s: float, seed: int = 0) -> Clip:
    """In a room: the sound itself, and 6 dB below it an exponentially falling tail of noise."""

    def change(x: np.ndarray) -> np.ndarray:
        t = np.arange(int(rt60_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        tail = np.random.default_rng(seed).standard_normal(len(t)) * 10 ** (-3 * t / rt60_s)
        tail *= 0.5 / np.sqrt(np.sum(tail**2))
        tail[0] = 1.0
        size = len(x) + len(tail)
        return np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]

    return changed(clip, track, change)


def with_clicks(clip: Clip, track: Track, per_second: float = 4.0, seed: int = 0) -> Clip:
    """Single samples at full scale, at random places."""

    def change(x: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(seed)
        count = round(per_second * len(x) / SAMPLE_RATE_HZ)
        x[rng.integers(0, max(1, len(x)), count if len(x) else 0)] = 1.0
        return x

    return changed(clip, track, change)


def with_nan(clip: Clip, track: Track, start_s: float = 0.5, length_s: float = 0.01) -> Clip:
    """A hole of NaN, as a broken model leaves it."""

    def change(x: np.ndarray) -> np.ndarray:
        x[int(start_s * SAMPLE_RATE_HZ) : int((start_s + length_s) * SAMPLE_RATE_HZ)] = np.nan
        return x

    return changed(clip, track, change)


# --- Who and what ----------------------------------------------------------------------------------------


def in_another_voice(
    clip: Clip, track: Track = "speech", pitch_ratio: float = 1.5, formant_ratio: float = 1.2
) -> Clip:
    """The same words at the same times from another throat: WORLD's pitch and envelope, moved up.

    Needs `pyworld-prebuilt` (in the extra "dev").
    """
    import pyworld

    def change(x: np.ndarray) -> np.ndarray:
        wave = x.astype(np.float64)
        pitch_hz, times = pyworld.harvest(wave, SAMPLE_RATE_HZ)
        envelope = pyworld.cheaptrick(wave, pitch_hz, times, SAMPLE_RATE_HZ)
        aperiodicity = pyworld.d4c(wave, pitch_hz, times, SAMPLE_RATE_HZ)
        bins = np.arange(envelope.shape[1])
        warped = np.stack([np.interp(bins / formant_ratio, bins, frame) for frame in envelope])
        made = pyworld.synthesize(pitch_hz * pitch_ratio, warped, aperiodicity, SAMPLE_RATE_HZ)
        return np.pad(made, (0, max(0, len(x) - len(made))))[: len(x)]

    return changed(clip, track, change)


def with_wrong_reference(clip: Clip) -> Clip:
    """The reference voice and somebody else's change places."""
    return dataclasses.replace(clip, voice=clip.other_voice, other_voice=clip.voice)


def with_tracks_swapped(clip: Clip) -> Clip:
    """Speech given as background and background as speech."""
    return dataclasses.replace(clip, speech=clip.background, background=clip.speech)


def without(clip: Clip, *names: str) -> Clip:
    """`clip` with these attributes unknown."""
    return dataclasses.replace(clip, **dict.fromkeys(names))


def shuffled(
    clips: Sequence[Clip], tracks: Sequence[Track] = ("speech", "background"), step: int = 1
) -> list[Clip]:
    """Every clip gets the given tracks of the clip `step` places on, cut or padded to its own length."""
    out = []
    for i, clip in enumerate(clips):
        other = clips[(i + step) % len(clips)]
        taken = dataclasses.replace(clip, **{track: getattr(other, track) for track in tracks})
        for track in tracks:
            taken = with_length(taken, track, clip.num_samples)
        out.append(taken)
    return out

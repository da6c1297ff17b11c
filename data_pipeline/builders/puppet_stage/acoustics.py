"""Room acoustics that both stems share: reverberation and a noise floor, neither of them visible.

They couple the streams: no condition but the other stream determines a stream's reverberation time and noise
level. Source: our choice.
"""

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage.sounds import band_noise
from dualdub_jax.dsp.acoustics import Acoustics

SAMPLE_RATE_HZ = 16_000
# The microphone of the speech track is closer, so its noise and its reverberation are lower by a fixed
# amount; without it, a recogniser fails on true speech in the most reverberant rooms (measured).
SPEECH_NOISE_OFFSET_DB = -6.0
SPEECH_TAIL_OFFSET_DB = -6.0


def draw_acoustics(rng: np.random.Generator) -> Acoustics:
    """Acoustics of a clip: RT60 from 0.1 to 0.8 s, noise floor of the background from -62 to -42 dBFS.

    The noise floor of a speech stem with speech is `SPEECH_NOISE_OFFSET_DB` lower.
    """
    return Acoustics(rt60_s=float(rng.uniform(0.1, 0.8)), noise_dbfs=float(rng.uniform(-62.0, -42.0)))


def closer(response: np.ndarray) -> np.ndarray:
    """`response` float32[S] at the closer microphone of the speech track, in the same room."""
    near = response * np.float32(10 ** (SPEECH_TAIL_OFFSET_DB / 20))
    near[0] = response[0]
    return near


def impulse_response(rng: np.random.Generator, rt60_s: float) -> np.ndarray:
    """The direct sound (1 at sample 0), then from 4 ms on an exponentially falling tail.

    The tail's energy grows with `rt60_s`, as in a real room: 12 dB below the direct sound at 0.1 s,
    3 dB below it at 0.8 s.

    Returns:
        float32[S], long enough for the tail to fall by 60 dB.
    """
    num_samples = int(rt60_s * SAMPLE_RATE_HZ) + 64
    t = np.arange(num_samples) / SAMPLE_RATE_HZ
    tail = band_noise(rng, num_samples, 120, 6500, tilt_db=-1.0) * np.exp(-6.91 * t / rt60_s)
    tail[:64] = 0
    tail *= np.sqrt(0.5 * rt60_s / 0.8 / np.sum(tail**2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def reverberate(dry: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolves `dry` float32[S] with `response`, cut to S samples: float32[S]."""
    size = 1 << (len(dry) + len(response) - 2).bit_length()
    wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(response, size), size)
    return wet[: len(dry)]


def noise_floor(rng: np.random.Generator, num_samples: int, level_dbfs: float) -> np.ndarray:
    """Hiss with a root mean square of `level_dbfs`: float32[S]."""
    hiss = band_noise(rng, num_samples, 60, 7800, tilt_db=-1.0)
    return (hiss * 10 ** (level_dbfs / 20)).astype(np.float32)


def speech_envelope(samples: np.ndarray, samples_per_frame: int, num_frames: int) -> np.ndarray:
    """Loudness of dry speech on the frame grid, 0 (silent) to 1 (its loudest frames).

    Frame t looks at [t - 0.5, t + 1.5) frames, so that a mouth driven by it is in step with the sound.

    Args:
        samples: float[S], S at most `num_frames * samples_per_frame`.
        samples_per_frame: length of a grid frame.
        num_frames: T.

    Returns:
        float32[T].
    """
    power = np.zeros((num_frames + 2) * samples_per_frame)
    power[samples_per_frame : samples_per_frame + len(samples)] = np.square(samples, dtype=np.float64)
    halves = power.reshape(-1, samples_per_frame // 2).mean(axis=1)
    first = 2 * np.arange(num_frames) + 1
    level = np.sqrt(sum(halves[first + k] * w for k, w in enumerate((0.15, 0.35, 0.35, 0.15))))
    loudest = np.percentile(level[level > 0], 90) if (level > 0).any() else 1.0
    # A root makes quiet vowels visible; 30 dB below the loudest, the mouth is closed.
    return np.clip((level / loudest) ** 0.7 * 1.05 - 0.07, 0, 1).astype(np.float32)

"""Synthesised sounds of the stage: impacts, continuous sounds, ambiences.

Every function is deterministic given its generator and returns float32[S] at 16 kHz. Impacts of one
class differ from hit to hit and from clip to clip (a `tuning` of the object), but the classes stay far
apart in spectrum and decay, so that a sound identifies its object. Source: our choice.
"""

from collections.abc import Callable

import numpy as np

SAMPLE_RATE_HZ = 16_000

# Name -> the visible object. The order is the class index in evaluations.
IMPACTS: dict[str, str] = {
    "ball": "a rubber ball hits the floor",
    "drum": "a stick hits a drum",
    "bell": "a swinging bell meets its striker",
    "anvil": "a hammer hits an anvil",
    "knock": "a fist knocks on wood",
    "glasses": "two glasses clink",
}
CONTINUOUS: dict[str, str] = {
    "rain": "rain; its strength is the number of drops on screen",
    "wheel": "a spinning wheel; its strength is the speed",
}
PLACES: dict[str, str] = {
    "kitchen": "a room with a window; the fridge hums",
    "forest": "trees; birds sing",
    "beach": "the sea; waves roll",
    "street": "houses; traffic rumbles",
    "meadow": "a moonlit meadow; crickets chirp",
}


def _modes(
    num_samples: int,
    frequencies_hz: np.ndarray,
    decays_s: np.ndarray,
    amplitudes: np.ndarray,
) -> np.ndarray:
    """Sum of damped sines, the sound of a struck body; each decay is the time to fall by 60 dB."""
    t = np.arange(num_samples) / SAMPLE_RATE_HZ
    audible = frequencies_hz < 7600
    envelope = np.exp(-6.91 * t / decays_s[audible, None])
    return amplitudes[audible] @ (envelope * np.sin(2 * np.pi * frequencies_hz[audible, None] * t))


def _burst(
    rng: np.random.Generator, num_samples: int, decay_s: float, low_hz: float, high_hz: float
) -> np.ndarray:
    """Decaying band noise, the sound of the contact itself; root mean square 1 before the decay."""
    t = np.arange(num_samples) / SAMPLE_RATE_HZ
    return band_noise(rng, num_samples, low_hz, high_hz) * np.exp(-6.91 * t / decay_s)


def band_noise(
    rng: np.random.Generator, num_samples: int, low_hz: float, high_hz: float, tilt_db: float = 0.0
) -> np.ndarray:
    """Gaussian noise between two frequencies, `tilt_db` an octave, root mean square 1: float32[S]."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples, dtype=np.float32))
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    gain = 1 / (1 + np.exp(np.clip(-(frequency_hz - low_hz) / (0.1 * low_hz + 10), -50, 50)))
    gain /= 1 + np.exp(np.clip((frequency_hz - high_hz) / (0.05 * high_hz + 10), -50, 50))
    gain *= np.maximum(frequency_hz / 1000, 0.02) ** (tilt_db / 6.02)
    noise = np.fft.irfft(spectrum * gain, num_samples)
    return noise / np.sqrt(np.mean(noise**2))


def _ball(rng: np.random.Generator, tuning: float) -> np.ndarray:
    t = np.arange(int(0.25 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = 95 * tuning * (1 + 1.2 * np.exp(-t / 0.02))
    thud = np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ) * np.exp(-6.91 * t / 0.2)
    return thud + 0.25 * _burst(rng, len(t), 0.025, 200, 1500)


def _drum(rng: np.random.Generator, tuning: float) -> np.ndarray:
    n = int(0.45 * SAMPLE_RATE_HZ)
    ratios = np.array([1.0, 1.59, 2.14, 2.30, 2.65, 2.92])  # of an ideal membrane
    decays = np.array([0.40, 0.30, 0.25, 0.22, 0.2, 0.18])
    skin = _modes(n, 190 * tuning * ratios, decays, np.array([1.0, 0.6, 0.4, 0.3, 0.2, 0.2]))
    return skin + 0.8 * _burst(rng, n, 0.22, 1200, 5500)


def _bell(rng: np.random.Generator, tuning: float) -> np.ndarray:
    n = int(1.8 * SAMPLE_RATE_HZ)
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.67, 3.0, 4.0])  # hum, prime, tierce, quint, nominal…
    decays = np.array([2.2, 1.7, 1.5, 1.1, 1.2, 0.8, 0.7, 0.5])
    amplitudes = np.array([0.4, 0.8, 0.5, 0.3, 1.0, 0.5, 0.3, 0.3]) * rng.uniform(0.8, 1.2, 8)
    return _modes(n, 640 * tuning * ratios, decays, amplitudes) + 0.2 * _burst(rng, n, 0.02, 2000, 7000)


def _anvil(rng: np.random.Generator, tuning: float) -> np.ndarray:
    n = int(0.6 * SAMPLE_RATE_HZ)
    ratios = np.array([1.0, 1.47, 2.09, 2.56, 3.39, 4.08, 4.6])
    decays = np.array([0.35, 0.5, 0.45, 0.4, 0.35, 0.3, 0.2])
    amplitudes = np.array([0.3, 0.5, 0.8, 1.0, 0.8, 0.6, 0.5]) * rng.uniform(0.8, 1.2, 7)
    return _modes(n, 1210 * tuning * ratios, decays, amplitudes) + 1.6 * _burst(rng, n, 0.03, 1500, 7500)


def _knock(rng: np.random.Generator, tuning: float) -> np.ndarray:
    n = int(0.16 * SAMPLE_RATE_HZ)
    ratios = np.array([1.0, 1.83, 2.71, 4.2])
    decays = np.array([0.10, 0.07, 0.05, 0.03])
    body = _modes(n, 390 * tuning * ratios, decays, np.array([1.0, 0.7, 0.45, 0.25]))
    return body + 0.5 * _burst(rng, n, 0.018, 500, 3000)


def _glasses(rng: np.random.Generator, tuning: float) -> np.ndarray:
    n = int(0.9 * SAMPLE_RATE_HZ)
    one = np.array([1.0, 1.013, 2.32, 2.35])  # two nearly equal glasses beat against each other
    decays = np.array([0.9, 0.8, 0.4, 0.35])
    body = _modes(n, 2650 * tuning * one, decays, np.array([1.0, 0.8, 0.5, 0.4]))
    return body + 0.25 * _burst(rng, n, 0.01, 3500, 7800)


_IMPACTS: dict[str, Callable[[np.random.Generator, float], np.ndarray]] = {
    "ball": _ball,
    "drum": _drum,
    "bell": _bell,
    "anvil": _anvil,
    "knock": _knock,
    "glasses": _glasses,
}
# Peaks at full speed, chosen by listening and by meter: classes of the same speed are about equally loud.
_PEAKS = {"ball": 0.50, "drum": 0.42, "bell": 0.28, "anvil": 0.42, "knock": 0.50, "glasses": 0.28}


def impact(kind: str, rng: np.random.Generator, tuning: float, speed: float) -> np.ndarray:
    """One hit, beginning at its first sample.

    Args:
        kind: a key of `IMPACTS`.
        rng: the clip's generator.
        tuning: pitch of the object, about 0.85 to 1.18; one a clip.
        speed: visible speed of the contact, 0 to 1; amplitude is proportional to it.

    Returns:
        float32[S], peak about `speed` times the class's.
    """
    samples = _IMPACTS[kind](rng, tuning)
    fade = min(len(samples) // 4, 800)
    samples[-fade:] *= np.linspace(1, 0, fade)
    return (samples * (_PEAKS[kind] * speed / np.abs(samples).max())).astype(np.float32)


def continuous(kind: str, rng: np.random.Generator, strength: np.ndarray) -> np.ndarray:
    """A sound that follows a visible strength.

    Args:
        kind: a key of `CONTINUOUS`.
        rng: the clip's generator.
        strength: float[S], 0 (silent) to 1, at 16 kHz.

    Returns:
        float32[S], about -29 dBFS at strength 1.
    """
    num_samples = len(strength)
    if kind == "rain":
        hiss = band_noise(rng, num_samples, 900, 7000, tilt_db=-1.5)
        drops = np.where(rng.random(num_samples) < 0.004 * strength, rng.exponential(6.0, num_samples), 0.0)
        patter = np.convolve(drops, np.exp(-np.arange(48) / 9) * np.cos(np.arange(48) * 1.4))[:num_samples]
        return (0.036 * strength * (0.7 * hiss + 0.5 * patter)).astype(np.float32)
    # A wheel: a whine that rises with the speed, over the rumble of its bearing.
    pitch_hz = 90 + 420 * strength
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    whine = (
        np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.35 * np.sin(3 * phase + 2) + 0.2 * np.sin(5 * phase)
    )
    rumble = band_noise(rng, num_samples, 60, 700, tilt_db=-3)
    return (0.036 * strength * (0.7 * whine + 0.6 * rumble)).astype(np.float32)


def ambience(place: str, rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """The sound of a place, about -45 dBFS: float32[S]."""
    t = np.arange(num_samples) / SAMPLE_RATE_HZ
    if place == "kitchen":
        mains_hz = rng.uniform(98, 102)
        hum = sum(np.sin(2 * np.pi * mains_hz * k * t + k) / k for k in (1, 2, 3, 4))
        sound = hum + 0.25 * band_noise(rng, num_samples, 80, 500)
    elif place == "forest":
        sound = 0.5 * band_noise(rng, num_samples, 250, 2500, tilt_db=-4)
        for _ in range(rng.poisson(1.6 * t[-1])):
            sound += _chirp(rng, t)
    elif place == "beach":
        swell = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(0.25, 0.4) * t + rng.uniform(0, 2 * np.pi))
        sound = swell * band_noise(rng, num_samples, 150, 3500, tilt_db=-3)
    elif place == "street":
        sound = band_noise(rng, num_samples, 35, 260, tilt_db=-3)
        sound *= 0.75 + 0.25 * np.sin(2 * np.pi * rng.uniform(0.1, 0.3) * t + rng.uniform(0, 2 * np.pi))
        sound += 0.2 * band_noise(rng, num_samples, 300, 1500, tilt_db=-4)
    else:
        carrier = np.sin(2 * np.pi * rng.uniform(4000, 4800) * t)
        pulses = np.clip(np.sin(2 * np.pi * rng.uniform(14, 18) * t), 0, 1)
        groups = np.sin(2 * np.pi * rng.uniform(1.2, 1.9) * t + rng.uniform(0, 2 * np.pi)) > -0.2
        sound = 1.6 * carrier * pulses * groups + 0.25 * band_noise(rng, num_samples, 100, 900, tilt_db=-3)
    level = 10 ** (rng.uniform(-48, -42) / 20)
    return (sound * (level / np.sqrt(np.mean(sound**2)))).astype(np.float32)


def _chirp(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Two to five quick whistles of one bird: float64[S]."""
    song = np.zeros_like(t)
    start_s, pitch_hz = rng.uniform(-0.2, t[-1]), rng.uniform(2600, 4600)
    for i in range(rng.integers(2, 6)):
        local = t - start_s - 0.13 * i
        shape = np.exp(-((local / 0.03) ** 2))
        song += shape * np.sin(2 * np.pi * (pitch_hz * local + 6000 * local**2))
    return 1.5 * song

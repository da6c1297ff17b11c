"""Encoded tracks sound like their samples, and a change of the samples stays near where it is."""

import io

import av
import numpy as np
import pytest

from dualdub_jax.media.audio_encoder import AudioEncoder
from dualdub_jax.media.new_tracks import AudioTrack

BEFORE_S, AFTER_S = 0.2, 1.0  # as documented in docs/dubbing.md


def encoded(samples: np.ndarray, rate_hz: int, codec: str, container: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as target:
        for _, packets in AudioEncoder(target, codec, AudioTrack(samples, rate_hz)).packets():
            target.mux(packets)
    return file.getvalue()


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    with av.open(io.BytesIO(data)) as source:
        frames = list(source.decode(audio=0))
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T, frames[0].sample_rate


def voice_and_noise(seconds: int, rate_hz: int, num_channels: int) -> np.ndarray:
    """Syllables and noise, with pauses of which some are all zeros."""
    rng, time_s = np.random.default_rng(0), np.arange(seconds * rate_hz) / rate_hz
    voice = 0.3 * np.sin(2 * np.pi * 180 * time_s) ** 9 * (np.sin(2 * np.pi * 1.3 * time_s) > 0)
    noise = 0.03 * rng.standard_normal(len(time_s)) * (time_s % 6 < 4)
    channels = np.stack([voice + noise, 0.7 * voice - 0.5 * noise], axis=1)[:, :num_channels]
    return (channels[:, 0] if num_channels == 1 else channels).astype(np.float32)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize(
    ("codec", "container", "rate_hz"),
    [("aac", "mp4", 16_000), ("aac", "matroska", 44_100), ("libopus", "webm", 16_000)],
)
def test_a_change_stays_near_it(codec, container, rate_hz, num_channels):
    old = voice_and_noise(14, rate_hz, num_channels)
    new = old.copy()
    new[5 * rate_hz : 7 * rate_hz] = 0.8 * new[2 * rate_hz : 4 * rate_hz]
    before, out_hz = decoded(encoded(old, rate_hz, codec, container))
    after, _ = decoded(encoded(new, rate_hz, codec, container))
    assert len(before) == len(after) >= 14 * out_hz
    differs = (before != after).any(axis=1)
    begin, end = round((5 - BEFORE_S) * out_hz), round((7 + AFTER_S) * out_hz)
    assert not differs[:begin].any() and differs[begin:end].mean() > 0.6
    # Here and there, a packet at the edge of digital silence remembers more.
    assert differs[end:].mean() < 0.02 and np.abs(before - after)[end:].max() < 1e-3


@pytest.mark.parametrize(("codec", "container"), [("aac", "mp4"), ("libopus", "webm")])
def test_sound_survives(codec, container):
    rate_hz = 48_000
    track = voice_and_noise(4, rate_hz, 1)
    found, out_hz = decoded(encoded(track, rate_hz, codec, container))
    assert out_hz == rate_hz
    delays = range(0, 2_049)
    part = slice(rate_hz, 2 * rate_hz)
    errors = [np.mean(np.square(found[part.start + d : part.stop + d, 0] - track[part])) for d in delays]
    assert 10 * np.log10(np.mean(np.square(track[part])) / min(errors)) > 15


def test_silence_stays_silent():
    found, _ = decoded(encoded(np.zeros(16_000, np.float32), 16_000, "aac", "mp4"))
    assert not found.any()

"""Tracks on disk: 16-bit samples survive to the bit, and a slice reads no more than itself."""

import io
import wave

import numpy as np
import pytest

from dualdub_jax.media.track import FloatFile, MonoView, Track, WavWriter


def test_wav_is_exact_and_plain():
    samples = np.array([0.0, 1 / 32768, -1 / 32768, 0.5, -1.0, 32767 / 32768], np.float32)
    file = io.BytesIO()
    with WavWriter(file, 16_000) as writer:
        writer.write(samples[:2])
        writer.write(samples[2:])
    with wave.open(io.BytesIO(file.getvalue())) as read:
        assert (read.getnchannels(), read.getsampwidth(), read.getframerate()) == (1, 2, 16_000)
        integers = np.frombuffer(read.readframes(10), "<i2")
    np.testing.assert_array_equal(integers / 32768, samples)


def test_clipping_is_refused():
    with WavWriter(io.BytesIO(), 16_000) as writer, pytest.raises(ValueError, match="would be clipped"):
        writer.write(np.array([1.0]))


@pytest.mark.parametrize(
    "part", [np.s_[:], np.s_[10:20], np.s_[-7:], np.s_[990:2000], np.s_[5:5], np.s_[9:3]]
)
def test_slices_are_those_of_the_array(tmp_path, part):
    samples = (np.random.default_rng(0).integers(-32768, 32768, 1000) / 32768).astype(np.float32)
    with WavWriter(tmp_path / "a.wav", 24_000) as writer:
        writer.write(samples)
    track = Track(tmp_path / "a.wav")
    assert len(track) == 1000 and track.sample_rate_hz == 24_000
    assert track[part].dtype == np.float32
    np.testing.assert_array_equal(track[part], samples[part])
    np.testing.assert_array_equal(np.asarray(track), samples)


def test_stereo_is_interleaved_and_its_mean_is_mono(tmp_path):
    samples = (np.arange(-40, 40).reshape(40, 2) / 128).astype(np.float32)
    with WavWriter(tmp_path / "x.wav", 44_100, 2) as writer:
        writer.write(samples[:7])
        writer.write(samples[7:])
    track, floats = Track(tmp_path / "x.wav"), FloatFile(tmp_path / "x.raw", 2)
    floats.write([samples[:3], samples[3:]])
    assert (track.num_channels, len(track), len(floats)) == (2, 40, 40)
    for stored in (track, floats):
        np.testing.assert_array_equal(stored[5:9], samples[5:9])
        np.testing.assert_array_equal(MonoView(stored)[:], samples.mean(axis=1))
        assert stored[40:50].shape == (0, 2)

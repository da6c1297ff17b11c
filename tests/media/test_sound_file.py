"""Reference voices from anything; WAV to the bit."""

import numpy as np
import pytest
import soundfile

from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.media.sound_file import read_voice
from tests.films import make_film

GRID = GridConfig()
LEVEL = np.sqrt(2) * 10 ** (-23 / 20)  # amplitude of a tone at the level that voices are given


def tone(seconds: float, rate_hz: int, level: float = 0.3, hz: float = 300.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_any_rate_and_channel_count(tmp_path, rate_hz, num_channels):
    path = tmp_path / "voice.wav"
    soundfile.write(path, np.stack([tone(1.0, rate_hz)] * num_channels, axis=1), rate_hz)
    samples = read_voice(path, GRID)
    assert samples.dtype == np.float32 and abs(len(samples) - 16_000) <= 2
    inner = slice(2_000, 14_000)  # the resampler rings at the ends
    expected = tone(1.0, 16_000, LEVEL)
    np.testing.assert_allclose(samples[inner], expected[inner], atol=0.005)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("v.wav", "PCM_U8"),
        ("v.wav", "PCM_24"),
        ("v.wav", "FLOAT"),
        ("v.wav", "DOUBLE"),
        ("v.wav", "ULAW"),
        ("v.flac", "PCM_16"),
        ("v.ogg", "VORBIS"),
        ("v.mp3", "MPEG_LAYER_III"),
        ("v.aiff", "PCM_16"),
    ],
)
def test_any_format(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, tone(1.0, 16_000), 16_000, subtype=subtype)
    samples = read_voice(tmp_path / name, GRID)
    level = np.sqrt(np.mean(np.square(samples[4_000:12_000])))
    assert abs(20 * np.log10(level) + 23) < 0.5


def test_sound_of_a_film_is_a_voice(tmp_path):
    samples = read_voice(make_film(tmp_path / "film.mp4", has_audio=True), GRID)
    assert abs(len(samples) - 32_000) < 2_000 and abs(20 * np.log10(samples.std()) + 23) < 1


def test_longer_than_needed_takes_the_liveliest_stretch(tmp_path):
    rng = np.random.default_rng(0)
    hush = 0.0005 * rng.normal(size=16_000 * 10)
    hush[16_000 * 5 : 16_000 * 8] += tone(3.0, 16_000)
    soundfile.write(tmp_path / "v.wav", hush, 16_000)
    samples = read_voice(tmp_path / "v.wav", GRID)
    assert len(samples) == GRID.num_voice_frames * GRID.samples_per_frame
    active = np.abs(samples.reshape(-1, 160)).max(axis=1) > 0.05
    assert active.all()


@pytest.mark.parametrize("level", [0.01, 0.3, 4.0])
def test_the_recordings_level_does_not_matter(tmp_path, level):
    samples = np.concatenate([tone(1.0, 16_000, level), np.zeros(8_000)])
    soundfile.write(tmp_path / "v.wav", samples, 16_000, subtype="FLOAT")
    assert np.abs(read_voice(tmp_path / "v.wav", GRID)).max() == pytest.approx(LEVEL, rel=0.02)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.wav", None, "gone.wav: no such file; give the path of a sound file"),
        ("empty.wav", lambda p: p.write_bytes(b""), "empty.wav: the file is empty"),
        ("text.wav", lambda p: p.write_text("no sound\n" * 200), "text.wav: not a media file"),
        ("film.mp4", lambda p: make_film(p), "film.mp4: no sound in it; give a recording of a voice"),
        (
            "header.wav",
            lambda p: soundfile.write(p, np.zeros(0), 16_000),
            "header.wav: the sound stream is empty",
        ),
        (
            "silent.wav",
            lambda p: soundfile.write(p, np.zeros(16_000), 16_000),
            "silent.wav: the voice is silent (below -60 dB full scale)",
        ),
        (
            "hush.wav",
            lambda p: soundfile.write(p, tone(1.0, 16_000, level=0.0005), 16_000),
            "hush.wav: the voice is silent",
        ),
        (
            "short.wav",
            lambda p: soundfile.write(p, tone(0.4, 16_000), 16_000),
            "short.wav: the voice is 0.40 s long but at least 0.5 s are needed; give a longer recording",
        ),
        (
            "nan.wav",
            lambda p: soundfile.write(p, np.full(16_000, np.nan), 16_000, subtype="FLOAT"),
            "nan.wav: holds samples that are not numbers",
        ),
    ],
)
def test_wrong_voices(tmp_path, name, make, message):
    if make:
        make(tmp_path / name)
    with pytest.raises(UserError) as error:
        read_voice(tmp_path / name, GRID)
    assert message in str(error.value)

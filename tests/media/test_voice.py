"""Reference voices from anything: any file, level, offset, hum and channels."""

import pathlib

import numpy as np
import pytest
import soundfile
import soxr

import dualdub_jax
from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.media.voice import read_voice
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
        ("film.mp4", lambda p: make_film(p), "film.mp4: no sound in it; give a sound file"),
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


# ------------------------------------------------------------------------------- speech in bad recordings

SPEECH, _ = soundfile.read(pathlib.Path(dualdub_jax.__file__).parent / "assets/demo/voice.wav")
QUIET = 1e-4 * np.random.default_rng(0).normal(size=16_000 * 16)  # -80 dB full scale


def recording(start_s: float, gain: float = 1.0) -> np.ndarray:
    """Sixteen seconds with three of speech."""
    samples, first = QUIET.copy(), round(start_s * 16_000)
    samples[first : first + len(SPEECH)] += gain * SPEECH
    return samples


def read(
    folder: pathlib.Path, samples: np.ndarray, rate_hz: int = 16_000, subtype: str = "FLOAT"
) -> np.ndarray:
    soundfile.write(folder / "v.wav", samples, rate_hz, subtype=subtype)
    return read_voice(folder / "v.wav", GRID)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Highest correlation over lags of 0.3 s."""
    one, other = (x[: min(len(one), len(other))] for x in (one, other))
    spectrum = np.fft.rfft(one, 2 * len(one)) * np.conj(np.fft.rfft(other, 2 * len(other)))
    lags = np.fft.irfft(spectrum)
    near = np.concatenate([lags[:4_800], lags[-4_800:]])
    return float(near.max() / np.linalg.norm(one) / np.linalg.norm(other))


SECONDS = np.arange(16 * 16_000) / 16_000
_DISTURBED = {
    "offset of 0.01": lambda x: x + 0.01,
    "offset of 0.4": lambda x: x + 0.4,
    "offset of -0.9": lambda x: x - 0.9,
    "offset, quiet speech": lambda x: 0.1 * x + 0.3,
    "drift": lambda x: x + 0.3 * np.sin(2 * np.pi * 0.2 * SECONDS),
    "rumble": lambda x: x + 0.2 * np.sin(2 * np.pi * 12 * SECONDS),
    "mains hum": lambda x: x + 0.2 * np.sin(2 * np.pi * 50 * SECONDS),
    "mains hum with harmonics": lambda x: x + sum(
        0.05 / k * np.sin(2 * np.pi * 60 * k * SECONDS) for k in (1, 2, 3)
    ),
    "a click far from the speech": lambda x: x + 0.9 * (np.abs(SECONDS - 15.5) < 0.002),
    "another level": lambda x: 30 * x,
    "hiss": lambda x: x + 0.002 * np.random.default_rng(1).normal(size=len(x)),
}  # fmt: skip


@pytest.mark.parametrize("start_s", [0.5, 11.0])
@pytest.mark.parametrize("what", _DISTURBED)
def test_speech_is_found_and_levelled(tmp_path, what, start_s):
    expected = read(tmp_path, SPEECH)
    found = read(tmp_path, _DISTURBED[what](recording(start_s)))
    assert similarity(found, expected) > 0.9
    assert abs(20 * np.log10(np.std(found) / np.std(expected))) < 1.5
    assert abs(found.mean()) < 0.003


@pytest.mark.parametrize(
    ("what", "mix"),
    [
        ("opposite phase", lambda x: [x, -x]),
        ("nearly opposite phase", lambda x: [x, -0.9 * x]),
        ("left only", lambda x: [x, 0 * x]),
        ("right only", lambda x: [1e-5 + 0 * x, x]),
        ("centre of six", lambda x: [0 * x, 0 * x, x, 0 * x, 0 * x, 0 * x]),
        ("opposite offsets", lambda x: [x + 0.3, x - 0.3]),
    ],
)
def test_any_channels_hold_the_voice(tmp_path, what, mix):
    expected = read(tmp_path, SPEECH)
    found = read(tmp_path, np.stack(mix(SPEECH), axis=1))
    assert similarity(found, expected) > 0.99
    assert abs(20 * np.log10(np.std(found) / np.std(expected))) < 0.3


@pytest.mark.parametrize(
    ("samples", "subtype", "least"),
    [
        (np.clip(20 * SPEECH, -1, 1), "FLOAT", 0.6),  # clipped
        (0.05 * SPEECH, "PCM_24", 0.99),
        (0.5 * SPEECH, "PCM_U8", 0.9),
        (1_000 * SPEECH, "FLOAT", 0.99),
        (1e25 * SPEECH, "DOUBLE", 0.99),
    ],
)
def test_any_level_and_depth(tmp_path, samples, subtype, least):
    found = read(tmp_path, samples, subtype=subtype)
    assert similarity(found, read(tmp_path, SPEECH)) > least
    assert np.abs(found).max() <= 0.951 and np.isfinite(found).all()


def test_192_khz(tmp_path):
    samples = soxr.resample(SPEECH, 16_000, 192_000)
    assert similarity(read(tmp_path, samples, 192_000), read(tmp_path, SPEECH)) > 0.99


@pytest.mark.parametrize("level", [0.01, 0.4])
@pytest.mark.parametrize("hz", [0.0, 50.0])
def test_what_is_not_speech_is_no_voice(tmp_path, level, hz):
    """An offset or the mains and nothing else."""
    samples = level * np.cos(2 * np.pi * hz * SECONDS) + 0.3 * level * np.sin(4 * np.pi * hz * SECONDS)
    with pytest.raises(UserError, match=r"v\.wav: (the voice is silent|nothing but hum below 200 Hz)"):
        read(tmp_path, samples)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_sample_that_is_no_number(tmp_path, value):
    samples = SPEECH.copy()
    samples[5_000] = value
    with pytest.raises(UserError, match="holds samples that are not numbers; give an undamaged recording"):
        read(tmp_path, samples)

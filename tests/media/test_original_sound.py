"""Sound that is kept: in time, at its gain, of any format; what is cut off or missing is said."""

import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.original_sound import OriginalTrack, find_sounds
from tests.films import make_film, read_film
from tests.media.test_film import real_film

RATE_HZ = 16_000
CLICK_S = 0.75


def click(seconds: float, rate_hz: int, num_channels: int = 1) -> np.ndarray:
    """0.5 for 50 ms from `CLICK_S` on, in the first channel only."""
    samples = np.zeros((round(seconds * rate_hz), num_channels))
    samples[round(CLICK_S * rate_hz) : round((CLICK_S + 0.05) * rate_hz), 0] = 0.5
    return samples


def read(kept: dict[str, float], film: Film, rate_hz: int = RATE_HZ, num_channels: int = 1):
    track = OriginalTrack(find_sounds(kept, film), film, rate_hz, num_channels)
    return np.concatenate(list(track.blocks())), track.warnings


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Film:
    return read_film(make_film(tmp_path_factory.mktemp("films") / "silent.mp4")).film


@pytest.mark.parametrize(
    ("suffix", "rate_hz"),
    [(".wav", 8_000), (".wav", 96_000), (".flac", 16_000), (".flac", 96_000), (".ogg", 44_100)],
)
def test_a_file_begins_with_the_film(tmp_path, film, rate_hz, suffix):
    path = tmp_path / f"music{suffix}"
    soundfile.write(path, click(2.0, rate_hz), rate_hz)
    made, warnings = read({str(path): -6.0}, film)
    assert made.shape == (32_000,) and made.dtype == np.float32 and warnings == []
    first, last = np.flatnonzero(np.abs(made) > 0.1)[[0, -1]] / RATE_HZ
    assert abs(first - CLICK_S) < 0.002 and abs(last - CLICK_S - 0.05) < 0.002
    middle = made[round((CLICK_S + 0.02) * RATE_HZ) : round((CLICK_S + 0.03) * RATE_HZ)]
    np.testing.assert_allclose(middle, 0.5 * 10 ** (-6 / 20), atol=0.03)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (1.0, r"music.wav ends after 1.00 s of 2.00 s: silence follows"),
        (3.0, r"music.wav is longer than the film and is cut off after 2.00 s"),
        (2.05, None),
        (1.95, None),
    ],
)
def test_lengths_are_fitted_and_said(tmp_path, film, seconds, message):
    path = tmp_path / "music.wav"
    soundfile.write(path, 0.1 + click(seconds, 44_100), 44_100)
    made, warnings = read({str(path): 0.0}, film)
    assert len(made) == 32_000
    assert made[: round(min(seconds, 1.9) * RATE_HZ) - 50].all()
    assert not made[round(seconds * RATE_HZ) + 50 :].any()
    assert warnings == ([] if message is None else [f"{tmp_path}/{message}"])


def test_silence_is_said(tmp_path, film):
    soundfile.write(tmp_path / "none.wav", np.zeros(16_000), 16_000)
    made, warnings = read({str(tmp_path / "none.wav"): 0.0}, film)
    assert not made.any() and warnings == [f"{tmp_path}/none.wav is silent"]


def test_channels(tmp_path, film):
    """Stereo stays, mono is in the middle, surround is mixed down, several sounds are added."""
    for name, num_channels in (("mono", 1), ("stereo", 2), ("surround", 6)):
        soundfile.write(tmp_path / f"{name}.wav", click(2.0, 16_000, num_channels), 16_000)
    paths = {name: str(tmp_path / f"{name}.wav") for name in ("mono", "stereo", "surround")}
    sounds = find_sounds(dict.fromkeys(paths.values(), 0.0), film)
    assert [sound.num_channels for sound in sounds] == [1, 2, 2]
    at = round((CLICK_S + 0.02) * RATE_HZ)
    np.testing.assert_allclose(read({paths["stereo"]: 0.0}, film, num_channels=2)[0][at], [0.5, 0])
    np.testing.assert_allclose(read({paths["mono"]: 0.0}, film, num_channels=2)[0][at], [0.5, 0.5])
    left, right = read({paths["surround"]: 0.0}, film, num_channels=2)[0][at]
    assert left > 0.1 and right == 0
    both, _ = read({paths["mono"]: 0.0, paths["stereo"]: -20.0}, film, num_channels=2)
    np.testing.assert_allclose(both[at], [0.55, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(suffix, Fraction(start)) for suffix in (".mp4", ".mkv", ".mov", ".ts") for start in (0, 3)]
    + [(".mp4", Fraction(-1, 5))],  # the first pictures are hidden, and so is the beginning of the sound
)
def test_the_films_own_sound_is_on_its_clock(tmp_path, suffix, start):
    path = _film_with_click(tmp_path / f"film{suffix}", start)
    film = read_film(path).film
    made, warnings = read({"film": 0.0}, film)
    assert len(made) == film.num_samples(RATE_HZ) and warnings == []
    heard_s = np.flatnonzero(np.abs(made) > 0.2)[0] / RATE_HZ
    assert abs(heard_s - CLICK_S - float(min(start, 0))) < 0.003


def _film_with_click(path: pathlib.Path, start: Fraction) -> pathlib.Path:
    """A film of 2 s whose sound has a click `CLICK_S` after its first picture was encoded."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 100)
        video.options = {"bf": "0"}
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        samples = click(2.0, 48_000)[:, 0].astype(np.float32)
        for index in range(50):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            picture.pts, picture.time_base = round((Fraction(index, 25) + start) * 100), Fraction(1, 100)
            container.mux(video.encode(picture))
            frame = av.AudioFrame.from_ndarray(samples[None, 1_920 * index :][:, :1_920], "fltp", "mono")
            frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
            frame.pts = 1_920 * index + round(start * 48_000)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def test_the_sound_of_a_real_film():
    film = read_film(real_film()).film
    made, warnings = read({"film": 0.0}, film, 48_000, 2)
    assert made.shape == (film.num_samples(48_000), 2) and warnings == []
    assert 0.001 < np.sqrt(np.mean(np.square(made))) < 0.5


def test_damaged_packets_are_left_out_and_counted(tmp_path, film):
    path = tmp_path / "music.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp3", rate=44_100, layout="mono")
        tone = 0.3 * np.sin(np.arange(88_200) / 20)[None].astype(np.float32)
        for first in range(0, 88_200, 1_152):
            frame = av.AudioFrame.from_ndarray(tone[:, first : first + 1_152], "fltp", "mono")
            frame.sample_rate, frame.pts = 44_100, first
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        broken = [packet for packet in container.demux() if packet.size][10]
    data[broken.pos + 4 : broken.pos + broken.size] = b"\xff" * (broken.size - 4)
    path.write_bytes(bytes(data))
    made, warnings = read({str(path): 0.0}, film)
    assert np.abs(made[:20_000]).max() > 0.2 and len(made) == 32_000
    assert warnings == [f"{path}: 1 of its packets cannot be decoded and are left out"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.wav", None, r"none.wav: no such file"),
        ("empty.wav", b"", r"empty.wav: the file is empty"),
        ("text.wav", b"hello " * 100, r"text.wav: not a media file"),
        (".", None, r"is a folder"),
    ],
)
def test_files_that_are_no_sound(tmp_path, film, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        find_sounds({str(tmp_path / name): 0.0}, film)


def test_a_silent_film_has_no_sound_to_keep(film):
    with pytest.raises(UserError, match=r"silent.mp4: has no sound to keep; leave out --keep-original film="):
        find_sounds({"film": 0.0}, film)
    with pytest.raises(UserError, match=r"silent.mp4: has no sound to keep; leave out this --keep-original"):
        find_sounds({str(film.path): 0.0}, film)


def test_numbers_that_are_none_are_refused(tmp_path, film):
    samples = click(2.0, 16_000).astype(np.float32)
    samples[9_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"nan.wav: its sound holds values that are not numbers"):
        read({str(tmp_path / "nan.wav"): 0.0}, film)

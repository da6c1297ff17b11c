"""Stems as they are made are those of `dub`."""

import gc
import pathlib
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from dualdub_jax.config import GridConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.stems import quantise
from dualdub_jax.errors import UserError
from tests.fake_engine import FakeEngine
from tests.films import make_film, make_shots

SRT = "1\n00:00:00,500 --> 00:00:02,500\nANN: hello you\n\n2\n00:00:06,000 --> 00:00:08,000\nBOB: and me\n"


def joined(chunks: list) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("speech", "background")
    }


def same_as_dub(model: DualDub, film: pathlib.Path, **settings) -> list:
    """The chunks of a film, which are compared with its stems."""
    chunks = list(model.stream(film, **settings))
    made = model.dub(film, **settings)
    stems, gain = joined(chunks), made.project.mixdown.stem_gain
    for name, samples in stems.items():
        assert samples.shape == getattr(made, name).shape
        if set(model.engine.rates_hz.values()) == {made.sample_rate_hz}:  # else resampled in other blocks
            rounded = quantise(samples.astype(np.float64) * gain)
            np.testing.assert_array_equal(rounded, getattr(made, name))
        np.testing.assert_allclose(samples * gain, getattr(made, name), atol=0.51 / 32768 + 1e-5)
    starts = np.cumsum([0, *(len(chunk.speech) for chunk in chunks[:-1])]) / made.sample_rate_hz
    np.testing.assert_allclose([chunk.start_s for chunk in chunks], starts)
    assert {chunk.sample_rate_hz for chunk in chunks} == {made.sample_rate_hz}
    return chunks


@pytest.mark.parametrize(
    "settings",
    [
        {"script": "hello there. and then some more of it, to the end."},
        {"script": "hello", "use_background": False},
        {"script": ""},
        {"script": "hello", "use_speech": False, "seed": 4},
    ],
)
@pytest.mark.parametrize("num_frames", [13, 100, 240])
def test_equal_to_dub(tmp_path, settings, num_frames):
    film = make_film(tmp_path / "film.mp4", num_frames=num_frames)
    if num_frames == 13 and settings["script"]:
        settings = settings | {"script": "hi"}
    chunks = same_as_dub(DualDub(FakeEngine(), tmp_path), film, **settings)
    assert num_frames == 13 or len(chunks) > 1


def test_cues_and_speakers(tmp_path):
    (tmp_path / "s.srt").write_text(SRT)
    for name in ("ann", "bob"):
        soundfile.write(tmp_path / f"{name}.wav", 0.2 * np.sin(np.arange(16_000) / 9), 16_000)
    voices = {name: tmp_path / f"{name}.wav" for name in ("ann", "bob")}
    film = make_film(tmp_path / "film.mp4", num_frames=300)
    chunks = same_as_dub(DualDub(FakeEngine(), tmp_path), film, script=tmp_path / "s.srt", voices=voices)
    assert len(chunks) > 15


_PLACES = ((40, 40, 120), (100, 10, 10), (220, 200, 60), (200, 90, 220), (60, 160, 60))


@pytest.mark.parametrize("has_acoustics", [True, False])
@pytest.mark.parametrize("script", ["", SRT])
def test_scenes_of_equal_and_of_other_acoustics(tmp_path, script, has_acoustics):
    """What `dub` joins is joined: tracks fade only where voice or acoustics change."""
    engine = FakeEngine(has_acoustics=has_acoustics)
    if has_acoustics:  # of two rooms, by the red of the picture
        engine.sample_acoustics = lambda video, seed: Acoustics(
            0.4, -50.0 if video["video"][0, 32, 32, 0] > 128 else -40.0
        )
    film = make_shots(tmp_path / "film.mp4", *((place, 110) for place in _PLACES))
    (tmp_path / "s.srt").write_text(script)
    settings = {"script": tmp_path / "s.srt" if script else ""}
    same_as_dub(DualDub(engine, tmp_path), film, **settings)
    project = DualDub(engine, tmp_path).dub(film, **settings).project
    rooms = [acoustics and acoustics.noise_dbfs for acoustics in project.take.acoustics]
    assert rooms == ([-40, -40, -50, -50, -40] if has_acoustics else [None] * 5) and len(project.windows) > 5
    num_segments = len(project.segments(engine, "background", project.take))
    assert num_segments == (3 if has_acoustics else 1)


def test_words_that_are_not_spoken_at_first_are_spoken_anyway(tmp_path):
    engine = FakeEngine()
    engine.needs_steering = True
    film = make_film(tmp_path / "film.mp4", num_frames=150)
    chunks = same_as_dub(DualDub(engine, tmp_path), film, script="hello there")
    assert joined(chunks)["speech"].any()


@pytest.mark.parametrize(
    ("rates_hz", "frame_rate"),
    [
        ({"speech": 24_000, "background": 16_000}, 25),
        ({"speech": 44_100, "background": 44_100}, "44100/2048"),
    ],
)
def test_rates_and_grids(tmp_path, rates_hz, frame_rate):
    grid = GridConfig(frame_rate_hz=frame_rate, sample_rate_hz=rates_hz["background"])
    model = DualDub(FakeEngine(grid=grid, rates_hz=rates_hz), tmp_path)
    film = make_film(tmp_path / "film.mp4", num_frames=151, rate=Fraction(24000, 1001))
    same_as_dub(model, film, script="hello there. and more.")


def test_sound_comes_before_the_window_is_finished(tmp_path):
    (tmp_path / "s.srt").write_text(SRT)
    engine, asked = FakeEngine(), []
    original = engine.generate_parts

    def counted(request, part_frames):
        for part in original(request, part_frames):
            asked.append(len(next(iter(part.values()))))
            yield part

    engine.generate_parts = counted
    film = make_film(tmp_path / "film.mp4", num_frames=300)
    chunks = DualDub(engine, tmp_path).stream(film, script=tmp_path / "s.srt", part_frames=5)
    first = next(chunks)
    assert first.start_s == 0 and sum(asked) <= 10
    chunks.close()


def test_an_abandoned_stream_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    model = DualDub(FakeEngine(), tmp_path)
    film = make_film(tmp_path / "film.mp4")
    chunks = model.stream(film, script="hello")
    next(chunks)
    del chunks
    model.stream(film, script="hello")  # never iterated
    with pytest.raises(UserError, match="no such file"):
        model.stream(tmp_path / "none.mp4")
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []

"""Each window gets its own frames, at any rate, and no more than a window of them is held."""

from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.window_frames import WindowFrames
from dualdub_jax.media.film import BLOCK_FRAMES, FilmReader
from dualdub_jax.media.frames import FrameSpec
from tests.fake_engine import FakeEngine
from tests.films import frame_level, make_film

WINDOWS = [(0, 100), (75, 175), (150, 250)]


@pytest.mark.parametrize("frame_rate", [None, Fraction(40, 3), Fraction(40), Fraction(25)])
def test_windows_get_the_frames_nearest_in_time(tmp_path, frame_rate):
    engine = FakeEngine(frame_rate=frame_rate)
    rate = frame_rate or Fraction(25)
    with FilmReader(make_film(tmp_path / "film.mp4", num_frames=250)) as reader:
        frames = WindowFrames(reader, engine, 250)
        for first, end in WINDOWS:
            ((row, video),) = frames.take(first, end).items()
            levels = video[:, 32, 32, 0].astype(float) if frame_rate is None else video[:, 0]
            assert (
                len(video) == end - first
                and len(frames._held[row]) <= (end - first) * rate / 25 + BLOCK_FRAMES
            )
            for step, level in enumerate(levels, start=first):
                nearest = int((step + Fraction(1, 2)) / 25 * rate)  # the frame that is on screen then
                shown = min(249, int((nearest + Fraction(1, 2)) / rate * 25))
                assert abs(level - frame_level(shown)) <= 2, step
    assert engine.most_frames <= BLOCK_FRAMES


class TwoRows(FakeEngine):
    """Reads pixels and, 8 1/3 times a second, a feature."""

    def __init__(self):
        super().__init__(frame_rate=Fraction(25, 3))
        self.frame_specs = {"video": FrameSpec(Fraction(25), 32), **self.frame_specs}


def test_pixels_and_features_of_a_window_are_of_the_same_time(tmp_path):
    with FilmReader(make_film(tmp_path / "film.mp4", num_frames=250)) as reader:
        frames = WindowFrames(reader, TwoRows(), 250)
        for first, end in WINDOWS:
            video = frames.take(first, end)
            assert {row: x.shape for row, x in video.items()} == {
                "video": (end - first, 32, 32, 3),
                "video_features": (end - first, 1),
            }
            steps = np.arange(first, end)
            levels = [frame_level(step) for step in steps]
            np.testing.assert_allclose(video["video"][:, 16, 16, 0], levels, atol=2)
            middles = np.minimum(steps // 3 * 3 + 1, 249)  # a feature lasts three frames
            levels = [frame_level(step) for step in middles]
            np.testing.assert_allclose(video["video_features"][:, 0], levels, atol=2)
            for row, held in frames._held.items():
                assert len(held) <= end - first + 3 * BLOCK_FRAMES, row


def test_frames_do_not_come_back(tmp_path):
    with FilmReader(make_film(tmp_path / "film.mp4", num_frames=250)) as reader:
        frames = WindowFrames(reader, FakeEngine(), 250)
        frames.take(100, 150)
        with pytest.raises(ValueError, match="frame 99 is gone; frames are held from 100 on"):
            frames.take(99, 150)


def test_a_film_that_ends_early_holds_its_last_picture(tmp_path):
    with FilmReader(make_film(tmp_path / "film.mp4", num_frames=20)) as reader:
        video = WindowFrames(reader, FakeEngine(grid=GridConfig()), 25).take(0, 25)["video"]
    np.testing.assert_allclose(video[19:, 32, 32, 0], frame_level(19), atol=2)

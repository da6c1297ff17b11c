"""Scenes are runs of shots that look alike; windows end at shots, and have the acoustics of their scene."""

import itertools
import json
import pathlib
from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.config import GridConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.scenes import assign_scenes, find_scenes
from dualdub_jax.dubbing.tiling import next_window
from dualdub_jax.dubbing.window import Window
from dualdub_jax.dubbing.windows import plan_windows
from dualdub_jax.media.shots import Shot
from dualdub_jax.text.script import Script, read_script
from tests.fake_engine import FakeEngine
from tests.films import make_shots

GRID = GridConfig()
RED, BLUE, SAND = (200, 40, 40), (40, 60, 200), (220, 180, 90)


def scenes(looks: str, seconds: list[float]) -> list[float]:
    """Starts of the scenes of shots; equal letters look alike, "_" is black."""
    starts = [0, *itertools.accumulate(seconds)]
    looked = enumerate(["_", *sorted(set(looks) - {"_"})])
    colours = {look: np.eye(64, dtype=np.float32)[i] for i, look in looked}
    shots = [Shot(Fraction(a), colours[look]) for a, look in zip(starts, looks, strict=False)]
    return [float(start_s) for start_s in find_scenes(shots, Fraction(starts[-1]))]


@pytest.mark.parametrize(
    ("looks", "seconds", "expected"),
    [
        ("A", [30], [0]),
        ("AB", [10, 10], [0, 10]),
        ("ABAB", [5, 5, 5, 5], [0]),  # a dialogue from two sides
        ("ABABCDCD", [5] * 8, [0, 20]),
        ("ABA", [10, 30, 10], [0, 10, 40]),  # too much time between them
        ("ABC", [10, 2, 10], [0, 12]),  # a short one belongs to the one before
        ("AB", [2, 10], [0]),
        ("_A_B_", [4, 9, 4, 9, 4], [0, 4, 13, 17, 26]),
        ("ABCDE", [10, 2, 2, 2, 10], [0, 16]),
    ],
)
def test_scenes_are_runs_of_linked_shots(looks, seconds, expected):
    assert scenes(looks, seconds) == expected


def test_no_shots_are_one_scene():
    assert find_scenes([], Fraction(3)) == [0]


def tiled(num_frames: int, *shots: int) -> list[int]:
    starts, start = [], 0
    while start < num_frames:
        window = next_window(start, num_frames, GRID, shots)
        assert window.num_new > 0 and window.num_new + window.num_context <= GRID.num_frames
        starts.append(start)
        start = window.end_frame
    assert start == num_frames
    return starts


@pytest.mark.parametrize(
    ("num_frames", "shots", "starts"),
    [
        (250, (), [0, 100, 175]),
        (250, (80,), [0, 80, 155, 225]),
        (250, (30, 60, 90, 120), [0, 90, 120, 195]),  # the last in reach of each
        (250, (30,), [0, 30, 105, 180]),
        (250, (20,), [0, 100, 175]),  # the first would be too short
        (250, (100, 175), [0, 100, 175]),
        (250, (240,), [0, 100, 175]),  # what remains would be too short
        (100, (60,), [0, 60]),
        (160, (60, 110), [0, 60, 110]),
        (100, (80,), [0]),
        (110, (60,), [0, 60]),
    ],
)
def test_windows_end_at_the_last_change_of_shot_in_reach(num_frames, shots, starts):
    assert tiled(num_frames, *shots) == starts


def test_any_shots_give_a_sound_plan():
    rng = np.random.default_rng(0)
    for _ in range(50):
        num_frames = int(rng.integers(101, 1_500))
        shots = sorted({int(shot) for shot in rng.integers(1, num_frames, rng.integers(0, 40))})
        starts = tiled(num_frames, *shots)
        assert all(b - a >= 25 for a, b in itertools.pairwise([*starts, num_frames]))
        assert len(starts) <= 2 * len(tiled(num_frames)) + 1


def planned(num_frames: int, script: Script, *shots: int) -> list[Window]:
    return plan_windows(num_frames, script, GRID, lambda words: len(words) + 2, shots=shots)


def test_pauses_between_cues_end_at_shots_and_cues_are_whole():
    text = "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:09,600 --> 00:00:11,600\ntwo\n"
    windows = planned(400, read_script(text, Fraction(16)), 40, 70, 130, 260, 330)
    assert [(w.start_frame, w.text, w.due) for w in windows] == [
        (0, "one", (25, 50)),  # ends at a change of shot in the pause behind it
        (70, "", None),
        (130, "", None),
        (205, "", None),
        (240, "two", (240, 290)),
        (315, "", None),
        (390, "", None),
    ]


def test_windows_have_the_scene_in_their_middle():
    windows = [Window(0, 100), Window(100, 75, 25), Window(175, 75, 25), Window(250, 75, 25)]
    assigned = assign_scenes(windows, [Fraction(0), Fraction(5), Fraction(6), Fraction(11)], Fraction(25))
    assert [window.scene for window in assigned] == [0, 1, 2, 3]
    assigned = assign_scenes(windows, [Fraction(0), Fraction(5), Fraction(11, 2), Fraction(7)], Fraction(25))
    assert [window.scene for window in assigned] == [0, 1, 2, 2]  # one has no window


class RoomEngine(FakeEngine):
    """Acoustics by the brightness of the picture; the background is as loud as its noise level."""

    def sample_acoustics(self, video, seed):
        return Acoustics(0.4, -20.0 if video["video"][0, 32, 32, 0] > 100 else -40.0)

    def open_decoder(self, stream, voice=None, acoustics=None):
        decoder = super().open_decoder(stream, voice, acoustics)
        decoder._loudness = 10 ** (acoustics.noise_dbfs / 20)
        return decoder


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> pathlib.Path:
    return make_shots(tmp_path_factory.mktemp("film") / "film.mp4", (RED, 140), (BLUE, 110), (SAND, 150))


def test_each_scene_has_its_acoustics(film, tmp_path):
    engine = RoomEngine()
    made = DualDub(engine, pathlib.Path("checkpoint")).dub(film, project=tmp_path / "project")
    assert [(room["start_s"], room["end_s"]) for room in made.receipt()["acoustics"]] == [
        (0.0, 5.6),
        (5.6, 10.0),
        (10.0, 16.0),
    ]
    assert [call["acoustics"].noise_dbfs for call in engine.calls] == [-20, -20, -40, -40, -20, -20]
    levels = [np.abs(made.background[16_000 * s : 16_000 * s + 8_000]).max() for s in (2, 7, 13)]
    np.testing.assert_allclose(levels, [0.1, 0.01, 0.1], rtol=0.05)
    windows = json.loads((tmp_path / "project" / "project.json").read_text())["windows"]
    assert [window["scene"] for window in windows] == [0, 0, 1, 1, 2, 2]
    assert {140, 250} <= {window["start_frame"] for window in windows}


def test_requested_acoustics_are_those_of_all_scenes(film):
    engine = RoomEngine()
    DualDub(engine, pathlib.Path("checkpoint")).dub(film, rt60_s=0.9, noise_dbfs=-30)
    assert {call["acoustics"] for call in engine.calls} == {Acoustics(0.9, -30.0)}


def test_a_film_with_cuts_is_the_same_every_time(film):
    first, second = (DualDub(FakeEngine(), pathlib.Path("c")).dub(film, "one. two.", seed=5) for _ in "ab")
    np.testing.assert_array_equal(first.mix, second.mix)

"""Planning cues: each is spoken inside its times by windows of its own, or refused by its number."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.utterances import TOLERANCE_S
from dualdub_jax.dubbing.windows import plan_windows
from dualdub_jax.errors import UserError
from dualdub_jax.text.normaliser import normalise
from dualdub_jax.text.script import Cue, Script
from dualdub_jax.text.tokenizer import ByteTokenizer
from dualdub_jax.text.words import join_words

GRID = GridConfig()


def script_of(*cues: tuple[float, float, str]) -> Script:
    made = tuple(
        Cue(Fraction(str(a)), Fraction(str(b)), normalise(text)[0], number)
        for number, (a, b, text) in enumerate(cues, start=1)
    )
    return Script("s.srt", tuple(word for cue in made for word in cue.words), made)


def plan(num_frames: int, *cues: tuple[float, float, str], grid: GridConfig = GRID):
    def count_tokens(words):
        return len(ByteTokenizer().encode(join_words(words)))

    return plan_windows(num_frames, script_of(*cues), grid, count_tokens)


def assert_sound(windows, num_frames: int, grid: GridConfig = GRID) -> None:
    """The windows tile the film, fit the model, and speak in new frames only."""
    assert windows[0].start_frame == 0 and windows[-1].end_frame == num_frames
    assert all(a.end_frame == b.start_frame for a, b in itertools.pairwise(windows))
    for window in windows:
        assert window.num_new > 0 and window.num_context + window.num_new <= grid.num_frames
        assert window.num_context <= window.start_frame and (window.due is None) == (not window.text)
        if window.due is not None:
            assert window.start_frame <= window.due[0] < window.due[1] <= window.end_frame


def test_every_cue_is_due_in_its_own_times():
    cues = [(0.3, 3.0, "one two"), (6.0, 8.0, "three"), (8.0, 9.5, "four five"), (9.6, 9.9, "six")]
    windows = plan(400, *cues)
    assert_sound(windows, 400)
    spoken = [(w.text, w.due) for w in windows if w.text]
    assert spoken == [
        ("one two", (8, 75)),
        ("three", (150, 200)),
        ("four five", (200, 238)),
        ("six", (240, 248)),
    ]


def test_a_short_pause_is_in_the_window_of_the_cue_behind_it():
    windows = plan(100, (0.4, 1.4, "one"), (1.8, 2.8, "two"))
    assert [(w.start_frame, w.num_new, w.text) for w in windows] == [(0, 45, "one"), (45, 55, "two")]
    assert windows[1].speech_span == (25, 50)


def test_a_long_pause_has_full_windows_without_speech():
    windows = plan(500, (16.0, 17.0, "late"))
    assert [w.num_new for w in windows] == [100, 75, 75, 75, 75, 75, 25]
    assert all(w.speech_span == (w.num_context, w.num_context) for w in windows if not w.text)


def test_a_long_cue_is_divided_evenly_and_its_words_in_time():
    windows = plan(175, (1.0, 7.0, "one two three four five six seven eight"))
    assert_sound(windows, 175)
    assert [w.text for w in windows] == ["one two", "three four five", "six seven eight"]
    assert [w.due for w in windows] == [(25, 58), (58, 116), (116, 175)]


def test_cues_that_overlap_are_spoken_one_after_the_other():
    windows = plan(125, (1.0, 3.0, "one two three"), (2.0, 3.5, "four five"), (3.5, 4.0, "six"))
    assert_sound(windows, 125)
    spoken = [(w.text, w.due) for w in windows if w.text]
    assert spoken == [("one two three", (25, 62)), ("four five", (62, 88)), ("six", (88, 100))]


def test_cues_without_words_are_silence():
    windows = plan(100, (0.5, 1.0, "..."), (2.0, 3.0, "one"))
    assert [(w.text, w.due) for w in windows if w.text] == [("one", (50, 75))]


def test_more_tokens_than_a_window_holds_are_divided_or_refused():
    grid = GridConfig(num_script_tokens=22)
    windows = plan(100, (0.0, 4.0, "one two three four five six seven"), grid=grid)
    assert_sound(windows, 100)
    assert [w.text for w in windows] == ["one two three four", "five six seven"]
    with pytest.raises(UserError, match=r"cue 1 .* has 35 tokens, but the model reads at most 22 at a time"):
        plan(100, (0.0, 1.8, "one two three four five six seven"), grid=grid)


@pytest.mark.parametrize("frame_rate", [25, "25/2", 40, "44100/2048"])
def test_any_plan_is_sound_and_keeps_to_the_times(frame_rate):
    grid = GridConfig(frame_rate_hz=frame_rate, num_script_tokens=300)
    rng = np.random.default_rng(0)
    for _ in range(30):
        times = np.sort(rng.uniform(0, 30, 2 * rng.integers(1, 8))).round(3)
        cues = [(a, b, "x") for a, b in zip(times[::2], times[1::2], strict=True) if b - a > 0.1]
        num_frames = math.ceil(30 * grid.frame_rate)
        windows = plan(num_frames, *cues, grid=grid)
        assert_sound(windows, num_frames, grid)
        spoken = [w.due for w in windows if w.text]
        assert len(spoken) == len(cues)
        for (first, end), (start_s, end_s, _) in zip(spoken, cues, strict=True):
            assert first / grid.frame_rate >= start_s - TOLERANCE_S
            assert end / grid.frame_rate <= end_s + TOLERANCE_S

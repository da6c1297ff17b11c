"""Progress in a log or a pipe."""

import io

import pytest

from dualdub_jax.dubbing import progress as progress_lib
from dualdub_jax.dubbing.progress import PlainProgress, TerminalProgress, time_left


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test advances."""
    now = [0.0]
    monkeypatch.setattr(progress_lib.time, "monotonic", lambda: now[0])
    return now


def test_a_long_step_says_once_a_minute_how_far_it_is(clock):
    file = io.StringIO()
    with PlainProgress(file).step("score") as advance:
        for second in range(150):
            clock[0] = float(second)
            advance(second / 200)
        advance(1.0)
    lines = file.getvalue().splitlines()
    assert lines[:-1] == [
        "score                 30%, about 2 min left",
        "score                 60%, about 1 min left",
    ]
    assert lines[-1].startswith("score") and lines[-1].endswith(" s")


def test_a_short_step_is_one_line(clock):
    file = io.StringIO()
    with PlainProgress(file).step("read") as advance:
        advance(0.5)
    assert len(file.getvalue().splitlines()) == 1


def test_what_was_done_before_is_no_pace(clock):
    """A resumed project is far at once."""
    file = io.StringIO()
    with PlainProgress(file).step("generate") as advance:
        advance(0.5)
        clock[0] = 60.0
        advance(0.6)
    assert file.getvalue().splitlines()[0] == "generate              60%, about 4 min left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (29, "29 s"), (31, "1 min"), (3540, "59 min"), (3600, "1 h 0 min"), (7810, "2 h 10 min")],
)
def test_time_left_in_words(seconds, words):
    assert time_left(seconds) == words


def test_a_bar_on_a_terminal_ends_with_one_line():
    file = io.StringIO()
    with TerminalProgress(file).step("generate") as advance:
        for part in range(5):
            advance(part / 4)
    assert file.getvalue().splitlines()[-1].startswith("generate")

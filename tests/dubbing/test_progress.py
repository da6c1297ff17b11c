"""Progress in a log or a pipe."""

import io

import pytest

from dualdub_jax.dubbing import progress as progress_lib
from dualdub_jax.dubbing.progress import PlainProgress


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
    assert [line.split()[-1] for line in lines[:-1]] == ["30%", "60%"]
    assert lines[-1].startswith("score") and lines[-1].endswith(" s")


def test_a_short_step_is_one_line(clock):
    file = io.StringIO()
    with PlainProgress(file).step("read") as advance:
        advance(0.5)
    assert len(file.getvalue().splitlines()) == 1

"""SIGINT and SIGTERM while a film is written: exit status, and nothing left behind."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.films import make_film

ROOT = pathlib.Path(__file__).parents[2]

_SLOW = """
import pathlib, signal, sys, time
import dualdub_jax
from dualdub_jax.apps import cli
from dualdub_jax.dubbing import delivery
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine

def slow_write(track, file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for what runs in the background
delivery.copy_track = slow_write
dualdub_jax.load = lambda path=None, **_: DualDub(FakeEngine(), pathlib.Path("fake"))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_nothing_behind(tmp_path, signal_number, status):
    temporary, tmp_path = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    tmp_path.mkdir()
    make_film(tmp_path / "film.mp4")
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, "dub", "film.mp4", "--stems", "s"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line == "writing\n":
            break
    assert any(name.endswith(".part") for name in os.listdir(tmp_path))
    assert [name.startswith("dualdub-") for name in os.listdir(temporary)] == [True]
    process.send_signal(signal_number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == status
    assert error == ("dualdub: interrupted\n" if signal_number == signal.SIGINT else "")
    assert os.listdir(tmp_path) == ["film.mp4"] and not os.listdir(temporary)

"""Standard output that is closed, full, ASCII or a pipe that nobody reads."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.films import make_film

ROOT = pathlib.Path(__file__).parents[2]
_PROGRAM = """
import pathlib, sys
import dualdub_jax
from dualdub_jax.apps import cli
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine

dualdub_jax.load = lambda path=None, **_: DualDub(FakeEngine(), pathlib.Path("fake"))
sys.exit(cli.main())
"""
FILM = "f\N{LATIN SMALL LETTER E WITH ACUTE}.mp4"


def shell(folder: pathlib.Path, redirection: str, **environment: str) -> subprocess.CompletedProcess:
    """Dubs a film by a command line of bash."""
    make_film(folder / FILM, num_frames=25)
    command = (
        f"set -o pipefail; '{sys.executable}' -c '{_PROGRAM}' dub {FILM} -o \N{SNOWMAN}.mp4 {redirection}"
    )
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


@pytest.mark.parametrize(
    ("redirection", "environment"),
    [
        (">&- 2>&- <&-", {}),
        ("| head -1", {}),
        ("", {"PYTHONIOENCODING": "ascii"}),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (">&-", {"PYTHONIOENCODING": "ascii"}),
    ],
)
def test_the_job_is_done_whatever_reads_its_output(tmp_path, redirection, environment):
    done = shell(tmp_path, redirection, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == sorted([FILM, "\N{SNOWMAN}.mp4"])
    if not redirection:
        # Where names are bytes they come out as they went in; else the encoding's lack is escaped.
        assert (
            "wrote \\u2603.mp4" if "PYTHONIOENCODING" in environment else "wrote \u2603.mp4"
        ) in done.stdout


def test_output_to_a_full_disk_is_an_error(tmp_path):
    done = shell(tmp_path, "> /dev/full")
    assert done.returncode == 2 and os.listdir(tmp_path) == [FILM]
    assert done.stderr.startswith("dualdub: standard output: cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


_FAILING = """
import gc, sys, weakref
from dualdub_jax.apps import cli
from dualdub_jax.errors import UserError

class Held:
    pass

def fail(args):
    held = Held()
    held.itself = held
    found.append(weakref.ref(held))
    raise UserError("x: is bad; mend it")

found = []
cli._COMMANDS["demo"] = fail
gc.disable()
sys.argv = ["dualdub", "demo"]
print(cli.main(), found[0]() is None)
"""


def test_a_failed_command_holds_nothing_when_python_exits(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _FAILING], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("2 True\n", "dualdub: x: is bad; mend it\n")

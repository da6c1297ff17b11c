"""SIGINT and SIGTERM at any moment: exit status, and nothing left behind."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.films import make_film

ROOT = pathlib.Path(__file__).parents[2]

_SLOW = """
import pathlib, sys, time
import dualdub_jax
from dualdub_jax.apps import cli
from dualdub_jax.dubbing import stem_files
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine

def slow_write(track, file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)

stem_files.copy_track = slow_write
dualdub_jax.load = lambda path=None, **_: DualDub(FakeEngine(), pathlib.Path("fake"))
sys.exit(cli.main())
"""
BOTH = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def start(argv: list[str], folder: pathlib.Path, ignored: bool = False) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As a shell starts what runs in the background of a script.
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
    )


def wait_for(process: subprocess.Popen, line: str) -> None:
    assert any(found == f"{line}\n" for found in process.stdout)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_signals_leave_nothing_behind(folder, number, status):
    make_film(folder / "film.mp4")
    process = start(["-c", _SLOW, "dub", "film.mp4", "--stems", "s"], folder, ignored=True)
    wait_for(process, "writing")
    assert any(name.endswith(".part") for name in os.listdir(folder))
    assert [name.startswith("dualdub-") for name in os.listdir(folder / "tmp")] == [True]
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    told = "dualdub: interrupted; nothing is kept of it (a dub with --project DIR can be continued)\n"
    assert (process.returncode, error) == (status, told)
    assert sorted(os.listdir(folder)) == ["film.mp4", "tmp"] and not os.listdir(folder / "tmp")


# What a command is doing when the signal comes: Python or a library discards the exception, or it is late.
_DOING = {
    "a library catches it": """
        while True:
            try:
                time.sleep(0.02)
            except BaseException:
                pass
    """,
    "a destructor discards it": """
        class Slow:
            def __del__(self):
                time.sleep(0.02)
        while True:
            Slow()
    """,
    "another exception replaces it": """
        try:
            time.sleep(60)
        except BaseException:
            1 / 0
    """,
    "a call into C delays it": "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    "a lock delays it": """
        thread = threading.Thread(target=time.sleep, args=(60,))
        thread.start()
        thread.join()
    """,
    "unwinding takes for ever": """
        try:
            time.sleep(60)
        finally:
            time.sleep(60)
    """,
    "the process ends slowly": """
        atexit.register(time.sleep, 60)
        time.sleep(60)
    """,
}
_COMMAND = """
import atexit, hashlib, pathlib, sys, threading, time
from dualdub_jax.apps import cli
from dualdub_jax.media import leftovers

def command(argv, signals):
    file = pathlib.Path("half-written")
    leftovers.add(file)
    file.touch()
    print("at work", flush=True)
%s

cli._run = command
sys.exit(cli.main())
"""


def command_doing(what: str) -> str:
    lines = what.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return _COMMAND % "\n".join("    " + line[margin:] for line in lines)


@pytest.mark.parametrize("what", _DOING)
def test_nothing_swallows_a_signal(folder, what):
    number, status = BOTH[list(_DOING).index(what) % 2]
    process = start(["-c", command_doing(_DOING[what])], folder)
    wait_for(process, "at work")
    time.sleep(0.1)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (status, "dualdub: interrupted\n")
    if what in ("a call into C delays it", "unwinding takes for ever"):
        assert os.listdir(folder) == ["tmp"]


def test_second_interrupt_does_not_wait_for_a_handler_of_the_command(folder):
    """The training loop takes the first one, to stop after its step."""
    doing = """
        from dualdub_jax.training.stop import StopSignals
        with StopSignals() as stop:
            stop.listen()
            print("listens", flush=True)
            hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
    """
    process = start(["-c", command_doing(doing)], folder)
    wait_for(process, "listens")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, "dualdub: interrupted\n")


def test_forked_children_end_as_usual(folder):
    doing = """
        import os
        child = os.fork()
        if not child:
            time.sleep(60)
        time.sleep(0.1)
        os.kill(child, 15)
        assert os.waitpid(child, 0)[1] == 15
        return 0
    """
    process = start(["-c", command_doing(doing)], folder)
    assert process.communicate(timeout=30)[1] == "" and process.returncode == 0


@pytest.mark.parametrize(("number", "status"), BOTH)
def test_at_any_moment_of_a_real_command(folder, number, status):
    """While packages are imported, inputs are read, the model is loaded and compiled."""
    argv = ["-m", "dualdub_jax.apps.cli", "demo", "--out", "demo"]
    for _ in range(2):
        process = start(argv, folder)
        time.sleep(random.uniform(0.4, 3))
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (status, "dualdub: interrupted\n")
        assert not any(name.startswith("dualdub-") for name in os.listdir(folder / "tmp"))
        assert not (folder / "demo").exists() or not os.listdir(folder / "demo")

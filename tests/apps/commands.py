"""What tests of the command line share."""

import pathlib

import numpy as np
import soundfile

from dualdub_jax.apps.cli import main


def files_in(folder: pathlib.Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def fails(capsys, *argv: str) -> str:
    """Runs a command that must end with status 2, one line, and nothing written; returns the line."""
    before = files_in(pathlib.Path.cwd())
    assert main([str(arg) for arg in argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("dualdub: ") and "Traceback" not in error
    assert files_in(pathlib.Path.cwd()) == before
    return error


def voice_file(name: str, samples: np.ndarray) -> None:
    soundfile.write(name, samples, 16_000)

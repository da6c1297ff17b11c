"""Stores the config of a run beside its checkpoints, so that they can be exported without the config file."""

import contextlib
import json
import os
from collections.abc import Iterator

from dualdub_jax.config import Config, from_dict, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath, is_remote

FILE_NAME = "run_config.json"


def write_run_config(workdir: StorePath, config: Config) -> None:
    """Writes the config atomically, since two runs may train different phases in one folder."""
    _write(workdir, json.dumps(to_dict(config), indent=1) + "\n")


@contextlib.contextmanager
def run_config_written(workdir: StorePath, config: Config) -> Iterator[None]:
    """Writes the config for the enclosed block; on a `UserError` the previous config is restored."""
    path = workdir / FILE_NAME
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    write_run_config(workdir, config)
    try:
        yield
    except UserError:
        if before is not None:
            _write(workdir, before)
        raise


def _write(workdir: StorePath, text: str) -> None:
    if is_remote(workdir):  # an object appears whole
        with store_errors(workdir / FILE_NAME):
            (workdir / FILE_NAME).write_text(text)
        return
    temporary = workdir / f"{FILE_NAME}.{os.getpid()}.partial"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(workdir / FILE_NAME)


def read_run_config(workdir: StorePath) -> Config:
    """Reads the config of the newest run in this folder.

    Raises:
        UserError: the file is missing (runs of older versions) or cannot be read.
    """
    path = workdir / FILE_NAME
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"{workdir}: has no {FILE_NAME}; give the config of its training: --config FILE"
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give --config FILE instead") from None

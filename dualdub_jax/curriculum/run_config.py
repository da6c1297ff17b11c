"""Stores the config of a run beside its checkpoints, so that they can be exported without the config file.

"history" lists the accepted changes of settings and data (`MetricWriter.event`), oldest first.
"""

import contextlib
import json
import os
from collections.abc import Iterator

from dualdub_jax.config import Config, from_dict, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import store_errors
from dualdub_jax.stores.path import StorePath, is_remote
from dualdub_jax.training.metrics import read_events

FILE_NAME = "run_config.json"
_HISTORY = ("setting_changed", "data_changed")


def write_run_config(workdir: StorePath, config: Config) -> None:
    """Writes the config atomically, since two runs may train different phases in one folder."""
    history = read_events(workdir, _HISTORY)
    _write(workdir, json.dumps(to_dict(config) | ({"history": history} if history else {}), indent=1) + "\n")


@contextlib.contextmanager
def run_config_written(workdir: StorePath, config: Config) -> Iterator[None]:
    """Writes the config for the enclosed block, and the changes that were accepted in it at its end.

    On a `UserError` the previous config is restored.
    """
    path = workdir / FILE_NAME
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    write_run_config(workdir, config)
    try:
        yield
    except UserError:
        if before is not None:
            _write(workdir, before)
        raise
    except BaseException:
        write_run_config(workdir, config)
        raise
    write_run_config(workdir, config)


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
        values = json.loads(path.read_text(encoding="utf-8"))
        return from_dict({key: value for key, value in values.items() if key != "history"})
    except FileNotFoundError:
        raise UserError(
            f"{workdir}: has no {FILE_NAME}; give the config of its training: --config FILE"
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give --config FILE instead") from None

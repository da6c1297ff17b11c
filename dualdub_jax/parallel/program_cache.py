"""JAX's persistent compilation cache in the user's cache folder: a rerun command does not compile again.

JAX's own variables take precedence: `JAX_COMPILATION_CACHE_DIR` moves the cache,
`JAX_ENABLE_COMPILATION_CACHE=false` switches it off. An entry depends on the program, the versions and the
processor's features; entries of other machines are ignored. The folder may be deleted at any time.
"""

import os
import pathlib
import sys
import tempfile
from typing import Any

import jax
from jax._src import compiler
from jax._src import distributed as jax_distributed

_MIN_COMPILE_S = 0.5  # of kept programs; smaller ones are compiled as fast as they are read


def user_folder() -> pathlib.Path:
    """The folder of compiled programs: `$XDG_CACHE_HOME/dualdub/jax`, by default in `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "dualdub" / "jax"


def keep_programs() -> None:
    """Makes this process keep compiled programs; call it before anything is compiled.

    A folder that cannot be written is named on standard error, and programs are compiled anew.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        print(
            f"dualdub: compiled programs are not kept: {folder} cannot be written ({error.strerror}); "
            "set JAX_COMPILATION_CACHE_DIR to another folder",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_S)


def keep_programs_of_every_process() -> None:
    """Makes every process of a CPU run write to the cache; call it once, after `jax.distributed.initialize`.

    JAX writes from process 0 only. On TPU and GPU the entries of all processes are the same; on the CPU, the
    key includes the process, so that all others would compile anew at every start.
    """
    if jax.process_index() == 0 or jax.default_backend() != "cpu":
        return
    write = compiler._cache_write

    def write_as_first(*args: Any, **kwargs: Any) -> None:
        state = jax_distributed.global_state
        own, state.process_id = state.process_id, 0
        try:
            write(*args, **kwargs)
        finally:
            state.process_id = own

    compiler._cache_write = write_as_first

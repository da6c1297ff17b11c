"""Training on a CPU keeps the memory of a step for the next one.

XLA's CPU backend takes the arrays of a step from `malloc` and frees them at its end. glibc hands pieces as
large as these back to the system at once, so that each step has the kernel find and clear every page of them
again. `mallopt` tells it to keep them: the process then stays as large as its largest step made it. Source:
mallopt(3).
"""

import ctypes
import importlib.metadata
import importlib.util
import os

import jax

# Variable that sets the same from outside: number in malloc.h, value.
_LIMITS = {
    "MALLOC_ARENA_MAX": (-8, 1),  # one pool for all threads: what one has freed, any other takes
    "MALLOC_MMAP_MAX_": (-4, 0),  # nothing is mapped on its own, which would be unmapped when it is freed
    "MALLOC_TRIM_THRESHOLD_": (-1, -1),  # the end of the pool is never given back; mallopt takes an int
    "MALLOC_TOP_PAD_": (-2, 1 << 28),  # the pool grows by so many bytes at once
}


def keep_pages() -> list[str]:
    """Has this process keep freed memory, if JAX can only compute on the CPU and the C library is glibc.

    To be called before JAX starts its threads, as `jax.devices()`, `jax.distributed.initialize` and any array
    do: a thread that has a pool of its own by then keeps to it, and large arrays do not fit in there.

    What a variable of the environment sets (or its namesake in `GLIBC_TUNABLES`) is left alone.

    Returns:
        Variables that say from outside what was set; none where JAX may find an accelerator, or with another
        C library.
    """
    if not (_only_cpu() and _is_glibc()):
        return []
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return [
        name
        for name, (number, value) in _LIMITS.items()
        if name not in os.environ and _tunable(name) not in tunables and mallopt(number, value) == 1
    ]


def missed_on_cpu() -> bool:
    """True if JAX computes on the CPU after all, where `keep_pages` had to leave room for an accelerator.

    It asks JAX for its devices: for after `keep_pages`, and after `jax.distributed.initialize`.
    """
    return _is_glibc() and not _only_cpu() and jax.default_backend() == "cpu"


def _only_cpu() -> bool:
    """True if JAX was told to take the CPU, or nothing is installed that would find it anything else.

    `jax.default_backend()` would know for certain, and would start the threads.
    """
    if jax.config.jax_platforms:
        return jax.config.jax_platforms == "cpu"
    found = any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
    return not found and not importlib.metadata.entry_points(group="jax_plugins")


def _tunable(name: str) -> str:
    """MALLOC_TOP_PAD_ -> glibc.malloc.top_pad"""
    return "glibc.malloc." + name.removeprefix("MALLOC_").rstrip("_").lower()


def _is_glibc() -> bool:
    # The name is known where Python was built with glibc.
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})

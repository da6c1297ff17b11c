"""Reuse of freed memory between the steps of CPU training.

XLA's CPU backend allocates the arrays of a step by `malloc` and frees them at its end. glibc returns
allocations of this size to the system immediately, so the kernel must map and zero every page again in each
step. `mallopt` makes glibc keep them; the process then stays at its peak size. Source: mallopt(3).
"""

import ctypes
import importlib.metadata
import importlib.util
import os

import jax

# Equivalent environment variable: parameter number in malloc.h, value.
_LIMITS = {
    "MALLOC_ARENA_MAX": (-8, 1),  # one arena, so threads reuse each other's freed memory
    "MALLOC_MMAP_MAX_": (-4, 0),  # no separate mappings, which would be unmapped when freed
    "MALLOC_TRIM_THRESHOLD_": (-1, -1),  # the arena is never trimmed
    "MALLOC_TOP_PAD_": (-2, 1 << 28),  # the arena grows in steps of this many bytes
}


def keep_pages() -> list[str]:
    """Makes this process keep freed memory, if JAX is limited to the CPU and the C library is glibc.

    Must be called before JAX starts its threads (by `jax.devices()`, `jax.distributed.initialize` or any
    array): a thread that already has its own arena keeps it, and large arrays do not fit there. Values set by
    the environment (a variable, or its equivalent in `GLIBC_TUNABLES`) are respected.

    Returns:
        Environment variables equivalent to what was set; empty if JAX may find an accelerator, or with
        another C library.
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
    """True if JAX runs on the CPU although `keep_pages` assumed that there might be an accelerator.

    It initialises JAX's devices, so call it after `keep_pages` and `jax.distributed.initialize`.
    """
    return _is_glibc() and not _only_cpu() and jax.default_backend() == "cpu"


def _only_cpu() -> bool:
    """True if JAX is configured for the CPU, or no plugin of another platform is installed.

    `jax.default_backend()` would be exact, but starts the threads.
    """
    if jax.config.jax_platforms:
        return jax.config.jax_platforms == "cpu"
    found = any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
    return not found and not importlib.metadata.entry_points(group="jax_plugins")


def _tunable(name: str) -> str:
    """MALLOC_TOP_PAD_ -> glibc.malloc.top_pad"""
    return "glibc.malloc." + name.removeprefix("MALLOC_").rstrip("_").lower()


def _is_glibc() -> bool:
    # The name exists if Python was built with glibc.
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})

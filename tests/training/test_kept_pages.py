"""Freed memory stays with the process: each case has a process of its own, as `mallopt` cannot be undone."""

import json
import os
import subprocess
import sys

import pytest

from dualdub_jax.training import kept_pages

# Writes to 384 MB from `malloc` (more than the pool grows by at once) twice, and prints what was set and how
# many page faults the second time took.
PROGRAM = """
import ctypes, json, resource, sys
from dualdub_jax.training.kept_pages import keep_pages

names = keep_pages() if "keep" in sys.argv else []
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def faults(size=3 << 27):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = libc.malloc(size)
    libc.memset(place, 1, size)
    libc.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(json.dumps([names, faults()]))
"""

pytestmark = pytest.mark.skipif(not kept_pages._is_glibc(), reason="mallopt's limits are glibc's")


def _second_time(*arguments: str, **variables: str) -> tuple[list[str], int]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
    }
    # Where the system has huge pages at hand, one fault fills 2 MB: the fewest that 384 MB can take is 192.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**inherited, "JAX_PLATFORMS": "cpu", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(json.loads(done.stdout))


def test_freed_memory_is_taken_again_without_a_page_fault():
    names, faults = _second_time("keep")
    assert names == list(kept_pages._LIMITS) and faults < 64
    names, faults = _second_time()
    assert names == [] and faults >= 192


@pytest.mark.parametrize(
    "variables", [{"MALLOC_MMAP_MAX_": "65536"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"}]
)
def test_what_the_environment_says_is_left_alone(variables):
    names, faults = _second_time("keep", **variables)
    assert names == [name for name in kept_pages._LIMITS if name != "MALLOC_MMAP_MAX_"]
    assert faults >= 192


def test_other_platforms_and_libraries_are_left_alone(monkeypatch):
    def never(*_):
        raise AssertionError("mallopt was asked for")

    monkeypatch.setattr(kept_pages.ctypes, "CDLL", never)
    monkeypatch.setattr(kept_pages.jax, "default_backend", lambda: "tpu")
    assert kept_pages.keep_pages() == []
    monkeypatch.setattr(kept_pages.jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(kept_pages, "_is_glibc", lambda: False)
    assert kept_pages.keep_pages() == []

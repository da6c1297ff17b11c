"""Freed memory stays with the process: each case has a process of its own, as `mallopt` cannot be undone."""

import json
import os
import subprocess
import sys

import jax
import pytest

from dualdub_jax.training import kept_pages
from dualdub_jax.training.kept_pages import keep_pages

# Writes to 384 MB from `malloc` (more than the pool grows by at once), or has a thread of JAX's do so, some
# times, and prints what was set and the fewest page faults that it took.
PROGRAM = """
import ctypes, json, resource, sys
import jax
import jax.numpy as jnp
from dualdub_jax.training.kept_pages import keep_pages

names = keep_pages() if "keep" in sys.argv else []
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def write_here(size=3 << 27):
    place = libc.malloc(size)
    libc.memset(place, 1, size)
    libc.free(place)

@jax.jit
def product(x):
    return jnp.tanh(x @ x.T).sum()

rows = jnp.ones((10_000, 8)) if "jax" in sys.argv else None
write = write_here if rows is None else lambda: product(rows).block_until_ready()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    write()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(json.dumps([names, min(faults() for _ in range(5))]))
"""

pytestmark = pytest.mark.skipif(not kept_pages._is_glibc(), reason="mallopt's limits are glibc's")


def _fewest_faults(*arguments: str, **variables: str) -> tuple[list[str], int]:
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
    names, faults = _fewest_faults("keep")
    assert names == list(kept_pages._LIMITS) and faults < 64
    names, faults = _fewest_faults()
    assert names == [] and faults >= 192


def test_what_jax_has_freed_is_taken_again_by_its_threads():
    _, faults = _fewest_faults("jax", "keep")
    assert faults < 64
    _, faults = _fewest_faults("jax")
    assert faults >= 192


@pytest.mark.parametrize(
    "variables", [{"MALLOC_MMAP_MAX_": "65536"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"}]
)
def test_what_the_environment_says_is_left_alone(variables):
    names, faults = _fewest_faults("keep", **variables)
    assert names == [name for name in kept_pages._LIMITS if name != "MALLOC_MMAP_MAX_"]
    assert faults >= 192


@pytest.fixture
def ask_for():
    """Sets JAX's platforms for one test, as the variable JAX_PLATFORMS does."""
    before = jax.config.jax_platforms
    yield lambda platforms: jax.config.update("jax_platforms", platforms)
    jax.config.update("jax_platforms", before)


@pytest.mark.parametrize("asked", ["tpu", "cuda,cpu"])
def test_other_platforms_and_libraries_are_left_alone(monkeypatch, ask_for, asked):
    def never(*_):
        raise AssertionError("mallopt was asked for")

    monkeypatch.setattr(kept_pages.ctypes, "CDLL", never)
    ask_for(asked)
    assert keep_pages() == []
    ask_for("cpu")
    monkeypatch.setattr(kept_pages, "_is_glibc", lambda: False)
    assert keep_pages() == []


@pytest.mark.parametrize(
    ("installed", "advertised", "expected"),
    [((), (), True), (("libtpu",), (), False), (("jax_plugins",), (), False), ((), ("rocm",), False)],
)
def test_what_is_installed_may_find_an_accelerator(monkeypatch, ask_for, installed, advertised, expected):
    monkeypatch.setattr(kept_pages.importlib.util, "find_spec", lambda name: name in installed or None)
    monkeypatch.setattr(kept_pages.importlib.metadata, "entry_points", lambda group: advertised)
    ask_for(None)
    assert kept_pages._only_cpu() == expected
    assert kept_pages.missed_on_cpu() == (not expected)  # tests compute on the CPU
    ask_for("cpu")
    assert not kept_pages.missed_on_cpu()

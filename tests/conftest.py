"""What every test shares: the CPU, a compilation cache, and a tiny dataset."""

import ctypes
import gc
import os
import pathlib
from collections.abc import Iterator

# Before JAX is imported by any test: with accelerator packages installed it would look for devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Before the package is imported: decorators read it (dualdub_jax/parts/shapes.py).
os.environ.setdefault("DUALDUB_CHECK_SHAPES", "1")
# Tests compile more than they compute: half of their time would go into optimising what runs once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest
from absl import flags

from dualdub_jax.training import kept_pages
from tests.tiny_dataset import write_tiny_datasets

_CACHE_DIR = pathlib.Path(__file__).parent.parent / ".cache" / "jax"


def pytest_configure(config: pytest.Config) -> None:
    jax.config.update("jax_compilation_cache_dir", str(_CACHE_DIR))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # Grain's worker processes read absl flags, which no `app.run` has parsed under pytest.
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="session", autouse=True)
def _freed_memory_is_returned() -> Iterator[None]:
    """`dualdub train` makes its process keep freed memory; here, all tests share the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_pages, "keep_pages", lambda: [])
        yield


@pytest.fixture(scope="module", autouse=True)
def _programs_are_freed() -> Iterator[None]:
    """Compiled programs are kept on disk, not in memory, from file to file."""
    yield
    jax.clear_caches()
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):  # glibc
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the datasets of `tests/tiny_dataset.py`, shared by all tests: do not write to it."""
    data_dir = tmp_path_factory.mktemp("data")
    write_tiny_datasets(data_dir)
    return str(data_dir)

"""Programs of tests that need a JAX of their own: other devices, several processes, being killed."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

_ROOT = pathlib.Path(__file__).parent.parent


def start(
    module: str,
    arguments: Sequence[str],
    *,
    num_devices: int = 1,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen:
    """Starts `python -m module arguments` on so many CPU devices; both outputs go to its `stdout`."""
    # Less optimised programs compile in half the time, and add in the same order whenever they run.
    flags = f"--xla_force_host_platform_device_count={num_devices} --xla_backend_optimization_level=0"
    own = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        env={**os.environ, **own, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(module: str, arguments: Sequence[str], *, num_devices: int = 1, timeout_s: float = 600) -> str:
    """As `start`, to its end, which must be a good one; what it printed."""
    process = start(module, arguments, num_devices=num_devices)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output

"""Simulated devices on one CPU, for tests of meshes: `XLA_FLAGS=--xla_force_host_platform_device_count=8`."""

import os
import re

# With 8 threads for 8 devices, collectives deadlocked.
_THREADS_PER_DEVICE = 16


def give_threads() -> None:
    """Sets the thread count of XLA's CPU client for simulated devices; call it before JAX creates the client.

    Each collective blocks a thread, and devices start independent collectives in any order. With the default
    of one thread per device they can deadlock (XLA ends the process after 40 s). `NPROC` in the environment
    takes precedence.
    """
    asked = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    num_devices = int(asked[1]) if asked else int(os.environ.get("JAX_NUM_CPU_DEVICES", 1))
    if num_devices > 1:
        os.environ.setdefault("NPROC", str(_THREADS_PER_DEVICE * num_devices))

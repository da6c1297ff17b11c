"""Several devices on one CPU, for trying meshes out: `XLA_FLAGS=--xla_force_host_platform_device_count=8`."""

import os
import re

# Of 8 devices with 8 threads in all, some sat in one collective and the rest in another, for good.
_THREADS_PER_DEVICE = 16


def give_threads() -> None:
    """Gives XLA's CPU client threads enough for its simulated devices; call it before JAX makes the client.

    A thread blocks in each collective that a device has begun, and a device begins those that do not depend
    on each other in any order: with a thread a device, as many as there are by default, they can wait for
    each other forever (XLA ends the process after 40 s). `NPROC` in the environment has the last word.
    """
    asked = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    num_devices = int(asked[1]) if asked else int(os.environ.get("JAX_NUM_CPU_DEVICES", 1))
    if num_devices > 1:
        os.environ.setdefault("NPROC", str(_THREADS_PER_DEVICE * num_devices))

"""Throughput of a run: rates per log window, and the devices' idle time while waiting for input."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from dualdub_jax.config import Config
from dualdub_jax.parallel.chips import CHIPS

# JAX device kind -> name in the table of chips.
_CHIP_NAMES = {
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
}


class StallClock:
    """Measures how long the devices wait for the next batch.

    Dispatch is asynchronous: while the host waits for a batch, the devices may still be executing the
    previous step, and that wait costs nothing. A thread records when each step finishes; a stall counts from
    then on.
    """

    def __init__(self) -> None:
        self._results: queue.SimpleQueue[jax.Array | None] = queue.SimpleQueue()
        self._num_sent = 0
        self._done_at: list[float] = [0.0]  # time at which the newest finished step ended; one cell
        self._num_done = 0
        self._thread = threading.Thread(target=self._watch, name="stall clock", daemon=True)
        self._thread.start()

    def sent(self, result: jax.Array) -> None:
        """Records a dispatched step; `result` is any of its outputs that is never donated."""
        self._num_sent += 1
        self._results.put(result)

    def next(self, batches: Iterator[Any]) -> tuple[Any, float]:
        """The next batch, and the seconds during which the devices were idle while waiting for it."""
        asked = time.monotonic()
        batch = next(batches)
        got = time.monotonic()
        if not self.is_idle():
            return batch, 0.0
        return batch, max(0.0, got - max(asked, self._done_at[0]))

    def is_idle(self) -> bool:
        """True if every dispatched step has finished."""
        return self._num_done >= self._num_sent

    def close(self) -> None:
        # Not joined: the thread may block in a collective that never ends.
        self._results.put(None)

    def _watch(self) -> None:
        while (result := self._results.get()) is not None:
            try:
                result.block_until_ready()
            except Exception:  # the loop reads the same array and raises it
                return
            # In this order, so that a reader of the new count reads its time as well.
            self._done_at[0] = time.monotonic()
            self._num_done += 1


class Window:
    """Rates since the last log line.

    Args:
        peak_flops: peak FLOP/s of all devices together; None: unknown.
    """

    def __init__(self, peak_flops: float | None):
        self._peak_flops = peak_flops
        self._once: dict[str, float] = {}
        self._reset()

    def _reset(self) -> None:
        self._start, self._clips, self._tokens, self._steps = time.monotonic(), 0, 0.0, 0
        self._flops = self._frames = self._frame_slots = 0.0
        self._data_wait_s = self._checkpoint_s = self._evaluation_s = 0.0

    def begin(self, **once: float) -> None:
        """Starts the window; `once` holds values for the next log line only, such as `compile_s`."""
        self._once |= once
        self._reset()

    def waited(self, seconds: float) -> None:
        """Adds idle time of the devices while waiting for a batch, in seconds."""
        self._data_wait_s += seconds

    def saved(self, seconds: float) -> None:
        """Adds time during which a checkpoint blocked the loop, in seconds."""
        self._checkpoint_s += seconds

    def evaluated(self, seconds: float) -> None:
        """Excludes time of the held-out loss from the rates, in seconds."""
        self._evaluation_s += seconds
        self._start += seconds

    def compiled(self, seconds: float) -> None:
        """Excludes the compilation of a further shape of batches from the rates, in seconds."""
        self._once["compile_s"] = self._once.get("compile_s", 0.0) + seconds
        self._start += seconds

    def count(self, clips: int, flops: float | None = None) -> None:
        """Adds a step on `clips` clips, of `flops` model FLOPs; None: unknown."""
        self._clips += clips
        self._flops += flops or 0.0
        self._steps += 1

    def count_tokens(self, tokens: float) -> None:
        """Adds codec tokens covered by the loss."""
        self._tokens += tokens

    def count_frames(self, frames: float, slots: float) -> None:
        """Adds frames inside of clips, and frames of the whole batch."""
        self._frames += frames
        self._frame_slots += slots

    def close(self) -> dict[str, float]:
        """Returns the rates and starts the next window."""
        spent = max(time.monotonic() - self._start, 1e-9)
        rates = {
            "clips_per_s": self._clips / spent,
            "step_s": spent / self._steps,
            "data_wait_s": self._data_wait_s / self._steps,
            "checkpoint_s": self._checkpoint_s / self._steps,
        }
        if self._evaluation_s:
            rates["evaluation_s"] = self._evaluation_s
        if self._tokens:
            rates["tokens_per_s"] = self._tokens / spent
        if self._frame_slots:
            rates["padding"] = 1 - self._frames / self._frame_slots
        if self._flops:
            rates["flops_per_s"] = self._flops / spent
            if self._peak_flops:
                rates["mfu"] = rates["flops_per_s"] / self._peak_flops
        rates |= self._once
        self._once = {}
        self._reset()
        return rates


def peak_flops(config: Config, mesh: Mesh) -> float | None:
    """Peak FLOP/s of all devices of a mesh; None if neither the config nor the device kind defines it."""
    if config.device_peak_tflops:
        return config.device_peak_tflops * 1e12 * mesh.size
    chip = CHIPS.get(_CHIP_NAMES.get(mesh.devices.flat[0].device_kind, ""))
    return chip.flops_per_s * mesh.size if chip else None

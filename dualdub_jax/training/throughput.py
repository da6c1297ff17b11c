"""Where a run's time goes: rates since the last log line, and how long the devices waited for input."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from dualdub_jax.config import Config
from dualdub_jax.parallel.chips import CHIPS

# How devices call themselves -> the name in the table of chips.
_CHIP_NAMES = {
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
}


class StallClock:
    """Measures how long the devices wait for the next batch.

    Steps are sent ahead: while the host waits for a batch, the devices may still be at work on the step
    before, and such a wait costs nothing. So a thread notes when each step's result is there, and a stall is
    counted only from then on.
    """

    def __init__(self) -> None:
        self._results: queue.SimpleQueue[jax.Array | None] = queue.SimpleQueue()
        self._num_sent = 0
        self._done_at: list[float] = [0.0]  # when the newest finished step was done; one cell, for the thread
        self._num_done = 0
        self._thread = threading.Thread(target=self._watch, name="stall clock", daemon=True)
        self._thread.start()

    def sent(self, result: jax.Array) -> None:
        """Takes note of a step that was sent; `result` is any of its outputs that is never donated."""
        self._num_sent += 1
        self._results.put(result)

    def next(self, batches: Iterator[Any]) -> tuple[Any, float]:
        """The next batch, and the seconds that no step was running while it was waited for."""
        asked = time.monotonic()
        batch = next(batches)
        got = time.monotonic()
        if not self.is_idle():
            return batch, 0.0
        return batch, max(0.0, got - max(asked, self._done_at[0]))

    def is_idle(self) -> bool:
        """True if every step that was sent is done."""
        return self._num_done >= self._num_sent

    def close(self) -> None:
        # Not joined: it may be inside a collective that will never end, and nothing depends on it.
        self._results.put(None)

    def _watch(self) -> None:
        while (result := self._results.get()) is not None:
            try:
                result.block_until_ready()
            except Exception:  # the loop reads the same array and raises it
                return
            # In this order: who sees the new count sees the time that goes with it.
            self._done_at[0] = time.monotonic()
            self._num_done += 1


class Window:
    """Rates since the last log line.

    Args:
        flops_per_step: model FLOPs of a step; None where they are not known.
        peak_flops: of all devices together, a second; None where it is not known.
    """

    def __init__(self, flops_per_step: float | None, peak_flops: float | None):
        self._flops_per_step, self._peak_flops = flops_per_step, peak_flops
        self._once: dict[str, float] = {}
        self._reset()

    def _reset(self) -> None:
        self._start, self._clips, self._tokens, self._steps = time.monotonic(), 0, 0.0, 0
        self._data_wait_s = self._checkpoint_s = 0.0

    def begin(self, **once: float) -> None:
        """Time counts from here; `once` goes into the next line only, such as `compile_s`."""
        self._once |= once
        self._reset()

    def waited(self, seconds: float) -> None:
        """The devices stood idle for want of a batch."""
        self._data_wait_s += seconds

    def saved(self, seconds: float) -> None:
        """The loop stood still for a checkpoint."""
        self._checkpoint_s += seconds

    def count(self, clips: int) -> None:
        self._clips += clips
        self._steps += 1

    def count_tokens(self, tokens: float) -> None:
        """Codec tokens that the loss has scored."""
        self._tokens += tokens

    def close(self) -> dict[str, float]:
        """The rates; the next window begins."""
        spent = max(time.monotonic() - self._start, 1e-9)
        rates = {
            "clips_per_s": self._clips / spent,
            "step_s": spent / self._steps,
            "data_wait_s": self._data_wait_s / self._steps,
            "checkpoint_s": self._checkpoint_s / self._steps,
        }
        if self._tokens:
            rates["tokens_per_s"] = self._tokens / spent
        if self._flops_per_step:
            rates["flops_per_s"] = self._flops_per_step * self._steps / spent
            if self._peak_flops:
                rates["mfu"] = rates["flops_per_s"] / self._peak_flops
        rates |= self._once
        self._once = {}
        self._reset()
        return rates


def peak_flops(config: Config, mesh: Mesh) -> float | None:
    """Peak FLOP/s of all devices of a mesh; None where neither the config nor the chip's name tells it."""
    if config.device_peak_tflops:
        return config.device_peak_tflops * 1e12 * mesh.size
    chip = CHIPS.get(_CHIP_NAMES.get(mesh.devices.flat[0].device_kind, ""))
    return chip.flops_per_s * mesh.size if chip else None

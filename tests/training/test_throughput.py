"""Input stalls, rates, and what the MFU is measured against."""

import threading
import types

import numpy as np
import pytest

from dualdub_jax.config import Config
from dualdub_jax.training.throughput import StallClock, Window, peak_flops


class Running:
    """A step's result that is there when the test says so."""

    def __init__(self):
        self.done = threading.Event()

    def block_until_ready(self):
        self.done.wait()


def _batches():
    while True:
        threading.Event().wait(0.02)
        yield "batch"


def test_only_waiting_while_nothing_runs_is_a_stall():
    clock, batches = StallClock(), _batches()
    assert clock.next(batches)[1] > 0  # nothing runs yet
    step = Running()
    clock.sent(step)
    assert clock.next(batches) == ("batch", 0.0)  # the step goes on for longer than the batch takes
    step.done.set()
    while not clock.is_idle():
        pass
    assert clock.next(batches)[1] > 0
    clock.close()


def test_a_window_has_every_rate_that_is_known_and_invents_none():
    window = Window(peak_flops=None)
    window.begin(compile_s=2.5)
    window.count(4, flops=6.0)
    rates = window.close()
    assert rates["compile_s"] == 2.5 and rates["clips_per_s"] == pytest.approx(4 / rates["step_s"])
    assert rates["flops_per_s"] == pytest.approx(6 / rates["step_s"])
    assert not {"mfu", "tokens_per_s", "padding"} & set(rates)
    window = Window(peak_flops=600.0)
    window.count(4, flops=6.0)
    window.count_tokens(10.0)
    window.count_frames(30.0, 40.0)
    rates = window.close()
    assert "compile_s" not in rates and rates["tokens_per_s"] == pytest.approx(10 / rates["step_s"])
    assert rates["padding"] == 0.25
    assert rates["mfu"] == pytest.approx(rates["flops_per_s"] / 600)


def test_the_peak_is_the_chips_or_the_configs_and_never_invented():
    def mesh(kind):
        return types.SimpleNamespace(size=4, devices=np.array([types.SimpleNamespace(device_kind=kind)] * 4))

    assert peak_flops(Config(), mesh("cpu")) is None
    assert peak_flops(Config(), mesh("TPU v5 lite")) == 4 * 197e12
    assert peak_flops(Config(device_peak_tflops=0.5), mesh("cpu")) == 2e12

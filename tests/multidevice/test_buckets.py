"""Batches of several lengths on meshes, also where the sequence axis does not divide their length."""

import json

import numpy as np
import pytest

from tests import programs

pytestmark = pytest.mark.slow


def test_steps_on_batches_of_two_lengths_are_those_of_one_device():
    output = programs.run("tests.multidevice.buckets_program", [], num_devices=8, timeout_s=600)
    results = json.loads(output.splitlines()[-1])
    assert results["rows"] == [8, 4]
    one = results["losses"].pop("one")
    assert len(results["losses"]) == 2
    for mesh, steps in results["losses"].items():
        for step, expected in zip(steps, one, strict=True):
            for key, value in expected.items():
                np.testing.assert_allclose(step[key], value, rtol=2e-5, err_msg=f"{mesh} {key}")
    assert results["patches"] < 1e-4

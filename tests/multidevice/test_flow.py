"""The step of a flow-matching decoder agrees on one device and on eight, cut in three ways."""

import json

import numpy as np
import pytest

from tests import programs


@pytest.mark.slow
def test_losses_and_statistics_agree_and_parameters_are_split():
    output = programs.run("tests.multidevice.flow_program", [], num_devices=8)
    results = json.loads(output.splitlines()[-1])
    one = results.pop("one")
    assert len(results) == 3
    for name, found in results.items():
        for step, wanted in zip(found["steps"], one["steps"], strict=True):
            assert step == pytest.approx(wanted, rel=2e-4), name
        for key, values in found["statistics"].items():
            np.testing.assert_allclose(values, one["statistics"][key], rtol=1e-4, atol=1e-4)
        assert (found["split"] > 0.4) == ("fsdp" in name), name

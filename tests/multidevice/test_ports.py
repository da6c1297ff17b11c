"""Public codecs and image towers give on eight devices what they give on one, each device its rows."""

import json

import pytest

from tests import programs

pytestmark = pytest.mark.slow


def test_codes_waveforms_and_vectors_agree_on_every_mesh():
    output = programs.run("tests.multidevice.ports_program", [], num_devices=8, timeout_s=600)
    results = json.loads(output.splitlines()[-1])
    assert len(results) == 2
    for mesh, parts in results.items():
        assert sorted(parts) == ["clip", "dac", "mimi", "siglip", "wavtokenizer"]
        for part, found in parts.items():
            assert found["is_split"], (mesh, part)
            assert found["codes"] == 0, (mesh, part)
            assert found["difference"] < 1e-5, (mesh, part)

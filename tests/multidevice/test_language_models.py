"""Public language models are the same on one device and on eight, which hold and read their shards only."""

import json

import pytest

from tests import programs

pytestmark = pytest.mark.slow


def test_a_language_model_is_loaded_alike_on_every_mesh(tmp_path):
    output = programs.run("tests.multidevice.language_models_program", [str(tmp_path)], num_devices=8)
    results = json.loads(output.splitlines()[-1])
    assert len(results) == 8
    for name, result in results.items():
        if "fsdp" in name:
            assert result["split"] == result["all"], name
        else:
            assert result["split"] == 0, name
        assert result["read"] == 1, name  # no number twice, also where devices hold copies

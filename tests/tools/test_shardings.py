"""Parameters and activations of every config land where they did; nothing of the large models is whole."""

import json
import math

import pytest

from tests.golden.make_shardings import CASES, FOLDER, make


@pytest.mark.parametrize("case", CASES)
def test_shardings_are_the_golden_ones(case):
    golden = (FOLDER / f"{case}.json").read_text(encoding="utf-8")
    # If the change is wanted: python -m tests.golden.make_shardings
    assert json.loads(make(case)) == json.loads(golden)


def test_every_golden_file_has_a_case():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if "fsdp" in case and not case.startswith("puppet")])
def test_every_large_parameter_is_split(case):
    parameters = json.loads((FOLDER / f"{case}.json").read_text(encoding="utf-8"))["parameters"]
    for name, text in parameters.items():
        shape = json.loads(text[: text.index("]") + 1])
        if math.prod(shape) > 5_000_000:
            assert "fsdp" in text, (name, text)


@pytest.mark.parametrize("case", CASES)
def test_activations_are_constrained_in_every_part(case):
    activations = json.loads((FOLDER / f"{case}.json").read_text(encoding="utf-8"))["activations"]
    assert sum(activations.values()) >= 14  # backbone, temporal stack, aligners, voice, heads
    # The rows of the script's table are looked up where its columns are; then they too go to their clips.
    assert sum("(data+fsdp" not in text for text in activations) == 1
    assert all("(data" in text for text in activations)

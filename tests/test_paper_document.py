"""docs/paper.md names files and config keys that exist."""

import functools
import pathlib
import re

import pytest

from dualdub_jax.config import load_config, to_dict

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")


def test_it_names_files_that_exist():
    paths = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert len(paths) > 25
    for path in paths:
        assert (ROOT / "docs" / path).exists(), path


def _keys() -> list[str]:
    groups = "|".join(to_dict(load_config("dualdub")))
    return sorted(set(re.findall(rf"`((?:{groups})(?:\.\w+)*)`", PAGE)))


@pytest.mark.parametrize("key", _keys())
def test_it_names_config_keys_that_exist(key):
    functools.reduce(lambda node, part: node[part], key.split("."), to_dict(load_config("dualdub")))


def test_it_names_the_keys_that_make_the_system():
    assert {"model.aligner.kind", "model.voice_source", "model.background_prompt", "stages"} <= set(_keys())


def test_its_numbers_of_steps_are_the_configs():
    first, second, third = (stage.num_steps for stage in load_config("dualdub").stages)
    assert f"{first:,}, {second:,} and {third:,} steps" in PAGE

"""Configs: every key is known or refused with the nearest one, every value has its type."""

import dataclasses

import pytest

from dualdub_jax.config import Config, from_dict, load_config, to_dict
from dualdub_jax.errors import UserError

PUPPET = "configs/puppet.py"


def test_dictionaries_and_dataclasses_are_the_same_thing():
    config = load_config(PUPPET)
    assert from_dict(to_dict(config)) == config


def test_the_default_run_has_the_curriculum_in_order():
    config = load_config(PUPPET)
    assert [stage.name for stage in config.stages] == ["text_speech", "video_audio", "soundtrack"]
    replayed = {source.name for source in config.stages[-1].mixture}
    assert replayed == {f"puppet_stage/{name}" for name in ("soundtrack", "text_speech", "video_audio")}


def test_overrides_reach_into_groups_and_lists():
    config = load_config(
        PUPPET, ["model.width=64", "stages.1.num_steps=3", "model.compute_dtype=bfloat16", "seed=7"]
    )
    assert (config.model.width, config.stages[1].num_steps, config.seed) == (64, 3, 7)
    assert config.model.compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.widht=64", "config.model.widht: no such config key; the nearest one is config.model.width"),
        ("modle.width=64", "config.modle: no such config key; the nearest one is config.model"),
        ("model.width=wide", "config.model.width: expected int, got 'wide'"),
        ("model.width=true", "config.model.width: expected int, got True"),
        ("model=3", "config.model: expected a group of keys, got 3"),
        ("stages.9.num_steps=1", "'9' is not an index below 3"),
        ("seed.more=1", "seed is not a group of keys"),
        ("seed", "expected --config.KEY=VALUE"),
    ],
)
def test_bad_overrides_say_what_is_wrong(override, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        load_config(PUPPET, [override])


def test_files_that_are_no_configs_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        load_config(str(tmp_path / "none.py"))
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(UserError, match=r"has no get_config\(\)"):
        load_config(str(tmp_path / "empty.py"))


def test_configs_cannot_be_changed_once_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1

"""The config beside the checkpoints, with the changes that a run accepted."""

import json

import pytest

from dualdub_jax.config import Config
from dualdub_jax.curriculum.run_config import read_run_config, run_config_written
from dualdub_jax.errors import UserError
from dualdub_jax.training.metrics import MetricWriter


def _change_a_setting(workdir, new):
    writer = MetricWriter(workdir)
    writer.event("stage", 7, "setting_changed", key="stages.0.num_steps", old=7, new=new)
    writer.event("stage", 8, "skipped", loss="nan")
    writer.close()


def test_accepted_changes_are_its_history_and_no_part_of_the_config(tmp_path):
    config = Config(name="films", seed=3)
    with run_config_written(tmp_path, config):
        _change_a_setting(tmp_path, 9)
    with pytest.raises(KeyboardInterrupt), run_config_written(tmp_path, config):
        _change_a_setting(tmp_path, 11)
        raise KeyboardInterrupt
    history = json.loads((tmp_path / "run_config.json").read_text())["history"]
    assert [(line["phase"], line["step"], line["key"], line["old"], line["new"]) for line in history] == [
        ("stage", 7, "stages.0.num_steps", 7, 9),
        ("stage", 7, "stages.0.num_steps", 7, 11),
    ]
    assert all(line["time"] > 0 for line in history)
    assert read_run_config(tmp_path) == config


def test_a_refused_run_leaves_the_config_of_the_one_before(tmp_path):
    with run_config_written(tmp_path, Config(seed=1)):
        pass
    with pytest.raises(UserError), run_config_written(tmp_path, Config(seed=2)):
        raise UserError("refused")
    assert read_run_config(tmp_path).seed == 1

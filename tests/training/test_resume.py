"""Resuming with other settings or data: what is refused, what is accepted, what is written down."""

import dataclasses
import re

import numpy as np
import pytest

from dualdub_jax.config import CheckpointConfig, SourceConfig
from dualdub_jax.errors import UserError
from dualdub_jax.training.optimizer import make_schedule
from dualdub_jax.training.settings import Change, is_recipe
from tests.training.toy_phase import (
    CONFIG,
    DATA,
    STAGE,
    events_of,
    interrupt_toy,
    metrics_of,
    run_toy,
    with_optimizer,
)

FEWER = {**DATA, "films": (6, "cccc")}
EDITED = {**DATA, "plays": (3, "dddd")}
ACCEPTING = dataclasses.replace(CONFIG, accept_changed_data=True)


def _refused(*arguments, **options) -> str:
    with pytest.raises(UserError) as error:
        run_toy(*arguments, **options)
    return str(error.value)


# ------------------------------------------------------------------------------------------- settings
def test_more_steps_continue_on_the_new_schedule_and_resume_to_the_bit(tmp_path):
    longer = dataclasses.replace(STAGE, num_steps=12)
    for name in ("whole", "broken"):
        run_toy(tmp_path / name)
    kernel, seen = run_toy(tmp_path / "whole", longer, extend=True)
    assert seen == list(range(6, 12))
    schedule = make_schedule(longer.optimizer, 12)
    rates = {line["step"]: line["learning_rate"] for line in metrics_of(tmp_path / "whole")}
    wanted = [schedule(k - 1) for k in range(7, 13)]
    np.testing.assert_allclose([rates[k] for k in range(7, 13)], wanted, rtol=1e-5)
    assert events_of(tmp_path / "whole") == [
        {
            "phase": "toy",
            "step": 6,
            "event": "setting_changed",
            "key": "stages.1.num_steps",
            "old": 6,
            "new": 12,
        }
    ]
    interrupt_toy(tmp_path / "broken", 10, stage=longer, extend=True)
    # From step 9 the checkpoint has the new settings, with the flag or without.
    broken, seen = run_toy(tmp_path / "broken", longer)
    assert seen == [9, 10, 11]
    np.testing.assert_array_equal(kernel, broken)


def test_a_phase_of_no_steps_can_be_extended(tmp_path):
    run_toy(tmp_path, dataclasses.replace(STAGE, num_steps=0))
    assert run_toy(tmp_path, STAGE, extend=True)[1] == list(range(6))
    assert [(event["key"], event["old"], event["new"]) for event in events_of(tmp_path)] == [
        ("stages.1.num_steps", 0, 6)
    ]


RECIPES = {
    "learning_rate": with_optimizer(STAGE, learning_rate=0.05),
    "warmup_steps": with_optimizer(STAGE, warmup_steps=2),
    "final_learning_rate_ratio": with_optimizer(STAGE, final_learning_rate_ratio=0.5),
    "ema_decay": with_optimizer(STAGE, ema_decay=0.9),
    "batch_size": dataclasses.replace(STAGE, batch_size=8),
    "mixture": dataclasses.replace(STAGE, mixture=(SourceConfig("films"), SourceConfig("plays"))),
}


@pytest.mark.parametrize("name", RECIPES)
def test_an_unfinished_phase_takes_another_recipe_with_extend_alone(tmp_path, name):
    interrupt_toy(tmp_path, 5)
    stage = RECIPES[name]
    message = _refused(tmp_path, stage)
    assert re.search(rf"was started with --config\.stages\.1\.(\w+\.)?{name}=", message)
    assert "add --extend" in message
    assert run_toy(tmp_path, stage, extend=True)[1] == [3, 4, 5]
    assert [event["event"] for event in events_of(tmp_path)] == ["setting_changed"]
    assert run_toy(tmp_path, stage)[1] == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"stage": dataclasses.replace(STAGE, freeze=("kernel",))}, "stages.1.freeze='[\"kernel\"]'"),
        ({"config": dataclasses.replace(CONFIG, seed=1)}, "seed=1"),
        ({"stage": with_optimizer(STAGE, clip_norm=0.0)}, "stages.1.optimizer.clip_norm=0.0"),
    ],
)
def test_what_a_phase_is_made_of_never_changes(tmp_path, change, key):
    run_toy(tmp_path)
    for extend in (False, True):
        message = _refused(tmp_path, extend=extend, **change)
        assert f"but this run has --config.{key}, which is fixed" in message


def test_a_setting_is_named_before_a_shape_in_an_unfinished_phase(tmp_path):
    interrupt_toy(tmp_path, 5)
    message = _refused(tmp_path, width=4, extend=True)
    assert "--config.width=3, but this run has --config.width=4" in message and "shape" not in message


def test_a_finished_phase_is_kept_with_another_learning_rate(tmp_path, capsys):
    kernel, _ = run_toy(tmp_path)
    capsys.readouterr()
    other = with_optimizer(STAGE, learning_rate=0.3)
    assert "add --extend" in _refused(tmp_path, other)
    kept, seen = run_toy(tmp_path, other, extend=True)
    assert seen == []
    np.testing.assert_array_equal(kernel, kept)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "finished at step 6 and kept" in said
    assert "stages.1.optimizer.learning_rate=0.1" in said


def test_fewer_steps_than_are_trained_are_refused(tmp_path):
    run_toy(tmp_path)
    message = _refused(tmp_path, dataclasses.replace(STAGE, num_steps=4), extend=True)
    assert "has a checkpoint of step 6, but this run has --config.stages.1.num_steps=4" in message


def test_intervals_raise_no_question(tmp_path):
    interrupt_toy(tmp_path, 5)
    config = dataclasses.replace(
        CONFIG, log_every_steps=2, checkpoint=CheckpointConfig(save_every_steps=1), data_dir="elsewhere"
    )
    assert run_toy(tmp_path, config=config)[1] == [3, 4, 5]


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("stages.0.num_steps", True),
        ("streams.speech.codec.training.vocoder_num_steps", True),
        ("streams.speech.codec.training.optimizer.learning_rate", True),
        ("streams.speech.codec.num_unquantised_steps", False),
        ("streams.speech.codec.width", False),
        ("streams.speech.codec.kind", False),
        ("video_training.batch_size", True),
        ("casp_training.audio_encoder", False),
        ("loss.past_dropout_rate", True),
        ("model.compute_dtype", True),
        ("model.width", False),
        ("stages.0.name", False),
        ("grid.num_frames", False),
    ],
)
def test_the_recipe_is_what_leaves_the_state_as_it_is(key, changes):
    assert is_recipe(Change(key, 1, 2)) == changes


# ----------------------------------------------------------------------------------------------- data
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (FEWER, "films had 7 clips (aaaa) and has 6 (cccc)"),
        (EDITED, "plays had 3 clips (bbbb) and has 3 (dddd)"),
    ],
)
def test_changed_data_are_refused_by_name_and_accepted_on_request(tmp_path, data, said):
    interrupt_toy(tmp_path, 5)
    message = _refused(tmp_path, data=data)
    assert said in message and "--config.accept_changed_data=true" in message
    assert message.startswith(f"{tmp_path / 'toy'}: ") and "remove this folder" in message
    assert said in _refused(tmp_path, data=data, extend=True)
    assert run_toy(tmp_path, data=data, config=ACCEPTING)[1] == [3, 4, 5]
    (event,) = events_of(tmp_path)
    assert (event["event"], event["step"], event["dataset"]) == ("data_changed", 3, said.split()[0])
    assert said == (
        f"{event['dataset']} had {event['old_clips']} clips ({event['old_fingerprint']}) "
        f"and has {event['new_clips']} ({event['new_fingerprint']})"
    )
    # Once it is saved, the new data are those of the run.
    assert run_toy(tmp_path, data=data)[1] == []


def test_after_an_accepted_change_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    for name in ("whole", "broken"):
        interrupt_toy(tmp_path / name, 2, config=dataclasses.replace(CONFIG, checkpoint=CheckpointConfig(1)))
    whole, _ = run_toy(tmp_path / "whole", data=FEWER, config=ACCEPTING)
    interrupt_toy(tmp_path / "broken", 5, data=FEWER, config=ACCEPTING)
    broken, seen = run_toy(tmp_path / "broken", data=FEWER)
    assert seen == [3, 4, 5]
    np.testing.assert_array_equal(whole, broken)


def test_a_finished_phase_is_kept_whatever_becomes_of_its_data(tmp_path, capsys):
    kernel, _ = run_toy(tmp_path)
    capsys.readouterr()
    for data in (FEWER, EDITED):
        kept, seen = run_toy(tmp_path, data=data)
        assert seen == []
        np.testing.assert_array_equal(kernel, kept)
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and "finished at step 6 and kept, although" in said
    run_toy(tmp_path)
    assert capsys.readouterr().out == ""


def test_more_steps_on_changed_data_need_both(tmp_path):
    run_toy(tmp_path)
    longer = dataclasses.replace(STAGE, num_steps=8)
    assert "accept_changed_data" in _refused(tmp_path, longer, extend=True, data=FEWER)
    assert "--extend" in _refused(tmp_path, longer, config=ACCEPTING, data=FEWER)
    assert run_toy(tmp_path, longer, config=ACCEPTING, extend=True, data=FEWER)[1] == [6, 7]
    assert [event["event"] for event in events_of(tmp_path)] == ["setting_changed", "data_changed"]


def test_a_checkpoint_without_fingerprints_compares_numbers_of_clips(tmp_path):
    def without(data):
        return {name: (clips, None) for name, (clips, _) in data.items()}

    interrupt_toy(tmp_path, 5, data=without(DATA))
    assert "films had 7 clips (unknown) and has 6 (cccc)" in _refused(tmp_path, data=FEWER)
    assert run_toy(tmp_path)[1] == [3, 4, 5]

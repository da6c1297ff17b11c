"""A run with other settings than its checkpoint is refused, also where a key is younger than it."""

import dataclasses
import pathlib

import pytest

from dualdub_jax.config import Config, SourceConfig, StageConfig, defaults_of, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.training.settings import check_settings

WHERE = pathlib.Path("runs/a/stage")
STAGE = StageConfig(name="stage", mixture=(SourceConfig("a", 0.5), SourceConfig("b")), batch_size=8)


def _check(saved, stage=STAGE):
    check_settings(saved, {"stage": to_dict(stage)}, {"stage": to_dict(defaults_of(stage))}, WHERE)


def test_a_key_younger_than_the_checkpoint_must_have_its_default():
    saved = {"stage": to_dict(STAGE)}
    del saved["stage"]["use_pretrained_video_encoder"], saved["stage"]["mixture"][1]["weight"]
    _check(saved)
    with pytest.raises(
        UserError, match=r"started with stage.use_pretrained_video_encoder=False, but this run has True"
    ):
        _check(saved, dataclasses.replace(STAGE, use_pretrained_video_encoder=True))


def test_a_changed_a_removed_and_a_missing_setting_are_named():
    saved = {"stage": to_dict(STAGE)}
    with pytest.raises(UserError, match=r"runs/a/stage: was started with stage.batch_size=8, .* has 16"):
        _check(saved, dataclasses.replace(STAGE, batch_size=16))
    saved["stage"]["old_key"] = 3
    with pytest.raises(UserError, match=r"started with stage.old_key=3, but this run has absent"):
        _check(saved)


def test_a_run_may_go_on_with_other_memory_and_other_kernels():
    def settings(**changes):
        return {"model": to_dict(dataclasses.replace(Config().model, **changes))}

    wanted = settings(remat_policy="full", attention_implementation="plain")
    check_settings(settings(), wanted, settings(), WHERE)
    with pytest.raises(UserError, match="compute_dtype"):
        check_settings(settings(), settings(compute_dtype="bfloat16"), settings(), WHERE)


def test_one_dataset_more_is_another_mixture():
    saved = {"stage": to_dict(dataclasses.replace(STAGE, mixture=STAGE.mixture[:1]))}
    with pytest.raises(UserError, match=r"stage.mixture.1.name="):
        _check(saved)


def test_defaults_keep_the_lengths_of_sequences_and_nothing_else():
    config = Config(name="x", seed=3, stages=(STAGE, STAGE))
    defaults = defaults_of(config)
    assert defaults.name == "" and defaults.seed == 0
    assert [stage.batch_size for stage in defaults.stages] == [StageConfig().batch_size] * 2
    assert [source.name for source in defaults.stages[0].mixture] == ["", ""]
    assert defaults.background_codec == Config().background_codec

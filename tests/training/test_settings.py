"""A run with other settings than its checkpoint is refused, also where a key is younger than it."""

import dataclasses
import pathlib

import pytest

import tests.codecs.toy_codec
import tests.parts.toy_parts  # noqa: F401
from dualdub_jax.config import Config, Plugin, SourceConfig, StageConfig, defaults_of
from dualdub_jax.errors import UserError
from dualdub_jax.training.settings import check_settings, differences, settings_of

WHERE = pathlib.Path("runs/a/stage")
STAGE = StageConfig(name="stage", mixture=(SourceConfig("a", 0.5), SourceConfig("b")), batch_size=8)


def _check(saved, stage=STAGE):
    check_settings(saved, settings_of(stage=stage), WHERE)


def test_a_key_younger_than_the_checkpoint_must_have_its_default():
    saved = settings_of(stage=STAGE).values
    del saved["stage"]["use_pretrained_video_encoder"], saved["stage"]["mixture"][1]["weight"]
    _check(saved)
    with pytest.raises(
        UserError,
        match=r"started with --config.stage.use_pretrained_video_encoder=false, but this run has "
        r"--config.stage.use_pretrained_video_encoder=true",
    ):
        _check(saved, dataclasses.replace(STAGE, use_pretrained_video_encoder=True))


def test_a_changed_a_removed_and_a_missing_setting_are_named():
    saved = settings_of(stage=STAGE).values
    with pytest.raises(
        UserError, match=r"a/stage: was started with .*stage.batch_size=8, .*=16; add --extend"
    ):
        _check(saved, dataclasses.replace(STAGE, batch_size=16))
    saved["stage"]["old_key"] = 3
    with pytest.raises(
        UserError, match=r"with --config.stage.old_key=3, but this run has no --config.stage.old"
    ):
        _check(saved)


def test_a_run_may_go_on_with_other_memory_and_other_kernels():
    def settings(**changes):
        return settings_of(model=dataclasses.replace(Config().model, **changes))

    wanted = settings(remat_policy="full", attention_implementation="plain")
    assert not {"remat_policy", "attention_implementation"} & set(wanted.values["model"])
    check_settings(settings().values, wanted, WHERE)
    with pytest.raises(UserError, match="compute_dtype"):
        check_settings(settings().values, settings(compute_dtype="bfloat16"), WHERE)


def test_one_dataset_more_is_another_mixture():
    saved = settings_of(stage=dataclasses.replace(STAGE, mixture=STAGE.mixture[:1])).values
    with pytest.raises(UserError, match=r"--config.stage.mixture='\[.*\]'; add --extend"):
        _check(saved)


def test_defaults_keep_the_lengths_of_sequences_and_nothing_else():
    config = Config(name="x", seed=3, stages=(STAGE, STAGE))
    defaults = defaults_of(config)
    assert defaults.name == "" and defaults.seed == 0
    assert [stage.batch_size for stage in defaults.stages] == [StageConfig().batch_size] * 2
    assert [source.name for source in defaults.stages[0].mixture] == ["", ""]
    assert defaults.streams == Config().streams


def test_excluded_keys_do_not_matter_at_any_depth():
    codec = Config().streams.speech.codec
    trained = dataclasses.replace(codec, training=dataclasses.replace(codec.training, num_steps=7))
    whole, without = settings_of(codec=codec), settings_of(without=("training",), codec=codec)
    assert list(differences(settings_of(codec=trained).values, whole)) == [
        ("codec.training.num_steps", 7, 3000)
    ]
    assert not list(differences(settings_of(without=("training",), codec=trained).values, without))
    assert "training" not in without.values["codec"] and "num_codebooks" in without.values["codec"]
    steps = settings_of(without=("num_",), codec=trained)
    assert "num_steps" not in steps.values["codec"]["training"]


def test_plain_values_are_settings_as_they_are():
    settings = settings_of(seed=3, codecs_from="runs/a")
    assert settings.values == settings.defaults == {"seed": 3, "codecs_from": "runs/a"}
    assert list(differences({"seed": 4}, settings)) == [("seed", 4, 3)]


def test_a_plugin_is_compared_key_by_key_and_no_default_of_it_is_assumed():
    plugin = Plugin("fork.codec:Codec", '{"size": 4, "training": {"num_steps": 2}}')
    saved = settings_of(codec=plugin).values
    assert saved == {"codec": {"kind": "fork.codec:Codec", "size": 4, "training": {"num_steps": 2}}}
    assert not list(differences(saved, settings_of(codec=plugin)))
    other = settings_of(codec=Plugin("fork.codec:Codec", '{"size": 4, "width": 8}'))
    changes = {key: (was, now) for key, was, now in differences(saved, other)}
    assert changes == {"codec.width": ("absent", 8), "codec.training.num_steps": (2, "absent")}
    without = ("training",)
    fewer = settings_of(without=without, codec=Plugin("fork.codec:Codec", '{"size": 4}'))
    assert not list(differences(settings_of(without=without, codec=plugin).values, fewer))


def test_folders_are_compared_wherever_they_are_named_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = settings_of(codecs_from=str(tmp_path / "runs" / "a"))
    assert not list(differences({"codecs_from": "runs/a"}, wanted))
    assert list(differences({"codecs_from": "runs/b"}, wanted))


def test_a_default_that_a_class_declares_equals_the_key_left_out():
    kind = "tests.codecs.toy_codec:ToyCodec"
    sparse = {"codec": {"kind": kind, "codebook_size": 5}}  # as older versions stored it
    full = Plugin(kind, '{"codebook_size": 5, "frame_rate_hz": 40, "training": {"num_steps": 3}}')
    assert not list(differences(sparse, settings_of(codec=full)))
    other = settings_of(codec=Plugin(kind, '{"codebook_size": 5, "frame_rate_hz": 50}'))
    assert [key for key, _, _ in differences(sparse, other)] == ["codec.frame_rate_hz"]


def test_sizes_in_brackets_are_compared_with_their_defaults():
    paths = [f"tests.parts.toy_parts:RunningMean{sizes}" for sizes in ("", "(gain=1.0)", "( gain = 1.0 )")]
    for path in paths:
        assert not list(differences({"backbone": paths[0]}, settings_of(backbone=path)))
    other = settings_of(backbone="tests.parts.toy_parts:RunningMean(gain=2.0)")
    assert len(list(differences({"backbone": paths[0]}, other))) == 1

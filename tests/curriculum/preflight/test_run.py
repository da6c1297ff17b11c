"""The check before a run: everything that is wrong at once, with its mend, before anything is trained."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from dualdub_jax.config import Config, InitFromConfig, RopeScalingConfig, SourceConfig, StageConfig
from dualdub_jax.curriculum.preflight.run import check_run
from dualdub_jax.errors import UserErrors
from tests.convert import language_models
from tests.labelled_clips import labelled_record, write_clips
from tests.tiny import tiny_config, with_codec, with_training

CLIPS = (SourceConfig("clips"),)
STAGES = ("text_speech", "soundtrack")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    good = [labelled_record(f"good_{i}") for i in range(6)]
    write_clips(folder, [*good, labelled_record("bad", video=b"garbage")])
    unlabelled = [labelled_record(f"x{i}", events="{}") for i in range(4)]
    write_clips(folder, unlabelled, "unlabelled")
    silent = [labelled_record(f"s{i}", speech=b"", script="", voice=b"") for i in range(4)]
    write_clips(folder, silent, "no_speech")
    write_clips(folder, [labelled_record(f"b{i}", script="say " * 60) for i in range(5)], "too_long")
    return str(folder)


def config_of(data_dir, mixture=CLIPS, **changes) -> Config:
    """A run of both codecs and two stages on one mixture."""
    config = tiny_config(data_dir=data_dir)
    for stream in ("speech", "background"):
        config = with_codec(config, stream, acoustics_num_blocks=1)
        config = with_training(config, stream, mixture=mixture, batch_size=2)
    config = with_codec(config, "speech", phonetic_dim=4, speaker_dim=8)
    grid = dataclasses.replace(config.grid, num_script_tokens=16)
    stages = tuple(stage_of(name, mixture) for name in STAGES)
    return dataclasses.replace(config, **{"grid": grid, "stages": stages, **changes})


def stage_of(name, mixture, **changes):
    return StageConfig(name, mixture, num_steps=2, batch_size=2, **changes)


def with_rope_scaling(kind, factor):
    return dataclasses.replace(tiny_config().model, rope_scaling=RopeScalingConfig(kind, factor))


def problems_of(config, workdir, phases=None) -> list[str]:
    with pytest.raises(UserErrors) as raised:
        check_run(config, workdir, phases)
    return raised.value.messages


def test_a_sound_run_is_summarised_and_leaves_no_files(data_dir, tmp_path, capsys):
    check_run(config_of(data_dir), tmp_path / "run")
    printed = capsys.readouterr().out
    assert "clips: 7 records, 7 checked, 1 of them cannot be used" in printed
    assert "clips:bad: its video cannot be decoded" in printed
    assert "of checkpoints" in printed
    assert not (tmp_path / "run").exists()


def test_everything_is_found_at_once(data_dir, tmp_path):
    config = config_of(data_dir)
    model = dataclasses.replace(
        config.model,
        script_tokenizer=str(tmp_path / "tokenizer.json"),
        backbone="nowhere:Backbone",
        compute_dtype="float23",
    )
    stages = (config.stages[0], stage_of("soundtrack", (SourceConfig("clisp"),), drop=("vidoe",)))
    checkpoint = dataclasses.replace(config.checkpoint, save_every_steps=0, bundle_dtype="int8")
    config = dataclasses.replace(
        config, model=model, stages=stages, checkpoint=checkpoint, model_from=str(tmp_path), log_every_steps=0
    )
    config = with_training(config, "background", mixture=(SourceConfig("clips"), SourceConfig("clips")))
    text = "\n".join(problems_of(config, tmp_path))
    for expected in (
        "tokenizer.json: no such tokenizer file",
        "config.model.backbone=nowhere:Backbone: cannot import nowhere",
        "model.compute_dtype: 'float23' is none of",
        "checkpoint.save_every_steps: is 0, expected at least 1",
        "checkpoint.bundle_dtype: 'int8' is none of",
        "log_every_steps: is 0, expected at least 1",
        f"model_from={tmp_path}: neither a bundle nor a run",
        "streams.background.codec.training.mixture: 'clips' is there twice",
    ):
        assert expected in text
    assert text.count("\n") == 7


def test_a_typo_in_the_last_mixture_is_found(data_dir, tmp_path):
    config = config_of(data_dir)
    stages = (config.stages[0], stage_of("soundtrack", (*CLIPS, SourceConfig("unlabeled")), drop=()))
    (message,) = problems_of(dataclasses.replace(config, stages=stages), tmp_path)
    assert message.startswith("stage 'soundtrack': mixture: 'unlabeled': no such dataset")
    assert "'unlabelled'" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"gradient_accumulation_steps": 3},
            "batch_size 2 is not a multiple of gradient_accumulation_steps 3",
        ),
        ({"stages": ()}, "stages: is empty"),
        ({"stages": (stage_of("a", CLIPS), stage_of("a", CLIPS))}, "'a' is there twice"),
        ({"stages": (stage_of("a", CLIPS, drop=("vidoe",)),)}, "drop: 'vidoe' is none of video"),
        (
            {"stages": (stage_of("a", CLIPS, freeze=("nothing/.*",)),)},
            "'nothing/.\\*' matches no parameter",
        ),
        (
            {"stages": (stage_of("a", CLIPS, use_pretrained_video_encoder=True),)},
            "video_training.num_steps=0",
        ),
        ({"stages": (stage_of("a", CLIPS, drop=("speech", "background")),)}, "speech or background stem"),
        ({"model": with_rope_scaling("llama3", 0.0)}, "model.rope_scaling: factor is 0.0"),
        (
            {"model": with_rope_scaling("yarn", 4.0)},
            "model.rope_scaling.kind: 'yarn' is none of none, linear, llama3",
        ),
        ({"init_from": InitFromConfig("/nowhere")}, "init_from.backbone=/nowhere: no such folder"),
        ({"codecs_from": "/nowhere"}, "=/nowhere: no such folder"),
        ({"model_from": "/nowhere"}, "=/nowhere: no such folder"),
    ],
)
def test_what_would_fail_later_is_refused(data_dir, tmp_path, changes, message):
    text = "\n".join(problems_of(config_of(data_dir, **changes), tmp_path))
    assert message.replace("\\", "") in text


def test_a_language_model_is_compared_with_the_backbone(data_dir, tmp_path, capsys):
    folder = language_models.write_folder(tmp_path / "hub", "llama")
    public = language_models.config_of("llama", folder)
    fitting = dataclasses.replace(public.model, script_vocab_size=259)
    config = config_of(data_dir, model=fitting, init_from=public.init_from)
    check_run(config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "init_from.backbone: model.embed_tokens.weight [37, 24] not taken" in printed
    assert "init_from.backbone: llama, 2 layers: 19 tensors initialise backbone" in printed
    assert "init_from.backbone: not used: lm_head.weight" in printed
    model = dataclasses.replace(fitting, mlp_width=48, rms_norm_eps=1e-6)
    messages = problems_of(dataclasses.replace(config, model=model, model_from=str(tmp_path)), tmp_path)
    text = "\n".join(messages)
    assert f"model_from={tmp_path} initialises the backbone as well; leave one of them out" in text
    assert "but config.model.mlp_width is 48" in text and "but config.model.rms_norm_eps is 1e-06" in text
    assert messages[-1].endswith(
        "fits with all of --config.model.mlp_width=40 --config.model.rms_norm_eps=1e-05"
    )


def test_parts_without_labels_name_the_keys_that_switch_them_off(data_dir, tmp_path):
    unlabelled = (SourceConfig("unlabelled"),)
    messages = problems_of(config_of(data_dir, unlabelled), tmp_path)
    keys = [message.rpartition("--config.")[2].partition("=")[0] for message in messages]
    assert keys == [
        "streams.speech.codec.acoustics_num_blocks",
        "streams.speech.codec.phonetic_dim",
        "streams.background.codec.acoustics_num_blocks",
        "model.num_acoustics_bins",
        "loss.alignment_weight",
    ]
    assert "none of the 4 records checked of unlabelled has events.speech.phonemes" in messages[1]
    config = config_of(data_dir, unlabelled)
    for stream in ("speech", "background"):
        config = with_codec(config, stream, acoustics_num_blocks=0, phonetic_dim=0)
    model = dataclasses.replace(config.model, num_acoustics_bins=0)
    loss = dataclasses.replace(config.loss, alignment_weight=0.0)
    check_run(dataclasses.replace(config, model=model, loss=loss), tmp_path)
    # One labelled dataset in the mixture is enough.
    check_run(config_of(data_dir, (*unlabelled, *CLIPS)), tmp_path)


def test_parts_of_a_bundle_need_no_labels_and_its_settings_must_fit(data_dir, tmp_path, capsys):
    config = config_of(data_dir, (SourceConfig("unlabelled"),))
    shapes = abstract_params(config)
    save_bundle(tmp_path / "bundle", config, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), {})
    bundle = str(tmp_path / "bundle")
    config = dataclasses.replace(config, codecs_from=bundle, model_from=bundle)
    check_run(config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert (
        "note: no stage has acoustics: what model.num_acoustics_bins trains stays as in model_from" in printed
    )
    assert "note: no stage has word times" in printed
    model = dataclasses.replace(config.model, width=64)
    wider = dataclasses.replace(with_codec(config, "speech", num_codebooks=2), model=model)
    messages = problems_of(wider, tmp_path / "run")
    assert any("its streams.speech.codec.num_codebooks is 3" in message for message in messages)
    assert any("of another model size" in message for message in messages)


def test_a_stream_that_no_stage_predicts_is_refused(data_dir, tmp_path, capsys):
    config = config_of(data_dir)
    stages = tuple(stage_of(name, (SourceConfig("no_speech"),)) for name in STAGES)
    loss = dataclasses.replace(config.loss, alignment_weight=0.0)
    config = dataclasses.replace(config, stages=stages, loss=loss)
    (message,) = problems_of(config, tmp_path)
    assert (
        message.startswith("loss.speech_weight: none of the 4 records") and "loss.speech_weight=0" in message
    )
    check_run(dataclasses.replace(config, loss=dataclasses.replace(loss, speech_weight=0.0)), tmp_path)
    assert "note: no stage has voice: the model does not learn to follow it" in capsys.readouterr().out


def test_a_codec_whose_dataset_lacks_the_stem_is_refused(data_dir, tmp_path):
    config = with_training(config_of(data_dir), "speech", mixture=(SourceConfig("no_speech"),))
    text = "\n".join(problems_of(config, tmp_path))
    assert "no_speech:s" in text and "has no speech stem" in text


def test_too_many_bad_records_are_named(data_dir, tmp_path):
    stages = (stage_of("soundtrack", (*CLIPS, SourceConfig("too_long"))),)
    (message,) = problems_of(config_of(data_dir, stages=stages), tmp_path)
    assert message.startswith("too_long: 5 of its 5 records cannot be used")
    assert "its script has" in message and "grid.num_script_tokens=16" in message


def test_phases_that_are_not_wanted_need_no_data(data_dir, tmp_path):
    config = config_of(data_dir)
    stages = (*config.stages, stage_of("gone", (SourceConfig("clisp"),)))
    config = dataclasses.replace(config, stages=stages)
    check_run(config, tmp_path, ["codec_tokens_speech"])
    (message,) = problems_of(config, tmp_path, ["codec_tokens_speech", "text_speech"])
    assert "text_speech: builds on codec_tokens_background, which is not trained yet" in message
    (message,) = problems_of(config, tmp_path, ["codec_tokens"])
    assert "--phases codec_tokens: no such phase" in message


def test_the_working_directory_is_checked(data_dir, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    (message,) = problems_of(config_of(data_dir), file / "run")
    assert f"{file} is a file" in message
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    (message,) = problems_of(config_of(data_dir), tmp_path)
    assert "checkpoints need about" in message and "0.0 MB are free" in message


def test_the_command_checks_and_trains_nothing(data_dir, tmp_path, capsys):
    config = pathlib.Path(tmp_path) / "config.py"
    config.write_text(
        "from tests.curriculum.preflight.test_run import config_of\n"
        f"def get_config():\n    return config_of({data_dir!r})\n"
    )
    command = ["train", "--config", str(config), "--workdir", str(tmp_path / "run"), "--check"]
    assert main(command) == 0
    assert "nothing was trained" in capsys.readouterr().out
    assert main([*command, "--config.log_every_steps=0", "--config.stages.1.mixture.0.name=clisp"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 2 and error.count("dualdub: ") == 2
    assert not (tmp_path / "run").exists()

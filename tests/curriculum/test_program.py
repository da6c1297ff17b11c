"""`dualdub train` from its command to its bundle, on the tiny dataset; and what it refuses."""

import json

import jax
import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle, read_bundle_header
from dualdub_jax.config import load_config
from dualdub_jax.curriculum.program import dependents


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, tiny_data_dir):
    """The miniature of the default run, on the tests' own films."""
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(
        "import dualdub_jax.configs.puppet\n"
        "def get_config():\n"
        "    config = dualdub_jax.configs.puppet.get_config('tiny')\n"
        f"    config.data_dir = {tiny_data_dir!r}\n"
        "    for stream in (config.streams.speech, config.streams.background):\n"
        "        training = stream.codec.training\n"
        "        training.mixture = [{'name': 'tiny_films/soundtrack'}]\n"
        "        training.update({'num_steps': 3, 'vocoder_num_steps': 2, 'crop_frames': 8})\n"
        "    config.video_training.num_steps = 2\n"
        "    config.video_training.mixture = [{'name': 'tiny_films/soundtrack'}]\n"
        "    for stage in config.stages:\n"
        "        stage['num_steps'] = 2\n"
        "        for source in stage['mixture']:\n"
        "            source['name'] = source['name'].replace('puppet_stage', 'tiny_films')\n"
        "    return config\n"
    )
    return str(path)


@pytest.mark.slow
def test_trains_everything_and_leaves_a_bundle(tmp_path, config_file, capsys):
    workdir = tmp_path / "run"
    command = ["train", "--config", config_file, "--workdir", str(workdir)]
    assert main([*command, "--phases", "codec_tokens_speech"]) == 0
    assert "the bundle is written when all are" in capsys.readouterr().out
    assert main(command) == 0
    config, params = load_bundle(workdir / "bundle")
    assert set(params) == {"model", "speech_codec", "background_codec"}
    assert config.name == "puppet_tiny"
    assert read_bundle_header(workdir / "bundle").training["phases"][-1] == "soundtrack"
    # The same again, from the checkpoints.
    assert main(["export", str(workdir), str(tmp_path / "exported")]) == 0
    exported_config, exported = load_bundle(tmp_path / "exported")
    assert exported_config == config
    jax.tree.map(np.testing.assert_array_equal, exported, params)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    assert phases == [
        "codec_tokens_speech",
        "codec_tokens_background",
        "codec_vocoder_speech",
        "codec_acoustics_speech",
        "codec_vocoder_background",
        "codec_acoustics_background",
        "video_encoder",
        "text_speech",
        "video_audio",
        "soundtrack",
    ]
    # Again: everything is done, nothing is trained.
    assert main(command) == 0
    assert len((workdir / "metrics.jsonl").read_text().splitlines()) == len(lines)
    # Refused: the folder is still that of the run that was trained in it.
    recorded = (workdir / "run_config.json").read_text()
    assert main([*command, "--config.seed=5"]) == 2
    assert (workdir / "run_config.json").read_text() == recorded


def test_the_phases_that_start_from_a_result_are_known():
    config = load_config("puppet:tiny")
    stages = ["text_speech", "video_audio", "soundtrack"]
    decoders = ["codec_vocoder_speech", "codec_acoustics_speech"]
    assert dependents(config, "codec_tokens_speech") == [*decoders, "video_encoder", *stages]
    assert dependents(config, "codec_vocoder_speech") == []
    assert dependents(config, "video_encoder") == stages[1:]
    assert dependents(config, "text_speech") == stages[1:]
    assert dependents(config, "soundtrack") == []
    assert dependents(load_config("casp_puppet"), "casp") == []


def test_more_steps_of_a_phase_that_others_started_from_are_refused(tmp_path, config_file, capsys):
    for name, step in (("codec_tokens_speech", 3), ("codec_vocoder_speech", 2)):
        (tmp_path / name / str(step)).mkdir(parents=True)
    error = _refused(
        capsys, "--config", config_file, "--workdir", str(tmp_path), "--extend",
        "--config.streams.speech.codec.training.num_steps=9",
    )  # fmt: skip
    assert "codec_tokens_speech has 3 of 9 steps, but codec_vocoder_speech started from its result" in error
    assert f"remove {tmp_path}/codec_vocoder_speech" in error


def _refused(capsys, *arguments, num_problems=1) -> str:
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == num_problems
    return error


def test_an_unknown_config_key_names_the_nearest(tmp_path, config_file, capsys):
    error = _refused(capsys, "--config", config_file, "--workdir", str(tmp_path), "--config.model.widht=64")
    assert "config.model.widht: no such config key; the nearest one is config.model.width" in error


def test_an_unknown_phase_names_those_there_are(tmp_path, config_file, capsys):
    error = _refused(capsys, "--config", config_file, "--workdir", str(tmp_path), "--phases", "stage4")
    assert "stage4: no such phase" in error
    assert "soundtrack" in error


def test_missing_data_names_the_command_that_makes_it(tmp_path, capsys):
    error = _refused(
        capsys, "--config", "configs/puppet.py:tiny", "--workdir", str(tmp_path),
        f"--config.data_dir={tmp_path}/nothing", num_problems=3,
    )  # fmt: skip
    assert error.count("dualdub data build puppet_stage --out") == 3


def test_a_phase_whose_predecessor_is_not_trained_names_it(tmp_path, config_file, capsys):
    error = _refused(
        capsys, "--config", config_file, "--workdir", str(tmp_path), "--phases", "codec_vocoder_speech"
    )
    assert "codec_vocoder_speech: builds on codec_tokens_speech, which is not trained yet" in error

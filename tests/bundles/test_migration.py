"""Bundles of format 1: their config keys and parameter paths of then are read as those of today."""

import copy
import json

import jax
import numpy as np
import pytest
from flax import traverse_util

from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_header, save_bundle
from dualdub_jax.bundles.migration import parameter_renamer, upgrade_config
from dualdub_jax.checkpoints import safetensors_tree
from dualdub_jax.config import from_dict, to_dict
from dualdub_jax.errors import UserError
from tests.tiny import tiny_config, with_codec

# A config as format 1 wrote it, of every key that has another name or place today.
OLD = {
    "name": "old",
    "grid": {"sample_rate_hz": 16_000, "frame_rate_hz": 25, "num_frames": 12},
    "speech_codec": {"num_codebooks": 4, "voice_dim": 8, "room_num_blocks": 2, "room_width": 16},
    "background_codec": {"num_codebooks": 2, "tonal_source": "grid", "room_kernel_size": 3},
    "speech_codec_training": {
        "mixture": [{"name": "films/a", "weight": 2.0}],
        "num_steps": 7,
        "room_num_steps": 5,
        "vocoder_adversary_optimizer": {"learning_rate": 0.5},
    },
    "background_codec_training": {"room_batch_size": 3, "room_crop_frames": 9},
    "model": {
        "num_room_bins": 5,
        "num_voice_vectors": 2,
        "voice_width": 16,
        "aligner": {
            "mutual": "dualdub_jax.models.aligner:MutualAligner",
            "noncausal": "dualdub_jax.models.aligner:NonCausalAligner",
            "num_heads": 2,
        },
    },
    "loss": {"room_weight": 0.2, "reading_weight": 0.4},
    "stages": [{"name": "last", "drop": ["room", "voice"], "takes_video_encoder": True}],
}


def test_a_config_of_format_1_is_read_with_the_keys_of_today():
    config = from_dict(upgrade_config(copy.deepcopy(OLD), 1, "old"))
    speech, background = config.streams.speech.codec, config.streams.background.codec
    assert (speech.kind, speech.num_codebooks, speech.speaker_dim) == ("mel_rvq", 4, 8)
    assert (speech.acoustics_num_blocks, speech.acoustics_width) == (2, 16)
    assert (speech.sample_rate_hz, speech.frame_rate) == (16_000, 25)
    assert (speech.training.mixture[0].name, speech.training.mixture[0].weight) == ("films/a", 2.0)
    assert (speech.training.num_steps, speech.training.acoustics_num_steps) == (7, 5)
    assert speech.training.vocoder_discriminator_optimizer.learning_rate == 0.5
    assert (background.num_codebooks, background.tonal_source) == (2, "grid")
    assert background.acoustics_kernel_size == 3
    assert (background.training.acoustics_batch_size, background.training.acoustics_crop_frames) == (3, 9)
    model = config.model
    assert (model.num_acoustics_bins, model.num_speaker_vectors, model.speaker_width) == (5, 2, 16)
    assert (model.aligner.kind, model.aligner.num_heads) == ("grid", 2)
    assert (config.loss.acoustics_weight, config.loss.alignment_weight) == (0.2, 0.4)
    assert config.stages[0].drop == ("acoustics", "voice")
    assert config.stages[0].use_pretrained_video_encoder


def test_codecs_of_format_1_take_the_rates_of_their_grid():
    old = copy.deepcopy(OLD)
    old["grid"] |= {"sample_rate_hz": 24_000, "frame_rate_hz": 50}
    config = from_dict(upgrade_config(old, 1, "old"))
    for stream in ("speech", "background"):
        assert config.streams[stream].codec.sample_rate_hz == 24_000
        assert config.streams[stream].codec.frame_rate == 50


def test_a_config_of_today_is_left_alone():
    values = to_dict(tiny_config())
    assert upgrade_config(copy.deepcopy(values), 2, "new") == values


@pytest.mark.parametrize("key", ["mutual", "noncausal"])
def test_the_aligner_of_a_fork_is_refused(key):
    old = copy.deepcopy(OLD)
    old["model"]["aligner"][key] = "fork.aligner:Windowed(window_frames=3)"
    with pytest.raises(
        UserError, match=r"^runs/a: .*aligner.*fork.aligner:Windowed.* format 1; .*config.model.aligner.kind"
    ):
        upgrade_config(old, 1, "runs/a")


# Prefixes of parameter paths, of today and of format 1.
PATHS = {
    "model/aligner/noncausal/": "model/video_aligner/",
    "model/aligner/causal/": "model/stream_aligner/",
    "model/speaker_encoder/": "model/voice_encoder/",
    "model/acoustics_encoder/": "model/room_encoder/",
    "model/acoustics_head/": "model/room_head/",
    "speech_codec/speaker_encoder/": "speech_codec/voice_reader/",
    "speech_codec/acoustics_renderer/": "speech_codec/room_renderer/",
}


def _of_format_1(path: str) -> str:
    for new, old in PATHS.items():
        if path.startswith(new):
            return path.replace(new, old, 1)
    return path


@pytest.fixture(scope="module")
def config():
    sizes = {"speaker_dim": 6, "acoustics_num_blocks": 1, "acoustics_width": 8, "acoustics_kernel_size": 3}
    return with_codec(tiny_config(), "speech", **sizes)


def test_every_parameter_path_of_format_1_leads_to_that_of_today(config):
    paths = list(traverse_util.flatten_dict(abstract_params(config), sep="/"))
    for prefix in PATHS:
        assert any(path.startswith(prefix) for path in paths), prefix
    old, new = parameter_renamer(1), parameter_renamer(2)
    for path in paths:
        assert old(_of_format_1(path)) == path == new(path)


@pytest.mark.parametrize("file_format", ["orbax", "safetensors"])
def test_a_bundle_with_the_paths_of_format_1_loads(tmp_path, config, file_format):
    flat = traverse_util.flatten_dict(abstract_params(config), sep="/")
    flat = {path: jax.numpy.full(x.shape, i, x.dtype) for i, (path, x) in enumerate(flat.items())}
    # Written as today, then turned into what format 1 wrote.
    save_bundle(tmp_path / "old", config, _nested(flat), {"seed": 3}, file_format=file_format)
    header = json.loads((tmp_path / "old" / "config.json").read_text())
    (tmp_path / "old" / "config.json").write_text(json.dumps(header | _header_of_format_1(header["config"])))
    renamed = _nested({_of_format_1(path): array for path, array in flat.items()})
    if file_format == "safetensors":
        for file in (tmp_path / "old").glob("*.safetensors*"):
            file.unlink()
        safetensors_tree.write(tmp_path / "old", renamed)
    else:
        save_bundle(tmp_path / "renamed", config, renamed, {})
        (tmp_path / "old" / "params").rename(tmp_path / "unused")
        (tmp_path / "renamed" / "params").rename(tmp_path / "old" / "params")
    loaded_config, params = load_bundle(tmp_path / "old")
    assert loaded_config == config
    assert read_bundle_header(tmp_path / "old").version == 1
    loaded = traverse_util.flatten_dict(params, sep="/")
    assert set(loaded) == set(flat)
    for path, array in flat.items():
        np.testing.assert_array_equal(loaded[path], array, err_msg=path)


def _nested(flat: dict) -> dict:
    return traverse_util.unflatten_dict(flat, sep="/")


def _header_of_format_1(values: dict) -> dict:
    """`format_version` and `config` as format 1 had them: codecs beside the model, other names."""
    values = copy.deepcopy(values)
    del values["video_features"]
    for stream, group in values.pop("streams").items():
        codec = group["codec"]
        for key in ("kind", "sample_rate_hz", "frame_rate_hz"):
            del codec[key]
        values[f"{stream}_codec_training"] = codec.pop("training")
        values[f"{stream}_codec"] = codec
    model = values["model"]
    for key in ("backbone", "script_encoder", "speaker_encoder"):
        del model[key]
    for key in ("kind", "feature_dim"):
        model["video"].pop(key)
    model["aligner"] = {
        "mutual": "dualdub_jax.models.aligner:MutualAligner",
        "noncausal": "dualdub_jax.models.aligner:NonCausalAligner",
        **{key: value for key, value in model["aligner"].items() if key != "kind"},
    }
    text = json.dumps(values)
    for new, old in {
        "acoustics_num": "room_num",
        "acoustics_width": "room_width",
        "acoustics_kernel": "room_kernel",
        "acoustics_batch": "room_batch",
        "acoustics_crop": "room_crop",
        "acoustics_optimizer": "room_optimizer",
        "acoustics_weight": "room_weight",
        "alignment_weight": "reading_weight",
        "num_acoustics_bins": "num_room_bins",
        "speaker_dim": "voice_dim",
        "num_speaker_vectors": "num_voice_vectors",
        "speaker_width": "voice_width",
        "use_pretrained_video_encoder": "takes_video_encoder",
        "vocoder_discriminator_optimizer": "vocoder_adversary_optimizer",
    }.items():
        text = text.replace(f'"{new}', f'"{old}')
    return {"format_version": 1, "config": json.loads(text)}

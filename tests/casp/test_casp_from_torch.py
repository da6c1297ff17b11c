"""Converting: names one by one, files without unpickling, errors that say what to do."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from dualdub_jax.casp import bundle
from dualdub_jax.casp.convert import __main__ as convert
from dualdub_jax.casp.convert.beats_from_torch import beats_config
from dualdub_jax.casp.convert.casp_from_torch import casp_from_torch
from dualdub_jax.config import BeatsConfig
from dualdub_jax.errors import UserError
from tests.convert.ports import write_torch_file

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "beats.npz"


@pytest.fixture(scope="module")
def weights():
    prefix = "weights/"
    with np.load(GOLDEN) as file:
        return {name[len(prefix) :]: x for name, x in file.items() if name.startswith(prefix)}


def test_sizes_are_read_off_the_tensors(weights):
    assert beats_config(weights, "model.audio_encoder.") == BeatsConfig(
        patch_width=12, width=16, num_layers=2, num_heads=2, mlp_width=24,
        conv_kernel_size=16, conv_num_groups=4, num_buckets=16,
    )  # fmt: skip


def test_a_missing_and_a_leftover_name_are_listed(weights):
    lacking = {name: x for name, x in weights.items() if name != "model.audio_proj.1.bias"}
    with pytest.raises(UserError, match=r"x\.ckpt: lacks model\.audio_proj\.1\.bias"):
        casp_from_torch(lacking, "x.ckpt")
    more = weights | {"model.extra.weight": np.zeros(3), "model.speech_encoder.predictor.bias": np.zeros(3)}
    with pytest.raises(
        UserError, match=r"model\.extra\.weight, model\.speech_encoder\.predictor\.bias, which"
    ):
        casp_from_torch(more, "x.ckpt")


def test_layers_that_do_not_share_their_positions_are_refused(weights):
    name = "model.speech_encoder.encoder.layers.1.self_attn.relative_attention_bias.weight"
    assert name in weights  # torch lists the shared table once a layer
    with pytest.raises(UserError, match="different relative_attention_bias"):
        casp_from_torch(weights | {name: weights[name] + 1}, "x.ckpt")


def test_both_names_of_torchs_weight_norm_are_known(weights):
    old, new = ("weight_g", "weight_v"), ("original0", "original1")
    renamed = {
        name.replace(f"pos_conv.0.{old[0]}", f"pos_conv.0.parametrizations.weight.{new[0]}").replace(
            f"pos_conv.0.{old[1]}", f"pos_conv.0.parametrizations.weight.{new[1]}"
        ): x
        for name, x in weights.items()
    }
    assert set(renamed) != set(weights)
    one, two = casp_from_torch(weights, "x")[1], casp_from_torch(renamed, "x")[1]
    assert bundle.params_sha256(one) == bundle.params_sha256(two)


def test_other_transformers_are_refused(weights):
    with pytest.raises(UserError, match="deep_norm=False; only True"):
        beats_config(weights, "model.audio_encoder.", {"deep_norm": False})
    with pytest.raises(UserError, match=r"no BEATs encoder found: names such as patch_embedding\.weight"):
        beats_config({"weight": np.zeros(3)})


def test_a_safetensors_copy_becomes_a_folder_that_loads(weights, tmp_path, capsys):
    file = tmp_path / "casp.safetensors"
    safetensors.numpy.save_file(weights, file)
    assert convert.main(["--checkpoint", str(file), "--out", str(tmp_path / "out")]) == 0
    assert "wrote" in capsys.readouterr().out
    _, wanted = casp_from_torch(weights, "x")
    _, params = bundle.load(tmp_path / "out", "casp")
    assert bundle.params_sha256(params) == bundle.params_sha256(wanted)
    header = json.loads((tmp_path / "out" / "config.json").read_text())
    assert header["origin"]["converted_from"] == "casp.safetensors"


def test_beats_alone_becomes_what_training_starts_from(weights, tmp_path):
    prefix = "model.audio_encoder."
    file = tmp_path / "beats.safetensors"
    encoder = {name[len(prefix) :]: x for name, x in weights.items() if name.startswith(prefix)}
    safetensors.numpy.save_file(encoder, file)
    convert.convert_beats(file, tmp_path / "out")
    config, params = bundle.load(tmp_path / "out", "beats")
    assert config == beats_config(encoder)
    whole = casp_from_torch(weights, "x")[1]["background"]["encoder"]
    assert bundle.params_sha256(params) == bundle.params_sha256(whole)
    with pytest.raises(UserError, match="holds beats weights, expected casp weights"):
        bundle.load(tmp_path / "out", "casp")


def _refused(capsys, *arguments) -> str:
    assert convert.main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_files_that_are_none_are_named(tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    missing = tmp_path / "none.ckpt"
    assert f"{missing}: no such file" in _refused(capsys, "--checkpoint", missing, *out)
    text = tmp_path / "text.safetensors"
    text.write_text("not tensors")
    assert "not readable as safetensors" in _refused(capsys, "--beats", text, *out)


def test_a_lightning_checkpoint_is_read_without_torch(tmp_path, capsys, weights):
    file = tmp_path / "x.ckpt"
    write_torch_file(file, {"state_dict": weights, "epoch": 31, "hyper_parameters": {"d_model": 768}})
    convert.convert_casp(file, tmp_path / "out")
    _, wanted = casp_from_torch(weights, "x")
    _, params = bundle.load(tmp_path / "out", "casp")
    assert bundle.params_sha256(params) == bundle.params_sha256(wanted)
    write_torch_file(file, {"optimizer": {}})
    assert "expected a state dict" in _refused(capsys, "--checkpoint", file, "--out", tmp_path / "out2")
    file.write_bytes(b"stands for a checkpoint")
    assert "is no file of torch.save" in _refused(capsys, "--beats", file, "--out", tmp_path / "out2")

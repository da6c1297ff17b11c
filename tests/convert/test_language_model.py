"""Folders of public language models: every layout reads alike, and what does not fit is named."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from dualdub_jax.apps.cli import main
from dualdub_jax.config import ModelConfig
from dualdub_jax.convert.language_model import backbone_tensors, check_fit, open_language_model
from dualdub_jax.convert.language_model_config import settings_of
from dualdub_jax.convert.tensor_files import list_tensors
from dualdub_jax.errors import UserError, UserErrors
from tests.convert.language_models import NAMES, bfloat16, config_of, settings, weights, write_folder
from tests.convert.ports import write_torch_file


def _read(tensor):
    return tensor.read((slice(None),) * len(tensor.shape))


def _refused(folder) -> str:
    with pytest.raises(UserError) as error:
        open_language_model(folder, "hub")
    text = str(error.value)
    assert text.startswith(("init_from.backbone=hub", str(folder))) and "\n" not in text
    return text


def test_every_layout_has_the_same_tensors(tmp_path):
    bare = {name.removeprefix("model."): x for name, x in weights("llama").items() if "lm_head" not in name}
    float64 = {name: x.astype(np.float64) for name, x in weights("llama").items()}
    folders = {
        "one": {},
        "three": {"num_files": 3},
        "torch": {"is_torch": True, "state": float64},
        "torch_two": {"is_torch": True, "num_files": 2},
        "bare": {"state": bare},
    }
    for name, layout in folders.items():
        layout.setdefault("state", weights("llama"))
        if "torch" in name:  # of which the test writes some dtypes only
            layout["state"] = {key: x.astype(np.float32) for key, x in layout["state"].items()}
        public = open_language_model(write_folder(tmp_path / name, "llama", **layout), "hub")
        assert set(public.tensors) == set(bare)
        for key, x in bare.items():
            assert public.tensors[key].shape == x.shape
            np.testing.assert_array_equal(_read(public.tensors[key]), x)
        assert public.unused == (() if name == "bare" else ("lm_head.weight",))
        assert public.named("norm.weight") == ("" if name == "bare" else "model.") + "norm.weight [24]"
        second = backbone_tensors(public, "layers/mlp/down/kernel")[1]
        np.testing.assert_array_equal(_read(second), bare["layers.1.mlp.down_proj.weight"])


def test_slices_of_files_are_those_of_the_arrays(tmp_path):
    x = np.arange(60, dtype=np.float32).reshape(10, 6)
    state = {"a": x, "b": x[0], "c": np.array(3, np.float32), "d": np.zeros((0, 4), np.float32)}
    write_torch_file(tmp_path / "x.bin", state)
    safetensors.numpy.save_file(state, tmp_path / "x.safetensors")
    for file in ("x.bin", "x.safetensors"):
        tensors = list_tensors(tmp_path / file)
        assert {name: tensor.shape for name, tensor in tensors.items()} == {
            name: value.shape for name, value in state.items()
        }
        for rows, columns in ((slice(2, 5), slice(None)), (slice(None), slice(1, 3)), (slice(5, 6),) * 2):
            np.testing.assert_array_equal(tensors["a"].read((rows, columns)), x[rows, columns])
        np.testing.assert_array_equal(tensors["b"].read((slice(1, 4),)), x[0, 1:4])
        assert tensors["c"].read(()) == 3
    assert _read(list_tensors(tmp_path / "x.bin")["d"]).shape == (0, 4)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_that_is_cut_after_it_was_listed_is_named(tmp_path, file):
    folder = write_folder(tmp_path / "hub", "llama", is_torch=file.endswith("bin"))
    tensors = list_tensors(folder)
    (folder / file).write_bytes((folder / file).read_bytes()[:3000])
    last = list(tensors.values())[-1]
    with pytest.raises(UserError, match=rf"{file}: this checkpoint cannot be read .*download it again"):
        _read(last)


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_the_same_as_older_versions_write_them(name):
    new = settings(name)
    old = dict(new)
    rope = dict(old.pop("rope_parameters"))
    old["rope_theta"], kind = rope.pop("rope_theta"), rope.pop("rope_type")
    old["rope_scaling"] = None if kind == "default" else {**rope, "type": kind}
    if old["num_key_value_heads"] == old["num_attention_heads"]:
        del old["num_key_value_heads"]
    if old.get("head_dim") == old["hidden_size"] // old["num_attention_heads"]:
        del old["head_dim"]
    assert settings_of(old) == settings_of(new)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma2"}, "is of the kind 'gemma2', expected one of llama, qwen2, qwen3"),
        ({"model_type": None, "format_version": 2}, "is a bundle of DualDub; pass it as --config.model_from"),
        ({"model_type": None, "kind": "dac"}, "is of the kind 'dac'"),
        ({"hidden_act": "gelu"}, 'its hidden_act is "gelu", which the backbone does not support'),
        ({"attention_bias": True}, "its attention_bias is true"),
        ({"mlp_bias": True}, "its mlp_bias is true"),
        ({"quantization_config": {"quant_method": "gptq"}}, 'its quantization_config is {"quant_method"'),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 'is {"rope_type": "yarn"'),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, '"dynamic"'),
        ({"rope_parameters": {"rope_type": "linear"}}, "its config.json cannot be read (KeyError: 'factor')"),
        ({"partial_rotary_factor": 0.5}, "its partial_rotary_factor is 0.5"),
        ({"hidden_size": None}, "its config.json cannot be read (KeyError: 'hidden_size')"),
        ({"num_hidden_layers": "2"}, "its config.json cannot be read (TypeError"),
        ({"num_attention_heads": 0}, "its config.json cannot be read (ZeroDivisionError"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "holds model.layers.1.input_layernorm.weight"),
        (
            {"intermediate_size": 44},
            "model.layers.0.mlp.gate_proj.weight [40, 24] is [44, 24] by its config.json",
        ),
        ({"model_type": "qwen2"}, "lacks model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_models_that_the_backbone_cannot_be_are_refused(tmp_path, changes, message):
    assert message in _refused(write_folder(tmp_path / "hub", "llama", **changes))


def test_tensors_without_a_place_are_refused(tmp_path):
    state = weights("llama")
    biased = state | {"model.layers.0.self_attn.o_proj.bias": np.zeros(24, np.float32)}
    assert "holds model.layers.0.self_attn.o_proj.bias, for which" in _refused(
        write_folder(tmp_path / "biased", "llama", state=biased)
    )
    packed = state | {"model.layers.1.mlp.up_proj.weight": np.zeros((40, 24), np.int8)}
    assert "model.layers.1.mlp.up_proj.weight [40, 24] is of dtype I8" in _refused(
        write_folder(tmp_path / "packed", "llama", state=packed)
    )
    old = state | {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32) for i in (0, 1)}
    public = open_language_model(write_folder(tmp_path / "old", "llama", state=old), "hub")
    assert len(public.unused) == 3


def test_other_folders_and_damaged_files_are_named(tmp_path):
    hub = write_folder(tmp_path / "hub", "qwen3", num_files=2)
    assert "is a file; name its folder" in _refused(hub / "config.json")
    assert "no such folder; download a model" in _refused(tmp_path / "princeton-nlp")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in _refused(tmp_path / "empty")
    (tmp_path / "empty" / "consolidated.00.pth").touch()
    assert "is in Meta's format, whose rotary positions are interleaved" in _refused(tmp_path / "empty")
    second = hub / "model-00002-of-00002.safetensors"
    content = second.read_bytes()
    second.write_bytes(content[:-10])
    assert second.name in _refused(hub)
    second.unlink()
    assert f"{second.name} of model.safetensors.index.json missing" in _refused(hub)
    second.write_bytes(content)
    (hub / "config.json").write_text("[1]")
    assert "its config.json cannot be read" in _refused(hub)
    torch = write_folder(tmp_path / "torch", "qwen3", is_torch=True)
    (torch / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00." * 9)
    assert "is no archive of torch.save" in _refused(torch)


def test_each_key_that_differs_is_named_with_both_values(tmp_path):
    folder = write_folder(tmp_path / "hub", "llama_linear", sliding_window=16, use_sliding_window=True)
    public = open_language_model(folder, "hub")
    check_fit(public, config_of("llama_linear", folder).model, 16)
    with pytest.raises(UserErrors) as errors:
        check_fit(public, dataclasses.replace(ModelConfig(), rms_norm_eps=1e-5), 17)
    *messages, flags, window = errors.value.messages
    assert len(messages) == 11
    text = "\n".join(messages)
    for expected in (
        "hub: its intermediate_size is 28 (model.layers.0.mlp.gate_proj.weight [28, 20]), but "
        "config.model.mlp_width is 512 (model.layers.0.mlp.gate_proj.weight [512, 192]); "
        "pass --config.model.mlp_width=28",
        "its num_hidden_layers is 2, but config.model.num_layers is 4; pass --config.model.num_layers=2",
        "its rms_norm_eps is 1e-06, but config.model.rms_norm_eps is 1e-05; pass --config.model.rms_norm_eps",
        "its rope_theta is 100000.0, but config.model.rope_theta is 10000.0; pass",
        "its rope_type is linear, but config.model.rope_scaling.kind is none; pass "
        "--config.model.rope_scaling.kind=linear",
        "its model_type is llama, but config.model.use_qk_norm is true "
        "(model.layers.0.self_attn.q_norm.weight [48]); pass --config.model.use_qk_norm=false",
    ):
        assert expected in text
    assert flags.count("--config.model.") == 11 and "its sliding_window is 16, but" in window
    given = [word.removeprefix("--config.model.").split("=") for word in flags.split() if "=" in word][1:]
    assert dict(given)["num_heads"] == "5" and dict(given)["rope_scaling.factor"] == "4.0"


def test_heads_of_the_same_total_width_are_told_apart(tmp_path):
    folder = write_folder(tmp_path / "hub", "qwen2")
    model = config_of("qwen2", folder).model
    with pytest.raises(UserErrors, match=r"num_attention_heads is 6 .*config.model.num_heads is 12 "):
        other = dataclasses.replace(model, num_heads=12, num_kv_heads=4, head_dim=3)
        check_fit(open_language_model(folder, "hub"), other, 16)


def test_convert_says_that_nothing_needs_to_be_converted(tmp_path, capsys):
    state = bfloat16(weights("qwen2"))
    folder = write_folder(tmp_path / "hub", "qwen2", num_files=2, state=state)
    for source in (folder, folder / "model-00001-of-00002.safetensors"):
        assert main(["convert", str(source), str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "is a language model, which needs no conversion" in error
        assert f"--config.init_from.backbone={folder}" in error
    assert not (tmp_path / "out").exists()
    shutil.rmtree(folder)


def test_a_hub_folder_of_links_is_read(tmp_path):
    """As the hub's cache has them: snapshots of links into a folder of blobs."""
    blobs = write_folder(tmp_path / "blobs", "qwen3")
    (tmp_path / "snapshot").mkdir()
    for file in blobs.iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert open_language_model(tmp_path / "snapshot", "hub").family == "qwen3"
    assert json.loads((tmp_path / "snapshot" / "config.json").read_text())["head_dim"] == 10

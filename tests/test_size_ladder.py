"""The size ladder: how many parameters each config has, without making any, and that each is whole."""

import importlib
import json
import pathlib

import jax
import pytest

from dualdub_jax.config import load_config
from dualdub_jax.curriculum.init_from import check_backbone
from dualdub_jax.layers.transformer import REMAT_POLICIES
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.tools.aot import num_parameters
from dualdub_jax.tools.topology import parse_topology
from tests.convert.sparse_language_model import write_sparse_folder

# config.json of the public models that configs can start from, as their pages have them.
_QWEN = {"vocab_size": 151_936, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu"}
_SIZES_1_3B = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16}
_SIZES_1_3B |= {"num_key_value_heads": 16, "intermediate_size": 5504}
PUBLIC = {
    "Sheared-LLaMA-1.3B": {
        **_SIZES_1_3B,
        **{"model_type": "llama", "vocab_size": 32_000, "rms_norm_eps": 1e-5, "hidden_act": "silu"},
        **{"max_position_embeddings": 4096, "pretraining_tp": 1, "rope_scaling": None},
    },
    "Qwen1.5-1.8B": {**_QWEN, **_SIZES_1_3B, "model_type": "qwen2", "use_sliding_window": False},
    "Qwen2.5-0.5B": {
        **_QWEN,
        **{"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14},
        **{"num_key_value_heads": 2, "intermediate_size": 4864, "tie_word_embeddings": True},
        **{"sliding_window": 32_768, "use_sliding_window": False},
    },
    "Qwen3-1.7B": {
        **_QWEN,
        **{"model_type": "qwen3", "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16},
        **{"num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 6144, "tie_word_embeddings": True},
    },
    "Qwen3-8B": {
        **_QWEN,
        **{"model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32},
        **{"num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12_288},
    },
}
CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
# Config -> parameters; exact, so that a change of size is a change that somebody wanted.
SIZES = {
    "puppet": 6_952_864,
    "small": 120_908_558,
    "base": 586_894_224,
    "large": 2_089_278_098,
    "xl": 8_575_383_074,
}
LADDER = ("small", "base", "large", "xl")


def _config(name: str):
    return load_config(str(CONFIGS / f"{name}.py"))


@pytest.mark.parametrize("name", SIZES)
def test_parameter_counts(name):
    assert num_parameters(_config(name)) == SIZES[name]


def test_the_backbone_of_base_has_the_sizes_of_qwen2_5_0_5b():
    config = _config("base")
    model = make_model(config)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), example_batch(config)))["params"]
    backbone = sum(leaf.size for leaf in jax.tree.leaves(shapes["backbone"]))
    script = shapes["script_encoder"]["embedding"].unbox()
    # 494,032,768 parameters in the public checkpoint, whose output layer is tied to this table.
    assert backbone + script.size == 494_032_768


# Of the whole checkpoint, as published; the first is the sum of its tensors.
PARAMETERS = {
    "Sheared-LLaMA-1.3B": 1_345_423_360,
    "Qwen1.5-1.8B": 1_836_828_672,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-8B": 8_190_735_360,
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_config_fits_the_public_model_as_the_page_says(name, tmp_path):
    """docs/weights.md has the config and the flags; the files are headers without content."""
    folder = write_sparse_folder(tmp_path / "hub", PUBLIC[name])
    page = (CONFIGS.parent / "docs" / "weights.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
    *_, config_name, keys = (cell.strip(" `") for cell in row.split("|")[:-1])
    flags = [f"model.{key}" for key in keys.split()]
    config = load_config(str(CONFIGS / f"{config_name}.py"), [*flags, f"init_from.backbone={folder}"])
    taken = check_backbone(config)
    shape = [PUBLIC[name]["vocab_size"], PUBLIC[name]["hidden_size"]]
    assert f"model.embed_tokens.weight {shape} initialises script_encoder/embedding" in taken
    is_tied = PUBLIC[name].get("tie_word_embeddings", False)
    assert ("not used: lm_head.weight" in taken) != is_tied
    public = json.loads((folder / "model.safetensors.index.json").read_text())
    assert public["metadata"]["total_parameters"] == PARAMETERS[name]


@pytest.mark.parametrize("name", LADDER)
def test_sizes_suit_the_hardware(name):
    config = _config(name)
    positions = config.grid.num_script_tokens + config.model.num_speaker_vectors + config.grid.num_frames
    assert positions % 128 == 0
    assert config.model.compute_dtype == "bfloat16"
    assert config.model.remat_policy in REMAT_POLICIES
    assert config.model.num_heads % config.model.num_kv_heads == 0
    assert [stage.name for stage in config.stages] == ["text_speech", "video_audio", "soundtrack"]
    for stage in config.stages:
        assert stage.batch_size % config.mesh.fsdp == 0


@pytest.mark.parametrize("name", LADDER)
def test_each_docstring_recommends_meshes(name):
    module = importlib.import_module(f"configs.{name}")
    assert "Recommended meshes:" in module.__doc__
    with pytest.raises(ValueError, match="unknown variant"):
        module.get_config("huge")


@pytest.mark.parametrize(
    ("name", "topology"), [("base", "v5e:4x4"), ("large", "v5e:8x8"), ("xl", "v5p:4x4x4")]
)
def test_the_mesh_of_a_config_fills_the_slice_that_it_names(name, topology):
    num_devices, mesh = parse_topology(topology).num_devices, _config(name).mesh
    assert topology in importlib.import_module(f"configs.{name}").__doc__
    assert num_devices % mesh.fsdp == 0
    for stage in _config(name).stages:
        assert stage.batch_size % num_devices == 0

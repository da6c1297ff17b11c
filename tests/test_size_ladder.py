"""The size ladder: how many parameters each config has, without making any, and that each is whole."""

import importlib
import pathlib

import jax
import pytest

from dualdub_jax.config import load_config
from dualdub_jax.layers.transformer import REMAT_POLICIES
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.tools.aot import num_parameters
from dualdub_jax.tools.topology import parse_topology

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

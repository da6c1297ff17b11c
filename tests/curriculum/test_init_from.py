"""A backbone that starts from a public language model is that model."""

import dataclasses
import tracemalloc

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dualdub_jax.bundles.bundle import abstract_params
from dualdub_jax.config import InitFromConfig, MeshConfig, StageConfig
from dualdub_jax.curriculum.init_from import check_backbone, is_read, read_backbone
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.errors import UserError
from dualdub_jax.models.backbone import TransformerBackbone
from dualdub_jax.parallel.mesh import make_mesh
from tests.convert.language_models import NAMES, arrays, bfloat16, config_of, weights, write_folder
from tests.convert.sparse_language_model import write_sparse_folder
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig())


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_and_logits_are_those_of_transformers(name, tmp_path, mesh):
    config = config_of(name, write_folder(tmp_path / "hub", name))
    params = read_backbone(config, mesh)
    table = params["script_encoder"]["embedding"]
    head = weights(name).get("lm_head.weight", weights(name)["model.embed_tokens.weight"])
    tokens, length = arrays()[f"{name}/tokens"], 12
    x, causal = jnp.asarray(table)[tokens], jnp.tril(jnp.ones((1, length, length), bool))
    backbone, variables = TransformerBackbone(config.model), {"params": params["backbone"]}
    state = jax.jit(backbone.apply)(variables, x, causal, jnp.arange(length)).state
    np.testing.assert_allclose(state, arrays()[f"{name}/hidden"], atol=1e-4)
    np.testing.assert_allclose(state @ head.T.astype(np.float32), arrays()[f"{name}/logits"], atol=1e-4)

    cache = backbone.apply(variables, 2, length, method="empty_cache")
    step = jax.jit(backbone.apply)
    for t in range(length):
        mask = (jnp.arange(length) <= t)[None, None]
        one = step(variables, x[:, t : t + 1], mask, jnp.array([t]), cache, jnp.int32(t))
        cache = one.cache
        np.testing.assert_allclose(one.state[:, 0], state[:, t], atol=1e-4)


def test_what_is_taken_and_what_is_not_is_printed(tmp_path, mesh, capsys):
    config = config_of("qwen3", write_folder(tmp_path / "hub", "qwen3", state=bfloat16(weights("qwen3"))))
    params = traverse_util.flatten_dict(read_backbone(config, mesh), sep="/")
    where = f"init_from.backbone {tmp_path / 'hub'}: "
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{where}qwen3, 2 layers: 23 tensors initialise backbone, 0.0 GB"
    assert lines[1] == f"{where}model.embed_tokens.weight [37, 28] initialises script_encoder/embedding"
    assert lines[2] == f"{where}not used: lm_head.weight"
    assert "arrays initialised at random: " in lines[3] and "aligner (" in lines[3]
    # Every array of the backbone is there, float32, with the numbers of the file.
    expected = traverse_util.flatten_dict(abstract_params(config)["model"], sep="/")
    taken = {name for name in expected if name.startswith("backbone/")} | {"script_encoder/embedding"}
    assert params.keys() == taken
    assert {x.dtype for x in params.values()} == {jnp.dtype("float32")}
    want = bfloat16(weights("qwen3"))["model.layers.1.mlp.up_proj.weight"].astype(np.float32)
    np.testing.assert_array_equal(params["backbone/layers/mlp/up/kernel"][1], want.T)
    assert f"{len(expected) - len(taken)} arrays initialised at random" in lines[3]

    # Another vocabulary is not taken, and the message says how it would be.
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, script_vocab_size=259))
    assert "script_encoder" not in read_backbone(other, mesh)
    line = capsys.readouterr().out.splitlines()[1]
    assert "model.embed_tokens.weight [37, 28] not taken: script_encoder=embedding has [259, 28]" in line
    assert line.endswith("pass --config.model.script_vocab_size=37")


def test_the_first_stage_starts_from_it_frozen_or_not(tmp_path, mesh):
    config = config_of("llama", write_folder(tmp_path / "hub", "llama"))
    initial = read_backbone(config, mesh)
    stage = StageConfig(name="stage", num_steps=1, batch_size=2, freeze=("backbone/.*",))
    phase = stage_phase(config, stage, lambda: None, initial)
    state = nn.unbox(jax.jit(phase.init)(jax.random.key(0), phase.initial))
    jax.tree.map(np.testing.assert_array_equal, state.extra["backbone"], initial["backbone"])
    table = state.params["script_encoder"]["embedding"]
    np.testing.assert_array_equal(table, weights("llama")["model.embed_tokens.weight"])
    assert phase.settings.values["init_from"] == {"backbone": str(tmp_path / "hub")}
    assert phase.settings.defaults["init_from"] == {"backbone": ""}


def test_host_memory_holds_a_tensor_and_not_the_model(tmp_path, mesh):
    """NumPy's arrays are traced; those of the devices are not."""
    sizes = {"model_type": "llama", "hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 4, "intermediate_size": 768, "vocab_size": 900}
    folder = write_sparse_folder(tmp_path / "hub", sizes, dtype="F32", layers_per_file=4)
    model = dataclasses.replace(tiny_config().model, width=256, num_layers=12, num_heads=4, num_kv_heads=4)
    model = dataclasses.replace(model, head_dim=64, mlp_width=768, use_qk_norm=False, script_vocab_size=900)
    config = tiny_config(model=model, init_from=InitFromConfig(str(folder)))
    tracemalloc.start()
    try:
        params = read_backbone(config, mesh)
        largest = 900 * 256 * 4
        model_bytes = sum(x.nbytes for x in jax.tree.leaves(params))
        assert model_bytes > 35 * largest
        # What abstract evaluation leaves is traced as well; it does not grow with the sizes.
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20 + 3 * largest < model_bytes / 2
    finally:
        tracemalloc.stop()


def test_a_resumed_run_and_other_phases_do_not_read_it(tmp_path):
    config = config_of("llama", tmp_path / "gone")
    stages = tuple(StageConfig(name=name, num_steps=4) for name in ("first", "second"))
    config = dataclasses.replace(config, stages=stages)
    assert is_read(config, tmp_path, {"first", "second"})
    assert not is_read(config, tmp_path, {"codec_tokens_speech", "second"})
    assert not is_read(dataclasses.replace(config, init_from=InitFromConfig()), tmp_path, {"first"})
    (tmp_path / "first" / "2").mkdir(parents=True)
    assert not is_read(config, tmp_path, {"first", "second"})


def test_another_backbone_is_not_initialised(tmp_path):
    config = config_of("llama", tmp_path, backbone="fork.backbone:Mamba")
    with pytest.raises(UserError, match=r"config.model.backbone is fork.backbone:Mamba; leave one of them"):
        check_backbone(config)

"""The report of `dualdub aot`: FLOPs by formula and by count, its keys, its table, its refusals."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.apps import cli
from dualdub_jax.config import MeshConfig, StageConfig, load_config
from dualdub_jax.errors import UserError
from dualdub_jax.layers.transformer import REMAT_POLICIES, Transformer
from dualdub_jax.models.analytic_flops import hardware_flops, model_flops, repeated_by_a_layer
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.tools import topology
from dualdub_jax.tools.aot import as_text, lower_train_step, make_report
from dualdub_jax.tools.hlo_costs import CostCounter
from dualdub_jax.tools.hlo_program import parse_program
from dualdub_jax.tools.topology import parse_topology
from tests.tiny import tiny_config

BATCH_SIZE = 2
STAGE = StageConfig(name="soundtrack", batch_size=BATCH_SIZE)


def _config():
    """Sizes far enough apart that no part of the model hides another."""
    config = tiny_config()
    model = dataclasses.replace(
        config.model,
        width=96,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=24,
        mlp_width=224,
        remat_policy="full",
        video=dataclasses.replace(config.model.video, num_layers=2),
    )
    return dataclasses.replace(config, model=model, grid=dataclasses.replace(config.grid, num_frames=24))


@pytest.fixture(scope="module")
def report():
    config, mesh = _config(), make_mesh(MeshConfig(), jax.devices()[:1])
    compiled = lower_train_step(config, STAGE, mesh, ("cpu",)).compile()
    slice_ = parse_topology("v5e:1x1")
    return make_report(compiled, config, slice_, mesh, np.zeros((1, 2), int), "train:soundtrack", BATCH_SIZE)


def test_counted_flops_agree_with_the_formula(report):
    flops = report["flops_per_device"]
    assert flops["model"] == model_flops(_config(), BATCH_SIZE)
    assert flops["with_recomputation"] == pytest.approx(hardware_flops(_config(), BATCH_SIZE), rel=0.05)
    assert flops["with_recomputation"] > 1.05 * flops["model"]
    assert flops["in_tiles"] > flops["with_recomputation"]


def test_the_formula_covers_the_papers_parts():
    sizes = ["grid.num_frames=24", "grid.num_script_tokens=8", "grid.num_voice_frames=6"]
    config = load_config("dualdub:tiny", [*sizes, "model.width=96", "model.speaker_width=48"])
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    compiled = lower_train_step(config, STAGE, mesh, ("cpu",)).compile()
    counted = CostCounter(parse_program(compiled.as_text())).total().flops
    assert counted == pytest.approx(model_flops(config, BATCH_SIZE), rel=0.05)


STACK = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 24, "mlp_width": 224, "use_qk_norm": True}
STACK_LAYERS, STACK_LENGTH = 3, 32


@functools.cache
def _gradient_flops(policy: str) -> float:
    """Of a stack of `STACK`, forward and backward."""
    stack = Transformer(num_layers=STACK_LAYERS, remat_policy=policy, **STACK)
    x, positions = jnp.ones((BATCH_SIZE, STACK_LENGTH, 96)), jnp.arange(STACK_LENGTH)
    mask = jnp.ones((1, STACK_LENGTH, STACK_LENGTH), bool)
    params = jax.eval_shape(lambda: nn.unbox(stack.init(jax.random.key(0), x, mask, positions)))

    def loss(params, x):
        return stack.apply(params, x, mask, positions)[0].sum()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, x).compile()
    return CostCounter(parse_program(compiled.as_text())).total().flops


@pytest.mark.parametrize("policy", REMAT_POLICIES)
def test_each_remat_policy_repeats_what_the_formula_says(policy):
    model = dataclasses.replace(_config().model, width=96, remat_policy=policy, **STACK)
    config = dataclasses.replace(_config(), model=model)
    formula = repeated_by_a_layer(config, STACK_LENGTH, heads=4 * 24, kv_heads=2 * 24, use_qk_norm=True)
    repeated = _gradient_flops(policy) - _gradient_flops("none")
    assert repeated == 2 * BATCH_SIZE * STACK_LAYERS * formula > 0


def test_the_report_has_its_keys_and_adds_up(report):
    assert json.loads(json.dumps(report)) == report
    held = report["bytes_per_device"]
    assert held["total"] == held["arguments"] + held["output"] - held["donated"] + held["temporaries"]
    # The state is four times the parameters (values, average, two moments), and all of it is donated.
    assert held["donated"] > 4 * 4 * report["parameters"]
    assert report["fits"]
    assert report["collective_bytes"] == {}
    assert report["predicted_step_s"] >= report["roofline"]["hbm_s"] > 0
    assert 0 < report["mfu"] < 1


def test_the_table_says_what_is_estimated(report):
    table = as_text(report)
    for text in (
        "test, train:soundtrack, 2 clips",
        "v5e:1x1, one device",
        "fits",
        "step, estimated",
        "MFU, estimated",
    ):
        assert text in table
    assert "DOES NOT FIT" in as_text({**report, "fits": False})


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
    mesh = jax.sharding.AbstractMesh((4, 1, 1, 1), ("data", "fsdp", "tensor", "sequence"))
    config = dataclasses.replace(_config(), stages=(STAGE,))
    with pytest.raises(
        UserError, match=r"2 clips cannot be split over data x fsdp = 4; .*stages\.0\.batch_size="
    ):
        lower_train_step(config, STAGE, mesh)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--topology", "v5e:4"], "slices of v5e have 2 axes"),
        (["--topology", "v5e:4x4", "--mesh", "fdsp=16"], "got 'fdsp=16'"),
        (["--topology", "v5e:4x4", "--stage", "last"], "has the stages text_speech, video_audio, soundtrack"),
        (["--topology", "v5e:4x4"], "pip install 'libtpu==0.0.42.*'"),
    ],
)
def test_bad_usage_is_one_line(capsys, monkeypatch, flags, said):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)  # as where libtpu is not
    assert cli.main(["aot", "--config", "configs/puppet.py", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1

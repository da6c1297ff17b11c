"""Trains the same three steps of a flow-matching decoder on several meshes of 8 devices.

Run by `test_flow.py` in a process of its own. Prints one line of JSON.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.registry import codec_class, codec_config
from dualdub_jax.config import MeshConfig
from dualdub_jax.decoders.flow_matching.training import abstract_crops, flow_phase
from dualdub_jax.parallel.mesh import make_mesh, shard_batch, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.parallel.simulated_devices import give_threads
from dualdub_jax.training.loop import compile_step
from tests.decoders.flow_matching.tiny_flow import MEL, flow_config

NUM_STEPS = 3
MESHES = {
    "one": MeshConfig(data=1),
    "data8": MeshConfig(data=8),
    "data2_fsdp2_tensor2": MeshConfig(data=2, fsdp=2, tensor=2),
    "fsdp4_sequence2": MeshConfig(data=1, fsdp=4, sequence=2),
}
OPTIMIZER = {"learning_rate": 1e-3, "warmup_steps": 1}
CONFIG = flow_config({**MEL, "training": {"batch_size": 8, "crop_frames": 6, "optimizer": OPTIMIZER}})


def crops(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {
        name: np.ones(x.shape, bool)
        if x.dtype == bool
        else (0.1 * rng.normal(size=x.shape)).astype(np.float32)
        for name, x in abstract_crops(CONFIG, "speech").items()
    }


def main() -> None:
    give_threads()
    codec = codec_class(CONFIG, "speech").init(codec_config(CONFIG, "speech"), jax.random.key(0))
    phase = flow_phase(CONFIG, "speech", {"codec": jax.tree.map(jnp.asarray, codec)}, list)
    results = {}
    for name, mesh_config in MESHES.items():
        mesh = make_mesh(mesh_config, jax.devices()[:1] if name == "one" else None)
        with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
            shardings = state_sharding(jax.eval_shape(phase.init, jax.random.key(0), None), mesh)
            state = jax.jit(lambda rng: nn.unbox(phase.init(rng, None)), out_shardings=shardings)(
                jax.random.key(0)
            )
            step_fn, losses = None, []
            for k in range(NUM_STEPS):
                rng = jax.random.fold_in(jax.random.key(1), k)
                flags, limit = np.zeros(mesh.size, np.int32), np.finfo(np.float32).max
                inputs = (shard_batch(crops(k), mesh), rng, phase.frozen, limit, flags)
                step_fn = step_fn or compile_step(phase, CONFIG, shardings, state, *inputs)
                state, metrics = step_fn(state, *inputs)
                losses.append({key: float(metrics[key]) for key in ("loss", "gradient_norm")})
            leaves = [x for x in jax.tree.leaves(state.params) if x.ndim]
            split = sum(not x.sharding.is_fully_replicated for x in leaves)
            statistics = {key: np.asarray(x).tolist() for key, x in state.extra.variables.items()}
            results[name] = {"steps": losses, "split": split / len(leaves), "statistics": statistics}
    print(json.dumps(results))


if __name__ == "__main__":
    main()

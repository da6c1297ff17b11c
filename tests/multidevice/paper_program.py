"""Trains three steps of the paper's miniature on one device and on eight; prints one line of JSON."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np

from dualdub_jax.config import MeshConfig, load_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.parallel.mesh import make_mesh, shard_batch, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.parallel.simulated_devices import give_threads
from dualdub_jax.training.loop import compile_step
from tests.tiny import random_batch

MESHES = {"one": MeshConfig(data=1), "fsdp2_tensor2_sequence2": MeshConfig(1, 2, 2, 2)}
NUM_STEPS, BATCH_SIZE = 3, 8


def main() -> None:
    give_threads()
    config = load_config("dualdub:tiny", ["grid.num_frames=16", "grid.num_script_tokens=15"])
    stage = dataclasses.replace(config.stages[-1], batch_size=BATCH_SIZE)
    phase, losses = stage_phase(config, stage, lambda: None), {}
    for name, mesh_config in MESHES.items():
        mesh = make_mesh(mesh_config, jax.devices()[:1] if name == "one" else None)
        with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
            shardings = state_sharding(jax.eval_shape(phase.init, jax.random.key(0), None), mesh)
            init = jax.jit(lambda rng: nn.unbox(phase.init(rng, None)), out_shardings=shardings)
            state, step, losses[name] = init(jax.random.key(0)), None, []
            for k in range(NUM_STEPS):
                batch = random_batch(config, BATCH_SIZE, seed=k)
                has_speech = np.arange(BATCH_SIZE) % 3 > 0
                batch = batch.replace(has_speech=has_speech, has_voice=has_speech)
                limit, flags = np.finfo(np.float32).max, np.zeros(mesh.size, np.int32)
                inputs = (shard_batch(batch, mesh), jax.random.key(k), phase.frozen, limit, flags)
                step = step or compile_step(phase, config, shardings, state, *inputs)
                state, metrics = step(state, *inputs)
                losses[name].append(float(metrics["loss"]))
            assert state.ema_params is None
    print(json.dumps(losses))


if __name__ == "__main__":
    main()

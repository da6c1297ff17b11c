"""Takes the same steps on batches of two lengths on several meshes of 8 devices.

Run by `test_buckets.py` in a process of its own. Prints one line of JSON.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.config import MeshConfig, OptimizerConfig, StageConfig
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.data_pipeline.length_buckets import buckets_of, with_num_frames
from dualdub_jax.encoders.pixels import PixelVideoEncoder
from dualdub_jax.parallel.mesh import make_mesh, shard_batch, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.parallel.simulated_devices import give_threads
from dualdub_jax.training.loop import compile_step
from tests.tiny import random_batch, tiny_config

MESHES = {
    "one": MeshConfig(data=1),
    "data2_fsdp2_tensor2": MeshConfig(data=2, fsdp=2, tensor=2),
    # Which divides neither 5 nor 5 frames with the prefix.
    "fsdp2_sequence4": MeshConfig(data=1, fsdp=2, sequence=4),
}
CONFIG = tiny_config()
STAGE = StageConfig(
    name="stage",
    num_steps=3,
    batch_size=4,
    buckets=(5,),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=1),
)


def main() -> None:
    give_threads()
    phase = stage_phase(CONFIG, STAGE, lambda: None)
    short, window = buckets_of(STAGE, CONFIG, "stage")
    results = {}
    for name, mesh_config in MESHES.items():
        mesh = make_mesh(mesh_config, jax.devices()[:1] if name == "one" else None)
        with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
            shardings = state_sharding(jax.eval_shape(phase.init, jax.random.key(0), None), mesh)
            state = jax.jit(lambda rng: nn.unbox(phase.init(rng, None)), out_shardings=shardings)(
                jax.random.key(0)
            )
            step_fns, losses = {}, []
            for k, bucket in enumerate((short, window, short)):
                batch = random_batch(with_num_frames(CONFIG, bucket.num_frames), bucket.batch_size, seed=k)
                flags, limit = np.zeros(mesh.size, np.int32), np.finfo(np.float32).max
                rng = jax.random.fold_in(jax.random.key(1), k)
                inputs = (shard_batch(batch, mesh), rng, phase.frozen, limit, flags)
                if bucket not in step_fns:
                    step_fns[bucket] = compile_step(phase, CONFIG, shardings, state, *inputs)
                state, metrics = step_fns[bucket](state, *inputs)
                losses.append({key: float(metrics[key]) for key in ("loss", "gradient_norm")})
            results[name] = losses
    rows = [short.batch_size, window.batch_size]
    print(json.dumps({"losses": results, "rows": rows, "patches": patch_difference()}))


def patch_difference() -> float:
    """Largest difference of the patches' gradient between a mesh and one device, of 4 clips of 6 frames."""
    config = with_num_frames(CONFIG, 6)
    encoder = PixelVideoEncoder(config.model)

    def init(rng, batch):
        return encoder.init(rng, batch)["params"]

    def loss(params, batch):
        out = encoder.apply({"params": params}, batch)
        return (jnp.sin(out) * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum()

    gradients = []
    for mesh_config in (MeshConfig(data=1), MeshConfig(data=1, fsdp=4, sequence=2)):
        mesh = make_mesh(mesh_config, jax.devices()[: mesh_config.fsdp * mesh_config.sequence])
        with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
            inputs = jax.random.key(0), shard_batch(random_batch(config, 4), mesh)
            shardings = state_sharding(jax.eval_shape(init, *inputs), mesh)
            params = jax.jit(lambda *inputs: nn.unbox(init(*inputs)), out_shardings=shardings)(*inputs)
            gradient = jax.jit(jax.grad(loss), out_shardings=shardings)(params, inputs[1])
            gradients.append(np.asarray(gradient["pixels"]["patch"]["kernel"]))
    return float(np.abs(gradients[1] - gradients[0]).max() / np.abs(gradients[0]).max())


if __name__ == "__main__":
    main()

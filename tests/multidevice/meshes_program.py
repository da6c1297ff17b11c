"""Trains the same five steps on several meshes of 8 devices; then every checkpoint on every other mesh.

Run by `test_meshes.py` in a process of its own. Prints one line of JSON.
"""

import gc
import json
import pathlib
import sys

import flax.linen as nn
import jax
import numpy as np
import optax

import dualdub_jax
from dualdub_jax.bundles.bundle import load_bundle, save_bundle
from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.codecs.registry import abstract_codec
from dualdub_jax.config import CheckpointConfig, MeshConfig, OptimizerConfig, SamplingConfig, StageConfig
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.dubbing.protocol import WindowRequest
from dualdub_jax.parallel.mesh import make_mesh, shard_batch, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.parallel.simulated_devices import give_threads
from dualdub_jax.tools.export import export
from dualdub_jax.training.checkpoint import PhaseCheckpoints
from dualdub_jax.training.loop import compile_step
from dualdub_jax.types import STREAMS
from tests.tiny import random_batch, tiny_config

NUM_STEPS, BATCH_SIZE = 5, 8
CLOSE = 2e-5  # a fiftieth of what one step at this learning rate moves a parameter
MESHES = {
    "one": MeshConfig(data=1),
    "data8": MeshConfig(data=8),
    "fsdp8": MeshConfig(data=1, fsdp=8),
    "data2_fsdp2_tensor2": MeshConfig(data=2, fsdp=2, tensor=2),
    "data4_sequence2": MeshConfig(data=4, sequence=2),
    "fsdp2_tensor2_sequence2": MeshConfig(data=1, fsdp=2, tensor=2, sequence=2),
}
CONFIG = tiny_config()
# No clipping, so that Adam's first moment after one step is the gradient.
STAGE = StageConfig(
    name="stage",
    num_steps=NUM_STEPS,
    batch_size=BATCH_SIZE,
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=1, clip_norm=1e9),
)


def batch(step: int):
    """Unequal examples: some conditions and targets absent, some clips shorter."""
    made = random_batch(CONFIG, BATCH_SIZE, seed=step)
    rng = np.random.default_rng(step)
    flags = {
        name: rng.random(BATCH_SIZE) < 0.7
        for name in ("has_video", "has_script", "has_voice", "has_acoustics", "has_speech")
    }
    lengths = rng.integers(4, CONFIG.grid.num_frames + 1, BATCH_SIZE)
    return made.replace(frame_mask=np.arange(CONFIG.grid.num_frames) < lengths[:, None], **flags)


def main() -> None:
    give_threads()
    folder = pathlib.Path(sys.argv[1])
    phase = stage_phase(CONFIG, STAGE, lambda: None)
    results, targets, meshes, states = {}, {}, {}, {}
    for name, mesh_config in MESHES.items():
        mesh = meshes[name] = make_mesh(mesh_config, jax.devices()[:1] if name == "one" else None)
        with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
            shardings = state_sharding(jax.eval_shape(phase.init, jax.random.key(0), None), mesh)
            init = jax.jit(lambda rng: nn.unbox(phase.init(rng, None)), out_shardings=shardings)
            state = init(jax.random.key(0))
            step_fn, losses = None, []
            for k in range(NUM_STEPS):
                flags = np.zeros(mesh.size, np.int32)
                limit = np.finfo(np.float32).max
                rng = jax.random.fold_in(jax.random.key(1), k)
                inputs = (shard_batch(batch(k), mesh), rng, phase.frozen, limit, flags)
                step_fn = step_fn or compile_step(phase, CONFIG, shardings, state, *inputs)
                state, metrics = step_fn(state, *inputs)
                losses.append(float(metrics["loss"]))
                if k == 0:
                    moment = optax.tree_utils.tree_get(state.opt_state, "mu")
                    gradients = jax.tree.map(lambda m: np.asarray(m) / (1 - STAGE.optimizer.b1), moment)
            checkpoints = PhaseCheckpoints(folder / name, CheckpointConfig())
            checkpoints.save(NUM_STEPS, state, {"settings": phase.settings.values})
            checkpoints.close()
            targets[name] = jax.tree.map(
                lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
            )
            states[name] = jax.tree.map(np.asarray, state)
            results[name] = {"losses": losses, "sharded": count_sharded(state)}
            results[name] |= compare("gradient", gradients)
            results[name] |= compare("parameter", states[name].params)
            print(name, results[name], flush=True)
        free_programs()
    print(json.dumps({"meshes": results} | reshard(folder, targets, meshes, states)))


def free_programs() -> None:
    """Six meshes' programs at once would need 4 GB."""
    jax.clear_caches()
    gc.collect()


def count_sharded(state) -> dict[str, int]:
    """How many arrays of the state no device holds whole, and how many there are."""
    leaves = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    return {"split": sum(not leaf.sharding.is_fully_replicated for leaf in leaves), "all": len(leaves)}


_FIRST: dict[str, dict[str, np.ndarray]] = {}


def compare(kind: str, tree) -> dict[str, object]:
    """Largest difference to the first mesh, relative to the array's largest value, and where.

    And what share of all numbers is more than `CLOSE` away.
    """
    arrays = {path_name(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(tree)}
    first = _FIRST.setdefault(kind, arrays)
    differences = {
        path: float(np.abs(x - first[path]).max() / max(np.abs(first[path]).max(), 1e-6))
        for path, x in arrays.items()
    }
    worst = max(differences, key=differences.get)
    absolute = max(float(np.abs(x - first[path]).max()) for path, x in arrays.items())
    num_apart = sum(int((np.abs(x - first[path]) > CLOSE).sum()) for path, x in arrays.items())
    return {
        kind: differences[worst],
        f"{kind}_at": worst,
        f"{kind}_absolute": absolute,
        f"{kind}_share_apart": num_apart / sum(x.size for x in arrays.values()),
    }


def reshard(folder: pathlib.Path, targets, meshes, states) -> dict[str, object]:
    """Every checkpoint on every mesh, to the bit; and one bundle from a split state."""
    moved = 0
    for source in MESHES:
        for target in MESHES:
            with jax.set_mesh(meshes[target]):
                restored = PhaseCheckpoints(folder / source, CheckpointConfig()).restore(targets[target])
            jax.tree.map(np.testing.assert_array_equal, states[source], restored.state)
            jax.tree.map(lambda x, want: x.sharding.is_equivalent_to(want.sharding, x.ndim) or 1 / 0,
                restored.state, targets[target])  # fmt: skip
            moved += 1
        free_programs()
    codecs = {
        f"{stream}_codec": jax.tree.map(
            lambda x: jax.numpy.zeros(x.shape, x.dtype), abstract_codec(CONFIG, stream)
        )
        for stream in STREAMS
    }
    save_bundle(folder / "bundle", CONFIG, {"model": restored.state.ema_params, **codecs}, {})
    config, params = load_bundle(folder / "bundle")
    jax.tree.map(np.testing.assert_array_equal, params["model"], states[source].ema_params)
    return {"moved": moved, "bundle": config.name} | load_on_meshes(folder, params, meshes)


def load_on_meshes(folder: pathlib.Path, params, meshes) -> dict[str, object]:
    """The bundle in both formats on every mesh, to the bit; each device holds and reads its own part."""
    export(folder / "bundle", folder / "hub", file_format="safetensors")
    split = {}
    for bundle in ("bundle", "hub"):
        for name, mesh in meshes.items():
            _, loaded = load_bundle(folder / bundle, mesh=mesh)
            jax.tree.map(np.testing.assert_array_equal, loaded, params)
            split[f"{bundle} {name}"] = count_sharded(loaded["model"])
            assert all(x.sharding.device_set == set(mesh.devices.flat) for x in jax.tree.leaves(loaded))
        free_programs()
    # And a model that generates, spread over a mesh: likeliest tokens, so that they can be compared.
    request = {
        "video": {"video": np.zeros((CONFIG.grid.num_frames, *2 * [CONFIG.grid.frame_size], 3), np.uint8)},
        "script": "go", "voice": None, "use_speech": True, "use_background": True, "context": {}, "seed": 0,
        "sampling": SamplingConfig(speech_temperature=0.0, background_temperature=0.0),
    }  # fmt: skip
    alone, spread = (
        dualdub_jax.load(folder / "hub", mesh=mesh).engine.generate(**request)
        for mesh in (None, meshes["fsdp8"])
    )
    jax.tree.map(np.testing.assert_array_equal, alone, spread)
    # And a batch of several films, over the data axis of all devices, or of a mesh that splits the model.
    requests = [WindowRequest(**request, acoustics=None, speech_span=None)] * 3
    for mesh in (None, meshes["fsdp8"]):
        engine = dualdub_jax.load(folder / "hub", mesh=mesh).engine
        room = engine.most_windows(1)
        assert room == (8 if mesh is None else 1)
        for several in engine.generate_many(requests[:room], 1):
            jax.tree.map(np.testing.assert_array_equal, alone, several)
    return {"loaded": split, "generated": sorted(spread)}


if __name__ == "__main__":
    main()

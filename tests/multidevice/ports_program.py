"""Public codecs and image towers on several meshes of 8 devices, batches of unequal clips sharded by row.

Run by `test_ports.py` in a process of its own. Prints one line of JSON.
"""

import functools
import json

import jax
import numpy as np

from dualdub_jax.codecs.dac.codec import DacCodec
from dualdub_jax.codecs.mimi.codec import MimiCodec
from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.config import MeshConfig
from dualdub_jax.convert.clip import clip_from_torch
from dualdub_jax.convert.dac import dac_from_torch
from dualdub_jax.convert.mimi import mimi_from_torch
from dualdub_jax.convert.siglip import siglip_from_torch
from dualdub_jax.convert.wavtokenizer import wavtokenizer_from_torch
from dualdub_jax.encoders.clip.tower import ClipTower
from dualdub_jax.encoders.siglip import SiglipTower
from dualdub_jax.parallel.mesh import make_mesh, shard_batch
from tests.convert.ports import SETTINGS, golden, weights

MESHES = {
    "data2_fsdp4": MeshConfig(data=2, fsdp=4),
    "fsdp2_tensor2_sequence2": MeshConfig(data=1, fsdp=2, tensor=2, sequence=2),
}
NUM_FRAMES, ROWS = 5, 8


def codecs() -> dict:
    wavtokenizer = wavtokenizer_from_torch(weights("wavtokenizer"), "x", 2400, num_groups=8)
    return {
        "wavtokenizer": WavTokenizerCodec(*wavtokenizer),
        "dac": DacCodec(*dac_from_torch(weights("dac"), "x", 3000)),
        "mimi": MimiCodec(*mimi_from_torch(weights("mimi"), "x", SETTINGS["mimi"])),
    }


def main() -> None:
    rng = np.random.default_rng(0)
    mask = np.arange(NUM_FRAMES) < rng.integers(1, NUM_FRAMES + 1, ROWS)[:, None]
    expected, inputs, results = {}, {}, {}
    for kind, codec in (found := codecs()).items():
        waveform = 0.3 * rng.normal(size=(ROWS, NUM_FRAMES * codec.spec.samples_per_frame))
        inputs[kind] = {"waveform": waveform.astype(np.float32), "mask": mask}
        codes = np.where(mask[..., None], codec.encode(**_named(inputs[kind])), 0)
        inputs[kind]["codes"] = codes
        expected[kind] = codes, np.asarray(codec.decode(codes, mask))
    towers = {
        "clip": (ClipTower, *clip_from_torch(weights("clip"), "x", SETTINGS["clip"])),
        "siglip": (SiglipTower, *siglip_from_torch(weights("siglip"), "x", SETTINGS["siglip"])),
    }
    applied = {}
    for kind, (tower, config, params) in towers.items():
        images = np.concatenate([golden(kind, "images")] * 3)[:ROWS]
        apply = functools.partial(tower(config).apply, {"params": params})
        applied[kind] = jax.jit(lambda x, apply=apply: jax.tree.leaves(apply(x))[0])
        inputs[kind] = {"images": images}
        expected[kind] = np.asarray(applied[kind](images))
    for name, mesh_config in MESHES.items():
        mesh = make_mesh(mesh_config)
        results[name] = {}
        for kind, codec in found.items():
            batch = shard_batch(inputs[kind], mesh)
            codes = codec.encode(**_named(batch))
            decoded = codec.decode(batch["codes"], batch["mask"])
            results[name][kind] = {
                "is_split": not (codes.sharding.is_fully_replicated or decoded.sharding.is_fully_replicated),
                "codes": int((np.where(mask[..., None], codes, 0) != expected[kind][0]).sum()),
                "difference": float(np.abs(np.asarray(decoded) - expected[kind][1]).max()),
            }
        for kind, apply in applied.items():
            vectors = apply(shard_batch(inputs[kind], mesh)["images"])
            results[name][kind] = {
                "is_split": not vectors.sharding.is_fully_replicated,
                "codes": 0,
                "difference": float(np.abs(np.asarray(vectors) - expected[kind]).max()),
            }
    print(json.dumps(results))


def _named(batch: dict) -> dict:
    return {"waveform": batch["waveform"], "frame_mask": batch["mask"]}


if __name__ == "__main__":
    main()

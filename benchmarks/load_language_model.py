"""Time and memory of starting a backbone from a public language model (`init_from.backbone`).

    python benchmarks/load_language_model.py
    python benchmarks/load_language_model.py --layers 4 --dtype float32

Writes a folder of random numbers with the sizes of Sheared-LLaMA-1.3B (2.7 GB), and reads it twice, in a
process each: as `dualdub train` does, and whole into host memory before it is stacked, cast and placed.
`host GB` is the peak of resident memory beyond the arrays themselves, which are in host memory as well where
the device is a CPU; `largest GB` is the largest tensor of the files. The last line is the same as JSON.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import ml_dtypes
import numpy as np
import safetensors.numpy
from flax import traverse_util

from dualdub_jax.bundles.bundle import sharded_params
from dualdub_jax.config import Config, InitFromConfig, MeshConfig, load_config
from dualdub_jax.convert.language_model import backbone_tensors, open_language_model
from dualdub_jax.curriculum.init_from import read_backbone
from dualdub_jax.parallel.mesh import make_mesh

SIZES = {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 5504, "num_attention_heads": 16}
SIZES |= {"num_key_value_heads": 16, "vocab_size": 32_000, "rms_norm_eps": 1e-5}
KEYS = ("num_kv_heads=16", "mlp_width=5504", "use_qk_norm=false", "rms_norm_eps=1e-5", "rope_theta=1e4")
GB = 1e9


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the files")
    parser.add_argument("--read", choices=("sliced", "whole"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(measured(args.folder, args.read, args.layers)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "model"
        largest = write_folder(folder, args.layers, args.dtype)
        print(f"{'read':>7} {'seconds':>8} {'arrays GB':>10} {'host GB':>8} {'largest GB':>11}")
        found = {"largest_gb": largest / GB}
        for read in ("sliced", "whole"):
            command = [sys.executable, __file__, "--read", read, "--folder", str(folder)]
            run = subprocess.run(
                [*command, "--layers", str(args.layers)], check=True, stdout=subprocess.PIPE, text=True
            )
            row = json.loads(run.stdout.splitlines()[-1])
            print(
                f"{read:>7} {row['seconds']:>8.1f} {row['arrays_gb']:>10.2f} {row['host_gb']:>8.2f} "
                f"{largest / GB:>11.2f}",
                flush=True,
            )
            found |= {f"{key}_{read}": round(value, 3) for key, value in row.items()}
    found["ratio_host_memory"] = round(found["host_gb_whole"] / found["host_gb_sliced"], 2)
    found["ratio_time"] = round(found["seconds_whole"] / found["seconds_sliced"], 2)
    print(json.dumps(found))
    return 0


def write_folder(folder: pathlib.Path, num_layers: int, dtype: str) -> int:
    """Writes a file for every other layer; returns the bytes of the largest tensor."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SIZES | {"num_hidden_layers": num_layers}))
    rng, index, largest = np.random.default_rng(0), {}, 0
    width, mlp = SIZES["hidden_size"], SIZES["intermediate_size"]
    layer = {f"self_attn.{x}_proj.weight": (width, width) for x in "qkvo"}
    layer |= {f"mlp.{x}_proj.weight": (mlp, width) for x in ("gate", "up")}
    layer |= {"mlp.down_proj.weight": (width, mlp)}
    layer |= {f"{x}_layernorm.weight": (width,) for x in ("input", "post_attention")}
    for start in range(0, num_layers, 2):
        shapes = {
            f"model.layers.{i}.{name}": shape
            for i in range(start, min(start + 2, num_layers))
            for name, shape in layer.items()
        }
        if start == 0:
            shapes |= {
                "model.embed_tokens.weight": (SIZES["vocab_size"], width),
                "model.norm.weight": (width,),
            }
        arrays = {
            name: rng.random(shape, np.float32).astype(
                ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
            )
            for name, shape in shapes.items()
        }
        largest = max(largest, *(x.nbytes for x in arrays.values()))
        file = f"model-{start:05}.safetensors"
        safetensors.numpy.save_file(arrays, folder / file)
        index |= dict.fromkeys(arrays, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return largest


def measured(folder: pathlib.Path, read: str, num_layers: int) -> dict[str, float]:
    """Reads a folder, and measures it."""
    flags = [*KEYS, f"num_layers={num_layers}", f"script_vocab_size={SIZES['vocab_size']}"]
    config = load_config("large", [f"model.{flag}" for flag in flags])
    config = dataclasses.replace(config, init_from=InitFromConfig(str(folder)))
    mesh = make_mesh(MeshConfig())
    # Shapes are evaluated before, since that takes memory of its own.
    sharded_params(config, mesh, ["model"])
    before, started = resident_bytes("VmRSS"), time.monotonic()
    params = read_backbone(config, mesh) if read == "sliced" else read_whole(config, mesh)
    jax.block_until_ready(params)
    seconds = time.monotonic() - started
    arrays = sum(x.nbytes for x in jax.tree.leaves(params))
    host = resident_bytes("VmHWM") - before - arrays
    return {"seconds": seconds, "arrays_gb": arrays / GB, "host_gb": host / GB}


def read_whole(config: Config, mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """The usual way: all files into host memory, then stacked, cast and placed."""
    folder = pathlib.Path(config.init_from.backbone)
    state: dict[str, np.ndarray] = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= safetensors.numpy.load_file(file)
    public = open_language_model(folder, str(folder))
    names = {id(tensor): name for name, tensor in public.tensors.items()}
    targets = traverse_util.flatten_dict(sharded_params(config, mesh, ["model"])["model"], sep="/")
    arrays = {}
    for path, target in targets.items():
        part, _, ours = path.partition("/")
        if part == "backbone":
            layers = [state[f"model.{names[id(x)]}"] for x in backbone_tensors(public, ours)]
            layers = [x.T if ours.endswith("kernel") else x for x in layers]
            x = np.stack(layers) if ours.startswith("layers/") else layers[0]
            arrays[path] = jax.device_put(x.astype(np.float32), target.sharding)
        elif path == "script_encoder/embedding":
            table = state["model.embed_tokens.weight"].astype(np.float32)
            arrays[path] = jax.device_put(table, target.sharding)
    return arrays


def resident_bytes(key: str) -> int:
    """A figure of /proc/self/status: "VmRSS" now, "VmHWM" at its peak."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


if __name__ == "__main__":
    sys.exit(main())

"""Loads public language models onto several meshes of 8 devices.

Run by `test_language_models.py` in a process of its own. Prints one line of JSON.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from flax import traverse_util

from dualdub_jax.bundles.bundle import sharded_params
from dualdub_jax.config import MeshConfig
from dualdub_jax.convert.language_model import backbone_tensors, open_language_model
from dualdub_jax.convert.onto_mesh import read_onto_mesh
from dualdub_jax.curriculum.init_from import read_backbone
from dualdub_jax.parallel.mesh import make_mesh
from tests.convert.language_models import bfloat16, config_of, weights, write_folder

MESHES = {
    "one": MeshConfig(data=1),
    "data8": MeshConfig(data=8),
    "fsdp4_tensor2": MeshConfig(data=1, fsdp=4, tensor=2),
    "data2_fsdp2_sequence2": MeshConfig(data=2, fsdp=2, sequence=2),
}
GATE = "layers/mlp/gate/kernel"


def main() -> None:
    folder, results = pathlib.Path(sys.argv[1]), {}
    for model in ("llama", "qwen2"):
        hub = write_folder(folder / model, model, num_files=3, state=bfloat16(weights(model)))
        config, first = config_of(model, hub), None
        for name, mesh_config in MESHES.items():
            mesh = make_mesh(mesh_config, jax.devices()[:1] if name == "one" else None)
            params = traverse_util.flatten_dict(read_backbone(config, mesh), sep="/")
            target = traverse_util.flatten_dict(sharded_params(config, mesh, ["model"])["model"], sep="/")
            for path, x in params.items():
                assert x.sharding.is_equivalent_to(target[path].sharding, x.ndim), (name, path)
                assert x.dtype == np.float32
            first = first or params
            jax.tree.map(np.testing.assert_array_equal, params, first)
            matrices = [x for path, x in params.items() if path.endswith(("/kernel", "/embedding"))]
            results[f"{model} {name}"] = {
                "split": sum(not x.sharding.is_fully_replicated for x in matrices),
                "all": len(matrices),
                "read": share_read(hub, target[f"backbone/{GATE}"]),
            }
    print(json.dumps(results))


def share_read(hub: pathlib.Path, target: jax.ShapeDtypeStruct) -> float:
    """Numbers that are read of an array's tensors, as a share of those in them."""
    tensors = backbone_tensors(open_language_model(hub, str(hub)), GATE)
    sizes = []

    def counted(read):
        def part(index):
            x = read(index)
            sizes.append(x.size)
            return x

        return part

    tensors = [tensor._replace(read=counted(tensor.read)) for tensor in tensors]
    read_onto_mesh(tensors, target, is_transposed=True, is_stacked=True)
    return sum(sizes) / np.prod(target.shape)


if __name__ == "__main__":
    main()

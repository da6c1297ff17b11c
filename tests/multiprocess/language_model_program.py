"""One process of a cluster that loads a golden language model.

    python -m tests.multiprocess.language_model_program CLUSTER FOLDER

CLUSTER is JSON: coordinator, number of processes, id. Prints which share of an array's numbers it read.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from flax import traverse_util

from dualdub_jax.config import MeshConfig
from dualdub_jax.curriculum.init_from import read_backbone
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import make_mesh
from tests.convert.language_models import config_of, weights
from tests.multidevice.language_models_program import GATE, share_read


def main() -> None:
    distributed.initialize(*json.loads(sys.argv[1]))
    folder = pathlib.Path(sys.argv[2])
    mesh = make_mesh(MeshConfig(data=1, fsdp=8))
    params = traverse_util.flatten_dict(read_backbone(config_of("llama", folder), mesh), sep="/")
    gate = params[f"backbone/{GATE}"]
    assert not gate.is_fully_addressable
    state = weights("llama")
    whole = np.stack([state[f"model.layers.{i}.mlp.gate_proj.weight"].T for i in range(2)])
    for shard in gate.addressable_shards:
        np.testing.assert_array_equal(shard.data, whole[shard.index])
    target = jax.ShapeDtypeStruct(gate.shape, gate.dtype, sharding=gate.sharding)
    print("read", share_read(folder, target), flush=True)
    distributed.leave(0, together=True)


if __name__ == "__main__":
    main()

"""One process of a cluster that compiles one program: `python -m tests.multiprocess.cache_program CLUSTER`.

CLUSTER is JSON: coordinator, number of processes, id. Prints "hits N", the programs read from the cache.
"""

import json
import sys

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from dualdub_jax.config import MeshConfig
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import AXES, make_mesh

HIT = "/jax/compilation_cache/cache_hits"


def main() -> None:
    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: event == HIT and hits.append(event))
    distributed.initialize(*json.loads(sys.argv[1]))
    rows = NamedSharding(make_mesh(MeshConfig()), PartitionSpec(AXES))
    x = jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=rows)
    jax.jit(lambda x: x + x.sum(), donate_argnums=(0,), out_shardings=rows).lower(x).compile()
    print("hits", len(hits), flush=True)
    distributed.leave(0, together=True)


if __name__ == "__main__":
    main()

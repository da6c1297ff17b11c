"""Shardings of every parameter and constrained activation of a config on a mesh, as plain text.

The mesh is abstract, so no devices are needed. The golden files in `tests/golden/shardings/` hold this
output.
"""

import collections
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AbstractMesh, AxisType

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import Config, MeshConfig
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parallel.mesh import AXES, state_sharding
from dualdub_jax.parallel.sharding import RULES


def abstract_mesh(config: MeshConfig) -> AbstractMesh:
    """An abstract mesh of these sizes (no -1), without devices."""
    return AbstractMesh(
        tuple(getattr(config, axis) for axis in AXES), AXES, axis_types=(AxisType.Auto,) * len(AXES)
    )


def describe_shardings(config: Config, mesh: AbstractMesh, batch_size: int) -> dict[str, dict[str, Any]]:
    """Describes shapes and partition specs.

    Args:
        config: of the model.
        mesh: from `abstract_mesh`.
        batch_size: global batch size of the activations.

    Returns:
        "parameters": path -> "[shape] spec"; "activations": "dtype[shape] spec" -> number of such constraints
        in the forward pass.
    """
    model = make_model(config)
    boxed = jax.eval_shape(
        lambda key: model.init(key, example_batch(config))["params"],
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    params = nn.unbox(boxed)
    shardings = jax.tree.leaves(state_sharding(boxed, mesh))
    batch = jax.eval_shape(lambda: example_batch(config, batch_size))
    with jax.sharding.use_abstract_mesh(mesh), nn.logical_axis_rules(RULES):
        forward = jax.jit(lambda params, batch: model.apply({"params": params}, batch).logits)
        constraints = _constraints(forward.trace(params, batch).jaxpr.jaxpr)
        activations = collections.Counter(constraints)
    return {
        "parameters": {
            path_name(path): f"{list(x.shape)} {_spec(sharding, x.ndim)}"
            for (path, x), sharding in zip(jax.tree.leaves_with_path(params), shardings, strict=True)
        },
        "activations": dict(sorted(activations.items())),
    }


def _constraints(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "sharding_constraint":
            value = equation.outvars[0].aval
            yield f"{value.dtype}{list(value.shape)} {_spec(equation.params['sharding'], value.ndim)}"
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _constraints(inner)


def _spec(sharding: jax.sharding.NamedSharding, ndim: int) -> str:
    """Mesh axes by dimension, "." for none: "(data+fsdp, ., tensor)"."""
    axes = [*sharding.spec, *[None] * (ndim - len(sharding.spec))]
    names = ["." if a is None else a if isinstance(a, str) else "+".join(a) for a in axes]
    return f"({', '.join(names)})"

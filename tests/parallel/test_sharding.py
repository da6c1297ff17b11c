"""Every parameter and main activation has a logical name, every name is in the table."""

import flax.linen as nn
import jax
import pytest

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import MeshConfig
from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parallel.mesh import AXES, make_mesh
from dualdub_jax.parallel.sharding import RULES, constrain
from tests.tiny import tiny_config


def _boxed_params():
    config = tiny_config()
    return jax.eval_shape(lambda: make_model(config).init(jax.random.key(0), example_batch(config)))


def test_every_parameter_names_every_axis_and_every_name_is_in_the_table():
    known = {name for name, _ in RULES}
    leaves = jax.tree.leaves_with_path(_boxed_params(), is_leaf=lambda x: isinstance(x, nn.Partitioned))
    assert len(leaves) > 50
    for path, leaf in leaves:
        assert isinstance(leaf, nn.Partitioned), path_name(path)
        assert len(leaf.names) == leaf.value.ndim, path_name(path)
        assert set(leaf.names) <= known, (path_name(path), leaf.names)


def test_the_table_names_only_mesh_axes():
    for _, axes in RULES:
        for axis in (axes,) if isinstance(axes, str) else axes or ():
            assert axis in AXES


def test_a_misspelt_name_is_an_error():
    mesh = make_mesh(MeshConfig())
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES), pytest.raises(ValueError, match="lenght"):
        jax.jit(lambda x: constrain(x, "batch", "lenght"))(jax.numpy.zeros((2, 2)))


def test_a_mesh_that_does_not_fill_the_devices_is_refused():
    with pytest.raises(UserError, match=r"tensor=3, sequence=1 does not fill"):
        make_mesh(MeshConfig(data=1, tensor=3))
    with pytest.raises(UserError, match="at most one may be -1"):
        make_mesh(MeshConfig(data=-1, fsdp=-1))

"""Parameters frozen by path."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.training.freezing import merge_frozen, split_frozen

PARAMS = {
    "a": {"kernel": jnp.ones((2, 2)), "inner": {"bias": jnp.ones(2)}},
    "b": {"kernel": nn.with_partitioning(jnp.ones, ("embed", "mlp"))((2, 2))},
}


@pytest.mark.parametrize("freeze", [(), ("a/.*",), ("a/inner/bias", "b/kernel"), (".*/kernel",)])
def test_the_parts_are_disjoint_and_merge_to_the_whole(freeze):
    trained, frozen = split_frozen(PARAMS, freeze)
    merged = merge_frozen(trained, frozen)
    assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)
    count = len(jax.tree.leaves(trained)) + len(jax.tree.leaves(frozen))
    assert count == len(jax.tree.leaves(PARAMS))


def test_whole_paths_are_matched():
    trained, frozen = split_frozen(PARAMS, ("a/inner/.*",))
    assert set(trained) == {"a", "b"} and set(trained["a"]) == {"kernel"}
    assert set(frozen) == {"a"} and set(frozen["a"]) == {"inner"}
    with pytest.raises(UserError, match="'inner' matches no parameter; paths look like 'a/kernel'"):
        split_frozen(PARAMS, ("inner",))


def test_something_must_be_left_to_train():
    with pytest.raises(UserError, match="leaves no parameter to train"):
        split_frozen(PARAMS, (".*",))

"""Masked decay and the schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.config import OptimizerConfig
from dualdub_jax.training.optimizer import make_optimizer, make_schedule

PARAMS = {
    "a": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "b": {"kernel": jnp.ones((2, 2)), "embedding": jnp.ones((4, 2))},
}


def _step(config, grads):
    optimizer = make_optimizer(config, 100)
    state = optimizer.init(PARAMS)
    # Twice: the learning rate is zero at step 0.
    for _ in range(2):
        updates, state = optimizer.update(grads, state, PARAMS)
    return optax.apply_updates(PARAMS, updates)


def test_decay_pulls_kernels_only():
    config = OptimizerConfig(warmup_steps=1, weight_decay=0.5)
    moved = _step(config, jax.tree.map(jnp.zeros_like, PARAMS))
    assert (moved["a"]["kernel"] < 1).all() and (moved["b"]["kernel"] < 1).all()
    np.testing.assert_array_equal(moved["a"]["bias"], 1)
    np.testing.assert_array_equal(moved["b"]["embedding"], 1)


def test_schedule_warms_up_peaks_and_ends_at_its_ratio():
    schedule = make_schedule(
        OptimizerConfig(learning_rate=1.0, warmup_steps=10, final_learning_rate_ratio=0.1), 110
    )
    assert schedule(0) == 0.0
    np.testing.assert_allclose(schedule(10), 1.0)
    np.testing.assert_allclose(schedule(110), 0.1, rtol=1e-5)


def test_warm_up_can_start_above_zero():
    schedule = make_schedule(
        OptimizerConfig(
            learning_rate=1.0,
            warmup_steps=10,
            initial_learning_rate_ratio=0.01,
            final_learning_rate_ratio=0.01,
        ),
        110,
    )
    np.testing.assert_allclose([schedule(0), schedule(5), schedule(110)], [0.01, 0.505, 0.01], rtol=1e-5)


def test_without_decay_and_clipping_it_is_adam_with_its_epsilon():
    config = OptimizerConfig(
        learning_rate=1.0, warmup_steps=1, b1=0.9, b2=0.98, eps=1e-2, weight_decay=0.0, clip_norm=0.0
    )
    grads = jax.tree.map(lambda x: 3e-2 * jnp.ones_like(x), PARAMS)
    reference, params = optax.adam(make_schedule(config, 100), b1=0.9, b2=0.98, eps=1e-2), PARAMS
    state = reference.init(params)
    for _ in range(2):
        updates, state = reference.update(grads, state, params)
    expected = optax.apply_updates(params, updates)
    moved = _step(config, grads)
    jax.tree.map(np.testing.assert_array_equal, moved, expected)
    assert abs(float(moved["a"]["bias"][0]) - 0.25) < 1e-4  # 1 - m / (sqrt(v) + eps), not clipped to norm 1

"""The script aligner: it reads from left to right, frame by frame as all at once, and learns where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.curriculum.losses import alignment_loss
from dualdub_jax.models.aligners.script import ScriptAligner, ScriptAlignment
from tests.tiny import random_batch, tiny_config

ALIGNER = ScriptAligner(width=16)
NUM_FRAMES, NUM_TOKENS = 24, 6


def _read(params, frames, script, mask, position=None) -> ScriptAlignment:
    def run(aligner: ScriptAligner) -> ScriptAlignment:
        start = jnp.zeros(len(frames)) if position is None else position
        return aligner(frames, aligner.encode(script, mask), start)

    return ALIGNER.apply({"params": params}, method=run)


def _init(frames, script, mask):
    def run(aligner: ScriptAligner) -> ScriptAlignment:
        return aligner(frames, aligner.encode(script, mask), jnp.zeros(len(frames)))

    return ALIGNER.init(jax.random.key(0), method=run)["params"]


def _inputs(batch_size: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(batch_size, NUM_FRAMES, 16)).astype(np.float32)
    script = rng.normal(size=(batch_size, NUM_TOKENS, 16)).astype(np.float32)
    mask = np.arange(NUM_TOKENS) < np.array([[NUM_TOKENS], [4], [1]])
    return frames, script, mask


def test_frame_by_frame_is_the_same_as_all_at_once() -> None:
    frames, script, mask = _inputs()
    params = _init(frames, script, mask)
    whole = _read(params, frames, script, mask)
    position = jnp.zeros(len(frames))
    for t in range(NUM_FRAMES):
        one = _read(params, frames[:, t : t + 1], script, mask, position)
        position = one.positions[:, 0]
        np.testing.assert_allclose(one.values[:, 0], whole.values[:, t], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(position, whole.positions[:, t], rtol=1e-4, atol=1e-5)


def test_frames_to_come_and_padding_change_nothing() -> None:
    frames, script, mask = _inputs()
    params = _init(frames, script, mask)
    expected = _read(params, frames, script, mask)
    script[~mask] = 100.0
    frames[:, 10:] += 1.0
    got = _read(params, frames, script, mask)
    np.testing.assert_array_equal(got.positions[:, :10], expected.positions[:, :10])
    np.testing.assert_array_equal(got.values[:, :10], expected.values[:, :10])
    assert np.abs(got.positions[:2, 10:] - expected.positions[:2, 10:]).max() > 1e-3


def test_it_moves_on_and_stays_within_the_script() -> None:
    frames, script, mask = _inputs()
    positions = _read(_init(frames, script, mask), frames, script, mask).positions
    assert (positions >= 0).all()
    assert (positions <= mask.sum(1, keepdims=True) - 1).all()
    assert (positions[0, -1] > positions[0, 0] + 1).all()
    np.testing.assert_array_equal(positions[2], 0)  # one token: nowhere to go


def test_it_learns_where_it_is() -> None:
    """Frames that are noisy copies of the token being said, some long and some short, in random words."""
    config = tiny_config()
    embedding = jax.random.normal(jax.random.key(5), (20, 16))

    def example(key):
        words, lengths, noise = jax.random.split(key, 3)
        script = jax.random.choice(words, 20, (NUM_TOKENS,), replace=False)
        ends = jnp.cumsum(jax.random.randint(lengths, (NUM_TOKENS,), 2, 7))
        place = jnp.searchsorted(ends, jnp.arange(NUM_FRAMES), side="right").clip(0, NUM_TOKENS - 1)
        frames = embedding[script[place]] + 0.3 * jax.random.normal(noise, (NUM_FRAMES, 16))
        return frames, embedding[script], place.astype(jnp.int32)

    def batch(key):
        return jax.vmap(example)(jax.random.split(key, 32))

    base = random_batch(config, 32).replace(frame_mask=jnp.ones((32, NUM_FRAMES), bool))
    mask = jnp.ones((32, NUM_TOKENS), bool)
    frames, script, _ = batch(jax.random.key(0))
    params = _init(frames, script, mask)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(carry, key):
        params, state = carry
        frames, script, place = batch(key)

        def loss(params):
            log_weights = _read(params, frames, script, mask).log_weights
            parts = alignment_loss(log_weights, base.replace(script_alignment=place))
            return parts.loss.sum() / parts.weight.sum()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    def error(params) -> float:
        frames, script, place = batch(jax.random.key(99))
        return float(jnp.abs(_read(params, frames, script, mask).positions - place).mean())

    before = error(params)
    carry = (params, optimizer.init(params))
    for key in jax.random.split(jax.random.key(1), 150):
        carry, value = step(carry, key)
    assert before > 1.0  # tokens
    assert error(carry[0]) < 0.5
    assert value < 0.5

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dualdub_jax.codecs.mel_rvq.training.discriminator import (
    SpectrogramDiscriminator,
    discriminator_loss,
    generator_losses,
)
from dualdub_jax.parallel.sharding import RULES

RATE = 16_000
ADVERSARY = SpectrogramDiscriminator(RATE, ((256, 64, 32), (512, 128, 40)), width=8)


def _tones(seed: int, depth: float) -> np.ndarray:
    """float32[4, 8000]: noise whose bands rise and fall by `depth`; 0 is what a mean over many would be."""
    rng = np.random.default_rng(seed)
    spectra = np.fft.rfft(rng.standard_normal((4, 8000)))
    ripple = np.cos(2 * np.pi * np.arange(spectra.shape[1]) / 200 + rng.uniform(0, 6, (4, 1)))
    return (0.1 * np.fft.irfft(spectra * np.exp(depth * ripple))).astype(np.float32)


def _init() -> dict:
    return nn.unbox(ADVERSARY.init(jax.random.key(0), _tones(0, 1.0)))


def test_it_learns_to_detect_a_blur():
    """Two adversaries, one that is given two kinds of sound and one that is given the same kind twice."""
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, true, made):
        def loss_fn(params):
            return discriminator_loss(ADVERSARY.apply(params, true), ADVERSARY.apply(params, made))

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    def last_losses(depth: float) -> float:
        params = _init()
        state, losses = optimizer.init(params), []
        for i in range(120):
            params, state, loss = step(params, state, _tones(2 * i, 1.0), _tones(2 * i + 1, depth))
            losses.append(float(loss))
        return np.mean(losses[-20:])

    assert last_losses(depth=0.0) < 0.2
    assert last_losses(depth=1.0) > 0.45  # nothing to tell apart: one half is the best that there is


def test_scores_and_features_for_the_maker():
    params, true = _init(), _tones(0, 1.0)
    features = ADVERSARY.apply(params, true)
    generator_loss, feature_matching = generator_losses(features, features)
    assert float(feature_matching) == 0.0
    wanted = np.mean([float(jnp.mean((layers[-1] - 1.0) ** 2)) for layers in features])
    assert float(generator_loss) == pytest.approx(wanted)
    near, far = (generator_losses(features, ADVERSARY.apply(params, _tones(0, d)))[1] for d in (0.9, 0.2))
    assert 0.0 < float(near) < float(far)


def test_the_true_waveform_gets_no_gradient():
    params, made = _init(), _tones(1, 0.0)

    def loss(true):
        return generator_losses(ADVERSARY.apply(params, true), ADVERSARY.apply(params, made))[1]

    assert not np.asarray(jax.grad(loss)(_tones(0, 1.0))).any()


def test_silence_has_finite_gradients():
    params = _init()

    def loss(made):
        return sum(generator_losses(ADVERSARY.apply(params, _tones(0, 1.0)), ADVERSARY.apply(params, made)))

    assert np.isfinite(np.asarray(jax.grad(loss)(jnp.zeros((4, 8000))))).all()


def test_every_axis_has_a_rule():
    names = {name for name, _ in RULES}
    boxes = jax.tree.leaves(
        jax.eval_shape(ADVERSARY.init, jax.random.key(0), _tones(0, 1.0)),
        is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned),
    )
    assert boxes and all(isinstance(box, nn.LogicallyPartitioned) for box in boxes)
    assert {axis for box in boxes for axis in box.names if axis} <= names

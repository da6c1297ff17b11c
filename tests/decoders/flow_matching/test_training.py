"""What trains the embedding, and the statistics of latents."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.registry import codec_class, codec_config
from dualdub_jax.decoders.flow_matching.flow import euler_times, integrate
from dualdub_jax.decoders.flow_matching.training import Statistics, abstract_crops, flow_phase
from tests.decoders.flow_matching.tiny_flow import MEL, flow_config
from tests.phases import run_steps

TRAINING = {"batch_size": 2, "crop_frames": 4, "num_steps": 3, "statistics_steps": 2}


def test_statistics_are_those_of_all_latents():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, (2, n, 5)).astype(np.float32) for n in (3, 40, 7)]
    found = Statistics(jnp.zeros(()), jnp.zeros(5), jnp.ones(5))
    for batch in batches:
        found = found.updated(batch)
    rows = np.concatenate([batch.reshape(-1, 5) for batch in batches])
    np.testing.assert_allclose(found.variables["mean"], rows.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.variables["std"], rows.std(0), rtol=1e-4)


def make_phase(initial=None, **training):
    config = flow_config({**MEL, "training": {**TRAINING, **training}})
    codec = codec_class(config, "speech").init(codec_config(config, "speech"), jax.random.key(0))

    def batches(batch_size, crop_frames, target):
        assert (batch_size, crop_frames, target) == (2, 4, None)
        shape = abstract_crops(config, "speech")["waveform"].shape
        for seed in itertools.count():
            yield {"waveform": 0.1 * np.random.default_rng(seed).normal(size=shape).astype(np.float32)}

    return flow_phase(config, "speech", {"codec": codec}, batches, initial)


def table(state) -> np.ndarray:
    return np.asarray(state.params["embedding"]["table"])


@pytest.mark.parametrize(
    ("stop_gradient", "regression_weight", "moves"),
    [(True, 0.0, False), (True, 1.0, True), (False, 0.0, True)],
)
def test_the_embedding_is_moved_by_the_losses_that_may(stop_gradient, regression_weight, moves):
    phase = make_phase(stop_gradient=stop_gradient, regression_weight=regression_weight)
    # Before the first step the network gives no gradient: its last layer is zero.
    state, metrics = run_steps(phase, 3)
    first, _ = run_steps(phase, 0)
    assert (np.abs(table(state) - table(first)).max() > 1e-6) == moves
    assert all(np.isfinite(list(step.values())).all() for step in metrics)
    losses = metrics[-1]
    wanted = losses["flow_loss"] + regression_weight * losses["regression_loss"]
    assert losses["loss"] == pytest.approx(wanted, rel=1e-5)


def test_statistics_are_measured_in_the_first_steps_or_given():
    one, two, three = (run_steps(make_phase(), n)[0].extra for n in (1, 2, 3))
    assert not np.allclose(one.mean, two.mean) and two.count == 2 * one.count
    jax.tree.map(np.testing.assert_array_equal, two, three)  # of two steps
    given = {"mean": np.full(80, -3.0, np.float32), "std": np.full(80, 2.0, np.float32)}
    phase = make_phase({"statistics": given})
    found = phase.parameters(run_steps(phase, 1)[0])["statistics"]
    jax.tree.map(np.testing.assert_allclose, found, given)


@pytest.mark.parametrize("sway", [-1.0, 0.0, 0.7])
def test_euler_steps_follow_a_straight_path_exactly(sway):
    times = euler_times(7, sway)
    assert times[0] == 0 and times[-1] == pytest.approx(1) and (np.diff(times) > 0).all()
    start, end = np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)
    found = integrate(lambda x, t: end - start, jnp.asarray(start), times)
    np.testing.assert_allclose(found, end, rtol=1e-5)
    if sway == -1.0:  # CosyVoice's
        np.testing.assert_allclose(times, 1 - np.cos(np.pi / 2 * np.linspace(0, 1, 8)), atol=1e-6)

"""Generation equals the model's own forward pass, holds its context, and obeys its switches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dsp.acoustics_bins import bin_values
from dualdub_jax.dubbing.generation import Steering, generate_tokens, sample_acoustics
from dualdub_jax.dubbing.sampling import stream_sampling
from dualdub_jax.models.dualdub import make_model
from tests.tiny import random_batch, random_params, tiny_config

CONFIG = tiny_config()
GREEDY = stream_sampling(SamplingConfig(speech_temperature=0.0, background_temperature=0.0))
WARM = stream_sampling(SamplingConfig(speech_temperature=1.0, background_temperature=1.0))


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def generate(params):
    jitted = jax.jit(functools.partial(generate_tokens, make_model(CONFIG)))

    def run(batch, num_context=0, seed=0, sampling=GREEDY, guidance=None, guided=0, steering=None):
        scale = None if guidance is None else jnp.float32(guidance)
        key, num_context, guided = jax.random.key(seed), jnp.int32(num_context), jnp.int32(guided)
        tokens = jitted(params, batch, num_context, key, sampling, scale, guided, steering)
        return {stream: np.asarray(value) for stream, value in tokens.items()}

    return run


def test_greedy_tokens_are_the_most_likely_ones_of_the_forward_pass(params, generate):
    batch = random_batch(CONFIG, 2)
    tokens = generate(batch)
    output = jax.jit(make_model(CONFIG).apply)(
        {"params": params},
        batch.replace(speech_tokens=tokens["speech"], background_tokens=tokens["background"]),
    )
    for stream in ("speech", "background"):
        np.testing.assert_array_equal(np.argmax(output.logits[stream], -1), tokens[stream])


def test_context_frames_are_kept_and_condition_the_rest(generate):
    first, second = random_batch(CONFIG, 1, seed=1), random_batch(CONFIG, 1, seed=2)
    second = second.replace(video=first.video, script_tokens=first.script_tokens, voice=first.voice)
    one, two = generate(first, num_context=4), generate(second, num_context=4)
    np.testing.assert_array_equal(one["speech"][:, :4], first.speech_tokens[:, :4])
    np.testing.assert_array_equal(two["background"][:, :4], second.background_tokens[:, :4])
    assert (one["speech"][:, 4:] != two["speech"][:, 4:]).any()


def test_an_absent_stream_is_zero_and_the_other_is_as_without_it(generate):
    batch = random_batch(CONFIG, 1).replace(has_speech=np.zeros(1, bool))
    tokens = generate(batch)
    np.testing.assert_array_equal(tokens["speech"], 0)
    assert tokens["background"].any()


def test_steering(generate):
    """Silence is given where nothing is due, and not sampled where the script is late."""
    batch = random_batch(CONFIG, 2)
    free = generate(batch, num_context=2, guidance=3.0)
    silent_codes = np.zeros(16, bool)
    silent_codes[free["speech"][:, 4:, 0]] = True
    open_steering = Steering(
        is_silent=np.zeros(12, bool),
        due_position=np.zeros(12, np.float32),
        least_position=np.zeros(12, np.float32),
        most_position=np.full(12, 100, np.float32),
        silent_codes=silent_codes,
    )

    def steered(**changes) -> dict[str, np.ndarray]:
        return generate(batch, num_context=2, guidance=3.0, steering=open_steering.replace(**changes))

    for stream, tokens in steered().items():
        np.testing.assert_array_equal(tokens, free[stream])
    is_silent = np.arange(12) >= 9
    silenced = steered(is_silent=is_silent)
    np.testing.assert_array_equal(silenced["speech"][:, 9:], batch.speech_tokens[:, 9:])
    np.testing.assert_array_equal(silenced["speech"][:, :9], free["speech"][:, :9])
    assert (silenced["background"][:, 10:] != batch.background_tokens[:, 10:]).any()
    late = steered(due_position=np.full(12, 100, np.float32))["speech"]
    np.testing.assert_array_equal(late[:, :2], batch.speech_tokens[:, :2])
    assert not silent_codes[late[:, 2:, 0]].any()
    # The position in the script conditions which words are generated, and when.
    for changes in (
        {"most_position": np.zeros(12, np.float32)},
        {"least_position": np.full(12, 7, np.float32)},
    ):
        assert (steered(**changes)["speech"] != free["speech"]).any()


def test_the_seed_decides(generate):
    batch = random_batch(CONFIG, 1)
    first, again = generate(batch, seed=1, sampling=WARM), generate(batch, seed=1, sampling=WARM)
    other = generate(batch, seed=2, sampling=WARM)
    np.testing.assert_array_equal(first["speech"], again["speech"])
    assert (first["speech"] != other["speech"]).any()


def test_guidance_of_one_is_no_guidance_and_more_moves_the_tokens(generate):
    batch = random_batch(CONFIG, 2)
    plain, one, three = generate(batch), generate(batch, guidance=1.0), generate(batch, guidance=3.0)
    np.testing.assert_array_equal(plain["speech"], one["speech"])
    assert (plain["speech"] != three["speech"]).any()


def test_guidance_of_the_first_codebooks_leaves_the_others_alone(generate):
    """In the first frame, before the past differs: its first code is guided, the others follow from it."""
    batch = random_batch(CONFIG, 16)
    plain, every = generate(batch)["speech"][:, 0], generate(batch, guidance=3.0)["speech"][:, 0]
    first = generate(batch, guidance=3.0, guided=1)["speech"][:, 0]
    np.testing.assert_array_equal(first[:, 0], every[:, 0])
    is_same = first[:, 0] == plain[:, 0]
    assert is_same.any() and not is_same.all() and (every[is_same] != plain[is_same]).any()
    np.testing.assert_array_equal(first[is_same], plain[is_same])
    all_of_them = generate(batch, guidance=3.0, guided=plain.shape[-1])["speech"][:, 0]
    np.testing.assert_array_equal(all_of_them, every)


def test_guidance_does_nothing_without_conditions(generate):
    absent = np.zeros(1, bool)
    batch = random_batch(CONFIG, 1).replace(
        has_video=absent, has_script=absent, has_voice=absent, has_acoustics=absent
    )
    np.testing.assert_array_equal(generate(batch)["speech"], generate(batch, guidance=3.0)["speech"])


def test_acoustics_are_sampled_from_the_video(params):
    bins = CONFIG.model.num_acoustics_bins
    sure = params | {"acoustics_head": jax.tree.map(jnp.zeros_like, params["acoustics_head"])}
    sure["acoustics_head"]["bias"] = jnp.full((2, bins), -50.0).at[0, 1].set(50.0).at[1, bins - 1].set(50.0)
    draw = jax.jit(functools.partial(sample_acoustics, make_model(CONFIG)))
    batch = random_batch(CONFIG, 3)
    drawn = draw(sure, batch, jax.random.key(0))
    np.testing.assert_allclose(drawn, bin_values(jnp.array([[1, bins - 1]] * 3), bins))
    several = np.asarray([draw(params, batch, jax.random.key(seed)) for seed in range(8)])
    assert len(np.unique(several[..., 0])) > 1 and len(np.unique(several[..., 1])) > 1
    blind = batch.replace(has_acoustics=np.zeros(3, bool), acoustics=np.full((3, 2), np.nan, np.float32))
    np.testing.assert_array_equal(draw(params, blind, jax.random.key(1)), several[1])


@pytest.mark.parametrize("quantity", [0, 1])
def test_acoustics_condition_both_streams(generate, quantity):
    batch = random_batch(CONFIG, 2)
    acoustics = batch.acoustics.copy()
    acoustics[:, quantity] = [0.06, 3.0] if quantity == 0 else [-79.0, -21.0]
    one, other = generate(batch), generate(batch.replace(acoustics=acoustics))
    for stream in ("speech", "background"):
        assert (one[stream] != other[stream]).any()

"""Generation equals the model's own forward pass, holds its context, and obeys its switches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import SamplingConfig
from dualdub_jax.inference.decode import generate_tokens
from dualdub_jax.inference.sampling import stream_sampling
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

    def run(batch, num_context=0, seed=0, sampling=GREEDY, guidance=None):
        scale = None if guidance is None else jnp.float32(guidance)
        tokens = jitted(params, batch, jnp.int32(num_context), jax.random.key(seed), sampling, scale)
        return {stream: np.asarray(value) for stream, value in tokens.items()}

    return run


def test_greedy_tokens_are_the_most_likely_ones_of_the_forward_pass(params, generate):
    batch = random_batch(CONFIG, 2)
    tokens = generate(batch)
    logits, _ = jax.jit(make_model(CONFIG).apply)(
        {"params": params},
        batch.replace(speech_tokens=tokens["speech"], background_tokens=tokens["background"]),
    )
    for stream in ("speech", "background"):
        np.testing.assert_array_equal(np.argmax(logits[stream], -1), tokens[stream])


def test_context_frames_are_kept_and_heard(generate):
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


def test_guidance_does_nothing_without_conditions(generate):
    absent = np.zeros(1, bool)
    batch = random_batch(CONFIG, 1).replace(has_video=absent, has_script=absent, has_voice=absent)
    np.testing.assert_array_equal(generate(batch)["speech"], generate(batch, guidance=3.0)["speech"])

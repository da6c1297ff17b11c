"""Bounds of the position in a script: begin marker before it is due, end marker behind, a rate between."""

import jax
import numpy as np
import pytest

from dualdub_jax.dubbing.steering import SLACK_TOKENS, make_steering, silence_tokens
from tests.codecs.toy_codec import ToyCodec


def steering(span: tuple[int, int], needed_frames: float, num_tokens: int = 21, num_context: int = 10):
    return make_steering(100, span, num_tokens, needed_frames, num_context, np.zeros(4, bool))


def test_the_script_is_spoken_in_its_span_only():
    made = steering((30, 80), 20.0)
    frame = np.arange(100)
    np.testing.assert_array_equal(made.is_silent, ((frame >= 10) & (frame < 30)) | (frame >= 80))
    assert not made.most_position[:30].any() and (made.most_position[30:] == 20).all()
    assert (made.least_position[80:] == 20).all() and not made.due_position[80:].any()


def test_the_model_is_free_until_the_words_must_begin():
    made = steering((30, 80), 20.0)
    assert not made.due_position[:61].any() and not made.least_position[:61].any()
    np.testing.assert_allclose(made.due_position[60:80], np.arange(20))
    np.testing.assert_allclose(made.least_position[62:80], np.arange(2, 20) - SLACK_TOKENS)


def test_words_that_need_the_whole_span_begin_with_it():
    np.testing.assert_allclose(steering((30, 50), 90.0).due_position[30:50], np.arange(20))


@pytest.mark.parametrize("end", [10, 100])
def test_an_empty_span_is_silence(end):
    made = steering((end, end), 0.0, num_tokens=2)
    np.testing.assert_array_equal(made.is_silent, np.arange(100) >= 10)
    assert not made.due_position.any()


def test_silence_is_noise_of_the_room():
    config = ToyCodec.Config()
    codec = ToyCodec(config, ToyCodec.init(config, jax.random.key(0)))
    tokens, silent_codes = silence_tokens(codec, 12, -50.0)
    assert tokens.shape == (12, codec.spec.num_codebooks) and silent_codes[tokens[:, 0]].all()
    assert silent_codes.shape == (codec.spec.codebook_size,)

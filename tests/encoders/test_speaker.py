"""The speaker encoders: what they make of padding, of silence and of an absent reference."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from dualdub_jax.encoders.base import SPEAKER_ENCODERS
from dualdub_jax.encoders.reference_mels import reference_mels
from dualdub_jax.errors import UserError
from tests.tiny import tiny_config

GRID = dataclasses.replace(tiny_config().grid, num_voice_frames=6)


def _encoder(kind, num_vectors=1):
    model = dataclasses.replace(tiny_config().model, speaker_encoder=kind, num_speaker_vectors=num_vectors)
    return SPEAKER_ENCODERS.make(kind, config=model, grid=GRID, name="speaker_encoder")


def _voices(num_frames):
    samples = np.random.default_rng(0).normal(size=(2, 6 * GRID.samples_per_frame)).astype(np.float32) * 0.1
    mask = np.broadcast_to(np.arange(6) < num_frames, (2, 6))
    return samples, mask


@pytest.mark.parametrize("kind", ["attention_pooling", "mean_pooling", "mean_pooling(num_layers=1)"])
def test_what_lies_behind_the_recording_changes_nothing(kind):
    encoder, (voice, mask), has_voice = _encoder(kind), _voices(4), np.array([True, True])
    params = nn.unbox(encoder.init(jax.random.key(0), voice, mask, has_voice))
    vectors = encoder.apply(params, voice, mask, has_voice)
    assert vectors.shape == (2, 1, tiny_config().model.width)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3  # of two recordings
    padded = np.where(np.repeat(mask, GRID.samples_per_frame, axis=1), voice, np.float32(0.7))
    np.testing.assert_allclose(encoder.apply(params, padded, mask, has_voice), vectors, atol=1e-6)


def test_without_a_reference_the_mean_is_zeros_and_ignores_the_samples():
    encoder, (voice, mask), has_voice = _encoder("mean_pooling"), _voices(6), np.array([False, True])
    params = nn.unbox(encoder.init(jax.random.key(0), voice, mask, has_voice))
    vectors = encoder.apply(params, np.full_like(voice, np.nan), mask, np.array([False, False]))
    np.testing.assert_array_equal(vectors, 0.0)
    assert np.abs(encoder.apply(params, voice, mask, has_voice)[1]).max() > 0.1


def test_the_mean_is_over_the_frames_of_the_recording():
    encoder, has_voice = _encoder("mean_pooling(num_layers=0)"), np.array([True, True])
    voice, mask = _voices(4)
    params = nn.unbox(encoder.init(jax.random.key(0), voice, mask, has_voice))
    weights, layers = params["params"], encoder.apply(params, voice, mask, has_voice)
    mels = np.asarray(reference_mels(GRID, voice, mask))
    frames = mels @ weights["in"]["kernel"] + weights["in"]["bias"]
    frames = frames / np.sqrt(np.mean(frames**2, axis=-1, keepdims=True)) * weights["layers"]["norm"]["scale"]
    mean = frames[:, :4].mean(axis=1)
    mean = mean / np.sqrt(np.mean(mean**2, axis=-1, keepdims=True)) * weights["out_norm"]["scale"]
    np.testing.assert_allclose(layers[:, 0], mean @ weights["out"]["kernel"], atol=1e-4)


def test_mean_pooling_has_one_vector():
    encoder, (voice, mask) = _encoder("mean_pooling", num_vectors=4), _voices(6)
    with pytest.raises(UserError, match=r"num_speaker_vectors: is 4, but .*mean_pooling computes 1"):
        encoder.init(jax.random.key(0), voice, mask, np.array([True, True]))

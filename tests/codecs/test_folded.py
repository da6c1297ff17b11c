"""A codec of 50 Hz on a grid of 25 Hz: the same tokens and the same waveforms, two frames side by side."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from dualdub_jax.codecs.folded import FoldedCodec, fold_of
from dualdub_jax.codecs.registry import make_codec
from dualdub_jax.errors import UserError
from tests.codecs.mel_rvq.test_codec import make_codec as make_mel_rvq
from tests.tiny import tiny_config, with_codec

FOLD, Q, SAMPLES = 2, 3, 640  # samples of a grid frame
OPTIONS = {"frame_rate_hz": 50, "tonal_source": "grid", "speaker_dim": 6}


@pytest.fixture(scope="module")
def inner():
    return make_mel_rvq(**OPTIONS)


@pytest.fixture(scope="module")
def folded(inner):
    return FoldedCodec(inner, FOLD)


def _noise(num_samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((2, num_samples))).astype(np.float32)


def _tokens(num_frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 16, (2, num_frames, FOLD * Q)).astype(np.int32)


def test_the_spec_is_that_of_the_grid(inner, folded):
    assert (inner.spec.frame_rate, inner.spec.num_codebooks) == (Fraction(50), Q)
    assert (folded.spec.frame_rate, folded.spec.num_codebooks) == (Fraction(25), FOLD * Q)
    assert folded.spec.samples_per_frame == SAMPLES == FOLD * inner.spec.samples_per_frame
    assert folded.spec.decode_conditions == inner.spec.decode_conditions == {"speaker"}
    assert inner.latency_frames <= FOLD * folded.latency_frames < inner.latency_frames + FOLD


def test_the_config_of_a_stream_folds_its_codec(inner):
    config = with_codec(tiny_config(), "speech", **vars(inner.config))
    codec = make_codec(config, "speech", inner.variables)
    assert isinstance(codec, FoldedCodec) and codec.spec.num_codebooks == FOLD * Q
    with pytest.raises(UserError, match=r"streams.speech.codec: .* 50 .* grid's 30"):
        fold_of(inner.spec, Fraction(30), "streams.speech.codec")


@pytest.mark.parametrize("num_samples", [6400, 6401, 321])  # whole, and two that need completing
def test_tokens_are_those_of_the_codec_earlier_frame_first(inner, folded, num_samples):
    tokens = np.asarray(folded.encode(_noise(num_samples)))
    num_frames = -(-num_samples // SAMPLES)
    assert tokens.shape == (2, num_frames, FOLD * Q)
    completed = np.pad(_noise(num_samples), ((0, 0), (0, num_frames * SAMPLES - num_samples)))
    alone = np.asarray(inner.encode(completed))
    np.testing.assert_array_equal(tokens[:, :, :Q], alone[:, 0::2])
    np.testing.assert_array_equal(tokens[:, :, Q:], alone[:, 1::2])


def test_masks_are_those_of_the_codec(inner, folded):
    mask = np.arange(10)[None] < np.array([[10], [6]])
    garbage = np.where(np.repeat(mask, SAMPLES, axis=1), _noise(6400), np.nan)
    tokens = np.asarray(folded.encode(garbage, mask))
    alone = np.asarray(inner.encode(_noise(6400)[1:, : 6 * SAMPLES]))
    np.testing.assert_array_equal(tokens[1, :6].reshape(12, Q), alone[0])
    waveform = np.asarray(folded.decode(_tokens(10), mask))
    assert not waveform[1, 6 * SAMPLES :].any() and waveform[1, : 6 * SAMPLES].any()


def test_waveforms_are_those_of_the_codec_with_its_conditions(inner, folded):
    tokens = _tokens(12)
    speaker = folded.encode_speaker(_noise(8 * SAMPLES), np.arange(8)[None] < np.array([[8], [5]]))
    expected = inner.encode_speaker(_noise(8 * SAMPLES), np.arange(16)[None] < np.array([[16], [10]]))
    np.testing.assert_array_equal(speaker, expected)
    conditions = {"speaker": speaker}
    waveform = np.asarray(folded.decode(tokens, conditions=conditions))
    alone = inner.decode(tokens.reshape(2, 24, Q), conditions=conditions)
    np.testing.assert_array_equal(waveform, alone)
    assert not np.array_equal(waveform, folded.decode(tokens))


@pytest.mark.parametrize("chunks", [(40,), (1,) * 40, (0, 3, 21, 0, 16)])
def test_streaming_equals_one_shot(folded, chunks):
    tokens = _tokens(40)
    conditions = {"speaker": folded.encode_speaker(_noise(8 * SAMPLES))}
    expected = np.asarray(folded.decode(tokens, conditions=conditions))
    stream = folded.stream(conditions, chunk_frames=4)
    pieces = [stream.push(part) for part in np.split(tokens, np.cumsum(chunks)[:-1], axis=1)]
    decoded = np.concatenate([*pieces, stream.flush()], axis=1)
    assert decoded.shape == expected.shape == (2, 40 * SAMPLES)
    np.testing.assert_allclose(decoded, expected, atol=0.02 * np.abs(expected).max())
    assert np.mean(np.abs(decoded - expected)) < 2e-3 * np.std(expected)


def test_a_stream_waits_no_longer_than_its_latency(folded):
    stream, num_frames, chunk_frames = folded.stream(chunk_frames=4), 40, 4
    decoded = stream.push(_tokens(num_frames)).shape[1]
    assert decoded >= (num_frames - folded.latency_frames - chunk_frames) * SAMPLES


def test_it_can_be_traced(folded):
    """So that a phase can train on its tokens."""
    mask = np.arange(6) < np.array([[6], [4]])
    conditions = {"speaker": np.ones((2, 6), np.float32)}
    decoded = jax.jit(folded.decode)(_tokens(6), mask, conditions)
    np.testing.assert_allclose(decoded, folded.decode(_tokens(6), mask, conditions), atol=1e-5)
    np.testing.assert_array_equal(jax.jit(folded.encode)(decoded, mask), folded.encode(decoded, mask))

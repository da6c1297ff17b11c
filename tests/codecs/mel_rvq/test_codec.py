"""The codec as its users see it, with random variables: what must hold whatever it has learnt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.registry import abstract_codec
from dualdub_jax.config import Config
from dualdub_jax.errors import UserError
from dualdub_jax.types import STREAMS

TINY = MelRVQConfig(
    num_codebooks=3,
    codebook_size=16,
    width=16,
    num_blocks=1,
    kernel_size=3,
    latent_dim=8,
    vocoder_width=16,
    vocoder_num_blocks=1,
    vocoder_kernel_size=3,
)
SAMPLES = TINY.samples_per_frame


def make_codec(**changes) -> MelRVQCodec:
    """A codec whose every parameter is random, so that no path through it is idle."""
    config = dataclasses.replace(TINY, **changes)
    variables = MelRVQCodec.init(config, jax.random.key(0))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [x + 0.1 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    variables = jax.tree.unflatten(tree, leaves)
    variables["codebooks"] = jax.random.normal(jax.random.key(2), variables["codebooks"].shape)
    return MelRVQCodec(config, variables)


@pytest.fixture(scope="module", params=["pitch", "grid", "speaker", "acoustics"])
def codec(request) -> MelRVQCodec:
    if request.param == "speaker":
        return make_codec(speaker_dim=6)
    if request.param == "acoustics":
        return make_codec(acoustics_num_blocks=2, acoustics_width=12, acoustics_kernel_size=5)
    return make_codec(tonal_source=request.param)


def _tokens(codec: MelRVQCodec, batch_size: int, num_frames: int) -> np.ndarray:
    shape = (batch_size, num_frames, codec.spec.num_codebooks)
    return np.random.default_rng(0).integers(0, codec.spec.codebook_size, shape).astype(np.int32)


def _assert_same_sound(heard, expected) -> None:
    """Equal but for rounding.

    Programs of other shapes round otherwise. In a pitch this adds up to a little phase, most of all in high
    harmonics; random variables make it worse than a voice ever is.
    """
    np.testing.assert_allclose(heard, expected, atol=0.02 * np.abs(expected).max())
    assert np.mean(np.abs(heard - expected)) < 2e-3 * np.std(expected)


def _noise(batch_size: int, num_samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((batch_size, num_samples)).astype(np.float32)


@pytest.mark.parametrize(("num_samples", "num_frames"), [(6400, 10), (6401, 11), (1, 1)])
def test_tokens_cover_the_waveform_and_waveforms_the_tokens(codec, num_samples, num_frames):
    tokens = codec.encode(_noise(2, num_samples))
    assert tokens.dtype == jnp.int32
    assert tokens.shape == (2, num_frames, codec.spec.num_codebooks)
    assert int(tokens.min()) >= 0 and int(tokens.max()) < codec.spec.codebook_size
    waveform = codec.decode(tokens)
    assert waveform.dtype == jnp.float32
    assert waveform.shape == (2, num_frames * SAMPLES)
    assert np.all(np.isfinite(waveform))


def test_encode_does_not_see_what_is_outside_the_mask(codec):
    waveform = _noise(2, 20 * SAMPLES)
    mask = np.arange(20)[None] < np.array([[20], [13]])
    garbage = np.where(np.repeat(mask, SAMPLES, axis=1), waveform, np.nan)
    tokens = np.asarray(codec.encode(garbage, mask))
    np.testing.assert_array_equal(tokens[0], codec.encode(waveform[:1])[0])
    np.testing.assert_array_equal(tokens[1, :13], codec.encode(waveform[1:, : 13 * SAMPLES])[0])


def test_decode_does_not_see_what_is_outside_the_mask(codec):
    tokens = _tokens(codec, 2, 40)
    mask = np.arange(40)[None] < np.array([[40], [23]])
    other = np.where(mask[..., None], tokens, (tokens + 5) % codec.spec.codebook_size)
    waveform = np.asarray(codec.decode(tokens, mask))
    np.testing.assert_array_equal(waveform, codec.decode(other, mask))
    assert np.all(waveform[1, 23 * SAMPLES :] == 0.0)
    short = np.asarray(codec.decode(tokens[1:, :23]))[0]
    _assert_same_sound(waveform[1, : 23 * SAMPLES], short)


@pytest.mark.parametrize("chunks", [(70,), (1,) * 70, (0, 3, 31, 0, 2, 20, 14), (69, 1)])
def test_streaming_equals_one_shot(codec, chunks):
    tokens = _tokens(codec, 2, sum(chunks))
    acoustics = np.float32([[0.3, -50.0], [1.2, -30.0]])
    expected = np.asarray(codec.decode(tokens, conditions={"acoustics": acoustics}))
    stream = codec.stream({"acoustics": acoustics})
    pieces, begin = [], 0
    for length in chunks:
        pieces.append(stream.push(tokens[:, begin : begin + length]))
        begin += length
    pieces.append(stream.flush())
    heard = np.concatenate(pieces, axis=1)
    _assert_same_sound(heard, expected)


def test_a_codec_with_acoustics_is_conditioned_on_them_and_others_ignore_them(codec):
    tokens = _tokens(codec, 2, 30)
    unconditioned = np.asarray(codec.decode(tokens))
    one, other = (
        np.asarray(codec.decode(tokens, conditions={"acoustics": np.float32([[s, -50.0]] * 2)}))
        for s in (0.2, 1.5)
    )
    assert (
        (codec.modules.acoustics_renderer is None)
        == np.array_equal(one, other)
        == np.array_equal(one, unconditioned)
    )
    unknown = np.float32([[np.nan, np.nan], [1.5, -50.0]])
    mixed = np.asarray(codec.decode(tokens, conditions={"acoustics": unknown}))
    np.testing.assert_allclose(mixed[0], unconditioned[0], atol=1e-5)
    np.testing.assert_allclose(mixed[1], other[1], atol=1e-5)


def test_stream_says_what_it_can_and_begins_anew_after_flush(codec):
    tokens = _tokens(codec, 1, 60)
    stream = codec.stream()
    decoded = stream.push(tokens[:, :50]).shape[1]
    chunk = 8
    assert decoded >= (50 - codec.latency_frames - chunk) * SAMPLES
    assert decoded % SAMPLES == 0
    rest = stream.flush().shape[1]
    assert decoded + rest == 50 * SAMPLES
    again = np.concatenate([stream.push(tokens), stream.flush()], axis=1)
    expected = np.asarray(codec.decode(tokens))
    _assert_same_sound(again, expected)


def test_stream_refuses_another_batch_size(codec):
    stream = codec.stream()
    stream.push(_tokens(codec, 2, 3))
    with pytest.raises(ValueError, match=r"expected int32\[2, t, 3\]"):
        stream.push(_tokens(codec, 1, 3))


def test_latency_is_the_whole_receptive_field(codec):
    tokens = _tokens(codec, 1, 40)
    changed = tokens.copy()
    changed[:, 20] = (changed[:, 20] + 3) % codec.spec.codebook_size
    difference = np.abs(np.asarray(codec.decode(changed)) - np.asarray(codec.decode(tokens)))[0]
    frames = np.flatnonzero(difference.reshape(40, SAMPLES).max(axis=1) > 0)
    assert frames.min() >= 20 - codec.latency_frames
    if codec.config.tonal_source == "grid":  # a pitch's phase runs on for ever
        assert frames.max() <= 20 + codec.latency_frames


def test_embedded_codecs_fit_their_budget():
    config = Config()
    sizes = [sum(x.size for x in jax.tree.leaves(abstract_codec(config, stream))) for stream in STREAMS]
    # In bfloat16 less than 10 of the 25 MB that a bundled checkpoint may have.
    assert 2 * sum(sizes) < 10e6, sizes


def test_the_spec_names_the_conditions_of_the_decoder(codec):
    config = codec.config
    assert (codec.spec.sample_rate_hz, codec.spec.frame_rate) == (16_000, 25)
    assert codec.spec.samples_per_frame == SAMPLES
    sizes = {"speaker": config.speaker_dim, "acoustics": config.acoustics_num_blocks}
    assert codec.spec.decode_conditions == {name for name, size in sizes.items() if size}


def test_another_sample_rate_and_frame_rate():
    """24 kHz at 40 Hz: a frame has 600 samples, and the waveform of T frames 600 T."""
    codec = make_codec(sample_rate_hz=24_000, frame_rate_hz=40, hop_length=300, vocoder_hop_length=150)
    assert codec.spec.samples_per_frame == 600
    tokens = codec.encode(_noise(1, 24_000))
    assert tokens.shape == (1, 40, 3)
    assert codec.decode(tokens).shape == (1, 24_000)


def test_a_frame_that_is_no_whole_number_of_samples_is_refused():
    with pytest.raises(UserError, match=r"mel_rvq: sample_rate_hz / frame_rate_hz is 571\.429, not a whole"):
        make_codec(frame_rate_hz=28)


def test_hops_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="hop lengths"):
        make_codec(vocoder_hop_length=150)

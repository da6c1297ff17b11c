"""Decoding with random weights: chunks, padding, rates, noise, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import from_dict, to_dict
from dualdub_jax.decoders.base import decoder_training
from dualdub_jax.decoders.flow_matching.latents import make_latents
from dualdub_jax.decoders.oobleck.autoencoder import OobleckDecoder, decoder_context
from dualdub_jax.errors import UserError
from tests.decoders.flow_matching.tiny_flow import (
    MEL,
    OOBLECK,
    flow_config,
    random_decoder,
    random_tokens,
    with_decoder,
)

# 40 tokens a second are 1102.5 samples each at 44.1 kHz.
CASES = {
    "mel": (MEL, {"frame_rate_hz": 25}, 400, 250),
    "oobleck": ({**OOBLECK, "resampling": "linear"}, {"frame_rate_hz": 40}, 33, 14),
    "noise": (
        {**OOBLECK, "source": "noise", "condition": "concatenate", "resampling": "mean", "is_mono": True},
        {"frame_rate_hz": 40},
        33,
        14,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    keys, grid, num_frames, shorter = CASES[request.param]
    config = flow_config(keys, **grid)
    return config, random_decoder(config), num_frames, shorter


def test_chunks_give_the_samples_of_one_call(case):
    config, decoder, num_frames, _ = case
    tokens = random_tokens(config, 2, num_frames)
    whole = np.asarray(decoder.decode(tokens))
    num_samples = -(-num_frames * decoder.sample_rate_hz // config.grid.frame_rate_hz)
    assert whole.shape == (2, num_samples, *([2] if decoder.num_channels == 2 else []))
    assert np.isfinite(whole).all() and np.std(whole) > 1e-4
    for step, chunk_frames in ((7, 1), (num_frames, 75)):
        stream = decoder.open_stream(chunk_frames=chunk_frames)
        pieces = [stream.push(tokens[:, i : i + step]) for i in range(0, num_frames, step)]
        early = sum(piece.shape[1] for piece in pieces)
        streamed = np.concatenate([*pieces, stream.flush()], axis=1)
        assert streamed.shape == whole.shape
        assert early > 0 or chunk_frames > 1  # some samples are there before the end
        np.testing.assert_allclose(streamed, whole, atol=1e-4 * np.abs(whole).max())


def test_a_stream_begins_anew_after_its_end(case):
    config, decoder, _, shorter = case
    tokens = random_tokens(config, 1, shorter)
    stream = decoder.open_stream()
    assert stream.flush().shape[1] == 0
    first, second = (np.concatenate([stream.push(tokens), stream.flush()], axis=1) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_each_row_of_a_padded_batch_is_the_clip_alone(case):
    config, decoder, num_frames, shorter = case
    tokens = random_tokens(config, 2, num_frames)
    tokens[0, shorter:] = 3
    mask = np.arange(num_frames) < np.array([[shorter], [num_frames]])
    batch, alone = np.asarray(decoder.decode(tokens, mask)), np.asarray(decoder.decode(tokens[:1, :shorter]))
    length = alone.shape[1]
    # A vocoder's sum of harmonics amplifies rounding of the pitch.
    tolerance = 1e-2 if config.streams.speech.decoder.target == "mel" else 1e-3
    assert np.std(batch[0, :length] - alone[0]) < tolerance * np.std(alone)
    assert not batch[0, length:].any()
    np.testing.assert_allclose(batch[1], decoder.decode(tokens)[1], atol=1e-4 * np.abs(batch[1]).max())


def test_no_seam_between_blocks():
    """Where nothing changes in the tokens, latents do not jump from the window of a block to the next."""
    config = flow_config({**OOBLECK, "resampling": "linear"}, frame_rate_hz=40)
    tokens = np.full((1, 60, 3), 5, np.int32)
    tokens[:, 2::4] = random_tokens(config, 1, 15)  # in the middle of every block, another sound
    jumps = {}
    for context_s in (0.02, 0.0):
        decoder = random_decoder(with_decoder(config, context_s=context_s))
        change = np.abs(np.diff(np.asarray(decoder.latents(tokens))[0], axis=0)).max(-1)
        borders = np.arange(1, 13) * decoder.layout.block - 1
        around = borders[:, None] + np.arange(-5, 6)
        jumps[context_s] = change[around].max(1) / np.median(change)
    assert (jumps[0.0] > 1).all() and (jumps[0.02] < 0.3 * jumps[0.0]).all()


def test_tokens_that_are_folded_onto_the_grid_are_the_codecs_own():
    """A codec of 50 frames a second, on a grid of 25 and on one of 50."""
    values = to_dict(flow_config(OOBLECK, frame_rate_hz=50))
    own = from_dict(values)
    values["grid"]["frame_rate_hz"] = 25
    folded = from_dict(values)
    tokens = random_tokens(own, 1, 12)
    at_once = np.asarray(random_decoder(own).decode(tokens))
    decoder = random_decoder(folded)
    np.testing.assert_allclose(decoder.decode(tokens.reshape(1, 6, 6)), at_once, atol=1e-6)
    stream = decoder.open_stream()
    streamed = np.concatenate([stream.push(tokens.reshape(1, 6, 6)), stream.flush()], axis=1)
    np.testing.assert_allclose(streamed, at_once, atol=1e-4)


def test_noise_is_of_its_seed_and_its_place():
    config = flow_config(CASES["noise"][0], frame_rate_hz=40)
    decoder, tokens = random_decoder(config), random_tokens(config, 1, 9)
    again, other = (random_decoder(with_decoder(config, noise_seed=seed)) for seed in (0, 1))
    first = np.asarray(decoder.decode(tokens))
    np.testing.assert_array_equal(first, again.decode(tokens))
    assert np.abs(first - np.asarray(other.decode(tokens))).max() > 1e-3
    guided = random_decoder(with_decoder(config, guidance_scale=2.0))
    assert np.abs(first - np.asarray(guided.decode(tokens))).max() > 1e-3


def test_tokens_outside_of_the_codebook_are_refused(case):
    config, decoder, _, _ = case
    tokens = random_tokens(config, 1, 5)
    tokens[0, 2, 1] = 16
    for decode in (decoder.decode, decoder.open_stream().push):
        with pytest.raises(ValueError, match=r"tokens: 0 to 16 are not in the codebook, 0 to 15"):
            decode(tokens)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": "mels"}, r"decoder.target: 'mels' is none of mel, oobleck"),
        ({"resampling": "cubic"}, r"decoder.resampling: 'cubic' is none of nearest, linear, mean"),
        ({"source": "noise"}, r"decoder.condition: 'none' with source='noise' generates without reading"),
        ({"width": 18, "num_heads": 4}, r"decoder.width: 18 is not an even multiple of num_heads=4"),
        ({"num_euler_steps": 0}, r"decoder.num_euler_steps: is 0, expected at least 1"),
        ({"guidance_scale": 2.0}, r"decoder.guidance_scale: 2 needs a condition"),
        ({"compute_dtype": "bf16"}, r"decoder.compute_dtype: 'bf16' is none of float32, bfloat16, float16"),
        ({"remat_policy": "some"}, r"decoder.remat_policy: 'some' is none of none, full"),
        ({"training": {"regression_weight": -1}}, r"training.regression_weight: is -1, expected at least 0"),
        (
            {"block_s": 0.1},
            r"decoder.block_s: 0.1 s are 4 latents at 50 Hz, fewer than the \d+ that.*at least",
        ),
        ({**OOBLECK, "block_s": 0.01}, r"decoder.block_s: 0.01 s are 9 latents at 918.75 Hz"),
    ],
)
def test_sizes_that_cannot_be_are_named(keys, message):
    config = flow_config({**MEL, **keys})
    with pytest.raises(UserError, match=message):
        make_latents(config, "speech")
    with pytest.raises(UserError, match=message):
        decoder_training(config, "speech", lambda *_: None)


def test_the_least_block_that_a_message_names_is_enough():
    config = flow_config({**MEL, "block_s": 0.1})
    with pytest.raises(UserError) as raised:
        make_latents(config, "speech")
    make_latents(with_decoder(config, block_s=float(str(raised.value).rsplit(" ", 1)[1])), "speech")


def test_log_mels_need_a_codec_that_has_them():
    values = to_dict(flow_config(MEL, frame_rate_hz=40))
    values["streams"]["speech"]["codec"] = {"kind": "wavtokenizer"}
    with pytest.raises(UserError, match=r"'mel' needs the vocoder of a mel_rvq codec, but the codec is 'wav"):
        make_latents(from_dict(values), "speech")
    values = to_dict(flow_config(MEL))
    values["streams"]["speech"]["codec"] |= {"hop_length": 300}
    with pytest.raises(UserError, match=r"speech.codec: hop lengths must divide each other: frame 640, hop"):
        make_latents(from_dict(values), "speech")


def test_the_frozen_decoder_reaches_no_further_than_stated():
    sizes = flow_config(OOBLECK).streams.speech.decoder.oobleck
    reach, (num_latents, at) = decoder_context(sizes), (81, 40)
    params = OobleckDecoder(sizes).init(jax.random.key(0), jnp.zeros((1, 1, 3)))
    latents = jax.random.normal(jax.random.key(1), (1, num_latents, 3))
    decode = jax.jit(OobleckDecoder(sizes).apply)
    changed = decode(params, latents.at[0, at].add(1.0)) != decode(params, latents)
    touched = np.flatnonzero(np.asarray(changed).any(axis=(0, 2))) // sizes.samples_per_latent
    assert at - reach <= touched.min() < touched.max() <= at + reach

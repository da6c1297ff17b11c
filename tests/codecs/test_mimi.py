"""Mimi against a golden run of its public code, with grouped heads and two layers per stride."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.mimi.codec import MimiCodec
from dualdub_jax.codecs.mimi.config import MimiConfig
from dualdub_jax.convert.mimi import is_mimi, mimi_from_torch
from dualdub_jax.errors import UserError
from tests.convert.ports import MIMI_SETTINGS, golden, weights

HOP = 12


@pytest.fixture(scope="module")
def codec():
    return MimiCodec(*mimi_from_torch(weights("mimi"), "x", MIMI_SETTINGS))


def test_codes_and_waveform_are_those_of_the_public_code(codec):
    config = codec.config
    assert (config.strides, config.num_heads, config.num_kv_heads, config.head_dim) == ((2, 3), 3, 1, 8)
    assert (codec.spec.frame_rate, codec.spec.num_codebooks) == (100, 4)
    waveform = golden("mimi", "waveform")
    assert waveform.shape[1] % HOP  # the last frame is not whole
    codes = codec.encode(waveform)
    np.testing.assert_array_equal(codes, golden("mimi", "codes"))
    assert len(np.unique(codes[..., 0])) > 9 and len(np.unique(codes[..., 2])) > 3
    np.testing.assert_allclose(codec.decode(codes), golden("mimi", "decoded"), atol=1e-5)


def test_fewer_codebooks_are_the_first_ones(codec):
    two = codec.decode(golden("mimi", "codes")[..., :2])
    np.testing.assert_allclose(two, golden("mimi", "two_decoded"), atol=1e-5)
    one = codec.decode(golden("mimi", "codes")[..., :1])
    assert one.shape == two.shape and np.abs(one - two).max() > 1e-3


@pytest.mark.parametrize("chunk_frames", [1, 3, 8])
def test_a_stream_is_one_call_to_the_last_bits(codec, chunk_frames):
    codes = np.concatenate([golden("mimi", "codes"), golden("mimi", "codes")[:, ::-1]])
    stream, whole = codec.stream(chunk_frames=chunk_frames), codec.decode(codes)
    for cuts in ((0, 1, 2, 9, 9, 21), (0, 21)):  # also a second time, from the beginning
        pieces = [stream.push(codes[:, a:b]) for a, b in itertools.pairwise(cuts)]
        assert sum(piece.shape[1] for piece in pieces) == 21 // chunk_frames * chunk_frames * HOP
        np.testing.assert_allclose(np.concatenate([*pieces, stream.flush()], 1), whole, atol=1e-5)
    assert codec.latency_frames == 0


def test_later_tokens_do_not_change_earlier_samples(codec):
    codes = np.asarray(golden("mimi", "codes"))
    other = codes.copy()
    other[:, 10:] = (other[:, 10:] + 5) % 16
    first, second = codec.decode(codes), codec.decode(other)
    np.testing.assert_allclose(first[:, : 10 * HOP], second[:, : 10 * HOP], atol=1e-6)
    assert np.abs(first - second)[:, 10 * HOP :].max() > 1e-3


def test_each_row_of_a_padded_batch_is_the_clip_alone(codec):
    waveform = golden("mimi", "waveform")[0, : 20 * HOP]
    lengths = (20, 1, 6, 13)
    rows = np.full((4, 20 * HOP), np.nan, np.float32)
    for row, n in zip(rows, lengths, strict=True):
        row[: n * HOP] = waveform[: n * HOP]
    mask = np.arange(20) < np.array(lengths)[:, None]
    codes = np.asarray(codec.encode(rows, mask))
    decoded = np.asarray(codec.decode(np.where(mask[..., None], codes, 3), mask))
    for i, n in enumerate(lengths):
        alone = codec.encode(waveform[None, : n * HOP])
        np.testing.assert_array_equal(codes[i, :n], alone[0])
        np.testing.assert_allclose(decoded[i, : n * HOP], codec.decode(alone)[0], atol=1e-5)
        assert not decoded[i, n * HOP :].any()


def test_both_layouts_of_the_weights_are_read(codec):
    def file_name(name):
        for part in ("encoder", "decoder"):
            name = name.replace(f"{part}.{part}_seanet.", f"{part}.")
            name = name.replace(f"{part}.{part}_transformer.", f"{part}_transformer.")
        return name.replace("encoder.downsample.", "downsample.").replace("decoder.upsample.", "upsample.")

    state = {file_name(name): x for name, x in weights("mimi").items()}
    assert is_mimi(state) and "encoder.layers.0.conv.weight" in state and "upsample.conv.weight" in state
    config, variables = mimi_from_torch(state, "x.bin", MIMI_SETTINGS)
    assert config == codec.config
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), variables, codec.variables)


def test_wrong_files_and_settings_are_named():
    state = weights("mimi")
    name = "quantizer.acoustic_residual_vector_quantizer.layers.1.codebook.embed_sum"
    with pytest.raises(UserError, match=r"x: lacks quantizer.acoustic_res\S+.layers.1.codebook.embed_sum"):
        mimi_from_torch({n: x for n, x in state.items() if n != name}, "x", MIMI_SETTINGS)
    with pytest.raises(UserError, match=r"holds decoder.layers.99.conv.weight, which"):
        mimi_from_torch(state | {"decoder.layers.99.conv.weight": np.ones(2)}, "x", MIMI_SETTINGS)
    with pytest.raises(UserError, match=r"its use_causal_conv is False, expected True"):
        mimi_from_torch(state, "x", {**MIMI_SETTINGS, "use_causal_conv": False})


def test_the_published_size_is_the_default():
    config = MimiConfig()
    shapes = jax.eval_shape(lambda: MimiCodec.init(config, jax.random.key(0)))
    counts = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert 95.9e6 < sum(counts.values()) < 96.2e6
    assert float(MimiCodec.spec_of(config).frame_rate) == 12.5
    fewer = jax.eval_shape(
        lambda: MimiCodec.init(dataclasses.replace(config, num_codebooks=1), jax.random.key(0))
    )
    assert fewer["quantiser"]["acoustic"]["codebook"].shape == (0, 2048, 256)


def test_gradients_flow_through_the_decoder(codec):
    codes = golden("mimi", "codes")[:, :4]

    def energy(codebook):
        semantic = codec.variables["quantiser"]["semantic"] | {"codebook": codebook}
        variables = codec.variables | {"quantiser": codec.variables["quantiser"] | {"semantic": semantic}}
        return jnp.sum(jnp.square(codec._waveform(variables, codes, None)))

    gradient = jax.jit(jax.grad(energy))(codec.variables["quantiser"]["semantic"]["codebook"])[0]
    used = np.unique(codes[..., 0])
    assert np.isfinite(gradient).all() and np.abs(gradient[used]).min(axis=0).max() > 0
    assert not np.delete(np.asarray(gradient), used, axis=0).any()

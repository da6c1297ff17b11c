"""WavTokenizer against golden runs of its public code, in both layouts of its weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.convert import published_codes
from dualdub_jax.convert.published_codes import check_tone
from dualdub_jax.convert.wavtokenizer import wavtokenizer_from_torch
from dualdub_jax.errors import UserError
from tests.convert.ports import golden, weights


@pytest.fixture(scope="module")
def codec():
    config, variables = wavtokenizer_from_torch(weights("wavtokenizer"), "x", 2400, num_groups=8)
    return WavTokenizerCodec(config, variables)


def authors_names(state):
    """The same tensors as the authors' Lightning checkpoint names them, with the tensors it has beside."""
    renamed = {"feature_extractor.encodec.decoder.model.0.bias": np.zeros(3), "head.istft.window": np.ones(4)}
    for name, x in state.items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        name = name.replace("head.linear", "head.out")
        if name.startswith("encoder_model.encoder.layers."):
            name = name.removeprefix("encoder_model.encoder.layers.").replace("conv.", "conv.conv.")
            if ".block." in name or ".shortcut." in name:
                name = name.replace("conv.conv.conv.", "conv.conv.")
            name = f"feature_extractor.encodec.encoder.model.{name}"
        name = name.replace(
            "encoder_model.quantizer.codebook", "feature_extractor.encodec.quantizer.vq.layers.0._codebook"
        )
        renamed[name] = x
    return renamed


def test_codes_and_waveform_are_those_of_the_public_code(codec):
    assert (codec.spec.frame_rate, codec.spec.num_codebooks, codec.spec.codebook_size) == (100, 1, 32)
    codes = codec.encode(golden("wavtokenizer", "waveform"))
    np.testing.assert_array_equal(codes[..., 0], golden("wavtokenizer", "codes"))
    assert len(np.unique(codes)) > 3
    np.testing.assert_allclose(codec.decode(codes), golden("wavtokenizer", "decoded"), atol=1e-5)


def test_both_layouts_of_the_weights_are_read(codec):
    state = weights("wavtokenizer")
    config, variables = wavtokenizer_from_torch(authors_names(state), "x.ckpt", 2400, num_groups=8)
    assert config == codec.config
    jax.tree.map(np.testing.assert_array_equal, variables, jax.tree.map(np.asarray, codec.variables))


def test_each_row_of_a_padded_batch_is_the_clip_alone(codec):
    waveform = golden("wavtokenizer", "waveform")[0]
    num_frames = len(waveform) // 24
    rows = np.full((3, num_frames * 24), np.nan, np.float32)
    lengths = (1, 7, num_frames)
    for row, n in zip(rows, lengths, strict=True):
        row[: n * 24] = waveform[: n * 24]
    mask = np.arange(num_frames) < np.array(lengths)[:, None]
    codes = np.asarray(codec.encode(rows, mask))
    decoded = np.asarray(codec.decode(np.where(mask[..., None], codes, 5), mask))
    for i, n in enumerate(lengths):
        alone = codec.encode(waveform[None, : n * 24])
        np.testing.assert_array_equal(codes[i, :n], alone[0])
        np.testing.assert_allclose(decoded[i, : n * 24], codec.decode(alone)[0], atol=1e-5)
        assert not decoded[i, n * 24 :].any()


def test_a_clip_of_any_length_is_the_public_codes(codec):
    codes = codec.encode(golden("wavtokenizer", "waveform")[:, :53])
    np.testing.assert_array_equal(codes[..., 0], golden("wavtokenizer", "short_codes"))
    np.testing.assert_allclose(codec.decode(codes), golden("wavtokenizer", "short_decoded"), atol=1e-5)


def test_a_stream_is_one_call_within_its_window_and_continuous_beyond(codec):
    codes = codec.encode(golden("wavtokenizer", "waveform"))
    stream = codec.stream()
    chunks = [stream.push(codes[:, :3]), stream.push(codes[:, 3:]), stream.flush()]
    np.testing.assert_allclose(np.concatenate(chunks, 1), codec.decode(codes), atol=1e-5)
    short = WavTokenizerCodec(
        dataclasses.replace(codec.config, stream_s=0.12, stream_overlap_s=0.04), codec.variables
    )
    stream = short.stream()
    chunks = [stream.push(codes[:, t : t + 1]) for t in range(codes.shape[1])] + [stream.flush()]
    joined, whole = np.concatenate(chunks, 1)[0], np.asarray(codec.decode(codes))[0]
    assert joined.shape == whole.shape
    assert np.corrcoef(joined, whole)[0, 1] > 0.7


def test_gradients_flow_through_the_decoder(codec):
    codes = codec.encode(golden("wavtokenizer", "waveform"))[:, :4]

    def energy(codebook):
        variables = codec.variables | {"codebook": codebook}
        return jnp.sum(jnp.square(codec._waveform(variables, codes, jnp.ones((1, 4), bool))))

    gradient = jax.jit(jax.grad(energy))(codec.variables["codebook"])
    used = np.unique(codes)
    assert np.isfinite(gradient).all() and np.abs(gradient[used]).max() > 0
    assert not np.delete(np.asarray(gradient), used, axis=0).any()


def test_missing_and_unexpected_tensors_are_listed():
    state = weights("wavtokenizer")
    lacking = {n: x for n, x in state.items() if n != "backbone.convnext.1.pwconv2.bias"}
    with pytest.raises(UserError, match=r"x.bin: lacks backbone.convnext.1.pwconv2.bias"):
        wavtokenizer_from_torch(lacking, "x.bin")
    with pytest.raises(UserError, match=r"holds backbone.extra, which"):
        wavtokenizer_from_torch(state | {"backbone.extra": np.ones(2)}, "x.bin")


def test_known_codes_of_a_tone_are_compared_for_checkpoints_of_the_published_size(codec, monkeypatch):
    assert check_tone(codec.config, codec.variables) == ""
    said = check_tone(codec.config, codec.variables, published=codec.config)
    assert "not those of WavTokenizer-large-unify-40token (1323 1442 3524" in said
    t = np.arange(1200) / 2400
    tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    codes = np.asarray(codec.encode(tone[None]))[0, :10, 0]
    monkeypatch.setattr(published_codes, "_TONE_CODES", tuple(codes.tolist()))
    assert "as published" in check_tone(codec.config, codec.variables, published=codec.config)


def test_the_published_size_is_the_default():
    shapes = jax.eval_shape(lambda: WavTokenizerCodec.init(WavTokenizerConfig(), jax.random.key(0)))
    counts = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert counts["codebook"] == 4096 * 512
    # 8.30 M; and 61.96 + 1.85 M, less the 3 of 4 conditions of 13 norms that inference never uses.
    assert round(counts["encoder"] / 1e4) == 830
    assert round((counts["decoder"] + 13 * 2 * 3 * 768) / 1e4) == 6196 + 185
    assert WavTokenizerCodec.spec_of(WavTokenizerConfig()).frame_rate == 40

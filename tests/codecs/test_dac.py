"""DAC against a golden run of its public code, in both layouts of its weights; one stride is odd."""

import dataclasses

import jax
import numpy as np
import pytest

from dualdub_jax.codecs.dac.codec import DacCodec
from dualdub_jax.codecs.dac.config import DacConfig
from dualdub_jax.convert.dac import dac_from_torch, is_dac
from dualdub_jax.errors import UserError
from tests.convert.ports import golden, weights


@pytest.fixture(scope="module")
def codec():
    return DacCodec(*dac_from_torch(weights("dac"), "x", 3000))


def authors_names(state):
    """The same tensors as descript-audio-codec names them, weight-normalised."""
    units = {"snake1": "block.0", "conv1": "block.1", "snake2": "block.2", "conv2": "block.3"}
    order = {
        "encoder": ["res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"],
        "decoder": ["snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"],
    }
    outer, word = {"conv1": 0, "snake1": 4, "conv2": 5}, {"encoder": "block", "decoder": "model"}
    renamed = {}
    for name, x in state.items():
        side, *rest = name.split(".")
        if side in order:
            if rest[0] == "block":
                part = rest[2]
                words = [word[side], str(int(rest[1]) + 1), "block", str(order[side].index(part))]
                words += [units[rest[3]], *rest[4:]] if part.startswith("res_unit") else rest[3:]
            else:
                words = [word[side], str(outer[rest[0]]), *rest[1:]]
            name = ".".join([side, *words])
        if name.endswith(".weight") and x.ndim == 3:
            norm = np.sqrt(np.sum(np.square(x), axis=(1, 2), keepdims=True))
            renamed |= {f"{name}_g": norm, f"{name}_v": 2.0 * x}
        else:
            renamed[name] = x
    return renamed


def test_codes_and_waveform_are_those_of_the_public_code(codec):
    assert (codec.spec.num_codebooks, codec.spec.samples_per_frame) == (3, 30)
    codes = codec.encode(golden("dac", "waveform"))
    np.testing.assert_array_equal(codes, golden("dac", "codes"))
    assert all(len(np.unique(codes[..., q])) > 2 for q in range(3))
    decoded, wanted = np.asarray(codec.decode(codes)), golden("dac", "decoded")
    # Its odd strides lose the last samples.
    assert decoded.shape == (1, 330) and wanted.shape[1] < 330
    np.testing.assert_allclose(decoded[:, : wanted.shape[1]], wanted, atol=1e-5)
    assert not decoded[:, wanted.shape[1] :].any()


def test_both_layouts_of_the_weights_are_read(codec):
    renamed = authors_names(weights("dac"))
    assert is_dac(renamed)
    config, variables = dac_from_torch(renamed, "x.pth", 3000)
    assert config == codec.config
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), variables, codec.variables)


def test_fewer_codebooks_are_the_first_ones(codec):
    two = DacCodec(dataclasses.replace(codec.config, num_codebooks=2), codec.variables)
    waveform = golden("dac", "waveform")
    np.testing.assert_array_equal(two.encode(waveform), codec.encode(waveform)[..., :2])
    assert two.decode(two.encode(waveform)).shape == (1, 330)


def test_each_row_of_a_padded_batch_is_the_clip_alone(codec):
    waveform = golden("dac", "waveform")
    batch = np.concatenate([waveform, waveform])
    batch[0, 4 * 30 :] = np.nan
    mask = np.arange(11) < np.array([[4], [11]])
    codes = np.asarray(codec.encode(batch, mask))
    np.testing.assert_array_equal(codes[0, :4], codec.encode(waveform[:, : 4 * 30])[0])
    decoded = np.asarray(codec.decode(codes, mask))
    np.testing.assert_allclose(decoded[0, : 4 * 30], codec.decode(codes[:1, :4])[0], atol=1e-5)
    np.testing.assert_allclose(decoded[1], codec.decode(codes[1:])[0], atol=1e-5)
    assert not decoded[0, 4 * 30 :].any()


def test_missing_tensors_are_listed():
    state = weights("dac")
    with pytest.raises(UserError, match=r"lacks quantizer.quantizers.1.codebook.weight"):
        dac_from_torch({n: x for n, x in state.items() if n != "quantizer.quantizers.1.codebook.weight"}, "x")


def test_the_published_size_is_the_default():
    shapes = jax.eval_shape(lambda: DacCodec.init(DacConfig(), jax.random.key(0)))
    assert 76e6 < sum(x.size for x in jax.tree.leaves(shapes)) < 77e6
    assert round(float(DacCodec.spec_of(DacConfig()).frame_rate), 2) == 86.13

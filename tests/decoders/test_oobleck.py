"""Oobleck against golden runs of its public code, in both layouts of its weights."""

import jax
import numpy as np
import pytest

from dualdub_jax.convert.oobleck import is_oobleck, oobleck_from_torch
from dualdub_jax.decoders.oobleck.autoencoder import OobleckDecoder, OobleckEncoder
from dualdub_jax.decoders.oobleck.config import OobleckConfig
from dualdub_jax.errors import UserError
from tests.convert.ports import golden, weights


@pytest.fixture(scope="module")
def autoencoder():
    config, params = oobleck_from_torch(weights("oobleck"), "x")
    encode = jax.jit(
        lambda x, mask=None: OobleckEncoder(config).apply({"params": params["encoder"]}, x, mask)
    )
    decode = jax.jit(
        lambda z, mask=None: OobleckDecoder(config).apply({"params": params["decoder"]}, z, mask)
    )
    return config, params, encode, decode


def stable_audio_names(state):
    """The same tensors as stable-audio-tools names them, inside a diffusion model."""
    units = {"snake1": "layers.0", "conv1": "layers.1", "snake2": "layers.2", "conv2": "layers.3"}
    order = {
        "encoder": ["res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"],
        "decoder": ["snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"],
    }
    renamed = {"model.model.transformer.norm.weight": np.ones(3), "conditioner.bias": np.ones(2)}
    for name, x in state.items():
        side, *rest = name.replace("weight_", "weight_").split(".")
        outer = {"conv1": 0, "snake1": 4, "conv2": 5}
        if rest[0] == "block":
            block, part = int(rest[1]) + 1, rest[2]
            words = [f"layers.{block}.layers.{order[side].index(part)}"]
            words += [units[rest[3]], *rest[4:]] if part.startswith("res_unit") else rest[3:]
        else:
            words = [f"layers.{outer[rest[0]]}", *rest[1:]]
        if words[-1] in ("alpha", "beta"):
            x = x.reshape(-1)
        renamed[".".join(["pretransform.model", side, *words])] = x
    return renamed


def test_latents_and_waveform_are_those_of_the_public_code(autoencoder):
    config, _, encode, decode = autoencoder
    assert (config.strides, config.multiples, config.samples_per_latent) == ((2, 4, 6), (1, 2, 3), 48)
    mean, std = encode(golden("oobleck", "waveform"))
    np.testing.assert_allclose(mean, golden("oobleck", "mean"), atol=1e-5)
    np.testing.assert_allclose(std, golden("oobleck", "std"), atol=1e-5)
    np.testing.assert_allclose(decode(mean), golden("oobleck", "decoded"), atol=1e-5)


def test_both_layouts_of_the_weights_are_read(autoencoder):
    config, params, _, _ = autoencoder
    renamed = stable_audio_names(weights("oobleck"))
    assert is_oobleck(renamed)
    found, converted = oobleck_from_torch(renamed, "x.ckpt")
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, converted, params)


def test_each_row_of_a_padded_batch_is_the_clip_alone(autoencoder):
    _, _, encode, decode = autoencoder
    waveform = golden("oobleck", "waveform")
    batch = np.concatenate([waveform, waveform])
    batch[0, 5 * 48 :] = np.nan
    mask = np.arange(9) < np.array([[5], [9]])
    mean, _ = encode(batch, mask)
    np.testing.assert_allclose(mean[0, :5], encode(waveform[:, : 5 * 48])[0][0], atol=1e-5)
    latents = np.where(mask[..., None], mean, np.nan)
    decoded = np.asarray(decode(latents, mask))
    np.testing.assert_allclose(decoded[0, : 5 * 48], decode(latents[:1, :5])[0], atol=1e-5)
    np.testing.assert_allclose(decoded[1], decode(latents[1:])[0], atol=1e-5)
    assert not decoded[0, 5 * 48 :].any()


def test_odd_strides_and_missing_tensors_are_refused():
    state = weights("oobleck")
    with pytest.raises(UserError, match=r"lacks decoder.block.1.snake1.alpha"):
        oobleck_from_torch({n: x for n, x in state.items() if n != "decoder.block.1.snake1.alpha"}, "x")
    name = "encoder.block.0.conv1.weight_v"
    with pytest.raises(UserError, match=r"expected even ones"):
        oobleck_from_torch(state | {name: np.concatenate([state[name], state[name][..., :2]], -1)}, "x")


def test_the_published_size_is_the_default():
    config = OobleckConfig()
    shapes = jax.eval_shape(
        lambda: (
            OobleckEncoder(config).init(jax.random.key(0), np.zeros((1, 2048, 2), np.float32)),
            OobleckDecoder(config).init(jax.random.key(0), np.zeros((1, 1, 64), np.float32)),
        )
    )
    # 156.1 M with weight norm, whose norms are one number an output channel.
    assert 155.9e6 < sum(x.size for x in jax.tree.leaves(shapes)) < 156.2e6

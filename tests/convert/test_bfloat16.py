"""Ports in bfloat16: how far their outputs are from float32's, relative to the outputs' own size.

The golden models are random, deep for their width, and amplify rounding as much as trained ones or more.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.dac.codec import DacCodec
from dualdub_jax.codecs.mimi.codec import MimiCodec
from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.convert.clip import clip_from_torch
from dualdub_jax.convert.dac import dac_from_torch
from dualdub_jax.convert.mimi import mimi_from_torch
from dualdub_jax.convert.oobleck import oobleck_from_torch
from dualdub_jax.convert.siglip import siglip_from_torch
from dualdub_jax.convert.wavtokenizer import wavtokenizer_from_torch
from dualdub_jax.decoders.oobleck.autoencoder import OobleckDecoder
from dualdub_jax.encoders.clip.tower import ClipTower
from dualdub_jax.encoders.siglip import SiglipTower
from dualdub_jax.errors import UserError
from tests.convert.ports import SETTINGS, golden, weights

BOUND = 0.05  # root mean square of the difference over that of the output
CODECS = {
    "wavtokenizer": (WavTokenizerCodec, lambda w: wavtokenizer_from_torch(w, "x", 2400, num_groups=8)),
    "dac": (DacCodec, lambda w: dac_from_torch(w, "x", 3000)),
    "mimi": (MimiCodec, lambda w: mimi_from_torch(w, "x", SETTINGS["mimi"])),
}
TOWERS = {"clip": (ClipTower, clip_from_torch), "siglip": (SiglipTower, siglip_from_torch)}


def relative_error(x, wanted) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x) - wanted)) / np.mean(np.square(wanted))))


@pytest.mark.parametrize("kind", CODECS)
def test_a_codecs_decoder(kind):
    found, convert = CODECS[kind]
    config, variables = convert(weights(kind))
    codec = found(dataclasses.replace(config, decode_dtype="bfloat16"), variables)
    codes = codec.encode(golden(kind, "waveform"))
    np.testing.assert_array_equal(np.squeeze(codes), np.squeeze(golden(kind, "codes")))  # float32's
    decoded, wanted = codec.decode(codes), golden(kind, "decoded")
    assert decoded.dtype == jnp.float32
    assert 1e-5 < relative_error(decoded[:, : wanted.shape[1]], wanted) < BOUND
    wrong = found(dataclasses.replace(config, decode_dtype="float16"), variables)
    with pytest.raises(UserError, match=r"decode_dtype='float16': expected 'float32' or 'bfloat16'"):
        wrong.decode(codes)


@pytest.mark.parametrize("kind", TOWERS)
def test_an_image_tower(kind):
    tower, convert = TOWERS[kind]
    config, params = convert(weights(kind), "x", SETTINGS[kind])
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
    outputs = tower(config).apply({"params": half}, golden(kind, "images"))
    outputs = outputs[0] if kind == "clip" else outputs
    assert outputs.dtype == jnp.bfloat16
    wanted = golden(kind, "embedding" if kind == "clip" else "pooled")
    assert 1e-5 < relative_error(outputs.astype(np.float32), wanted) < BOUND


def test_the_autoencoders_decoder():
    config, params = oobleck_from_torch(weights("oobleck"), "x")
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params["decoder"])
    latents = jnp.asarray(golden("oobleck", "mean"), jnp.bfloat16)
    decoded = jax.jit(OobleckDecoder(config).apply)({"params": half}, latents)
    assert decoded.dtype == jnp.bfloat16
    assert 1e-5 < relative_error(decoded.astype(np.float32), golden("oobleck", "decoded")) < BOUND


def test_gradients_flow_through_decoders_that_stay_frozen():
    """With respect to what is decoded: the straight path of a loss on the waveform."""
    for kind in ("dac", "oobleck"):
        if kind == "dac":
            codec = DacCodec(*CODECS["dac"][1](weights("dac")))
            codes = codec.encode(golden("dac", "waveform"))

            def loss(entries, codec=codec, codes=codes):
                quantiser = codec.variables["quantiser"] | {"codebook": entries}
                waveform = codec._waveform(codec.variables | {"quantiser": quantiser}, codes, None)
                return jnp.sum(jnp.square(waveform))

            start = codec.variables["quantiser"]["codebook"]
        else:
            config, params = oobleck_from_torch(weights("oobleck"), "x")

            def loss(latents, config=config, params=params):
                decoder = OobleckDecoder(config)
                return jnp.sum(jnp.square(decoder.apply({"params": params["decoder"]}, latents)))

            start = golden("oobleck", "mean")
        gradient = np.asarray(jax.jit(jax.grad(loss))(start))
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0

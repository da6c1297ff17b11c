"""Flow-matching decoders small enough for tests, and an autoencoder with random weights for them."""

import dataclasses
import json
import pathlib
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from dualdub_jax.apps.cli import main
from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.codecs.registry import codec_class, codec_config, make_codec
from dualdub_jax.config import Config, from_dict, to_dict
from dualdub_jax.decoders.base import make_decoder
from dualdub_jax.decoders.flow_matching.decoder import FlowMatchingDecoder
from tests.convert.ports import weights, write_torch_file
from tests.tiny import tiny_config

SIZES = {"kind": "flow_matching", "num_layers": 2, "num_heads": 2, "width": 16, "mlp_width": 24}
MEL = {**SIZES, "block_s": 2.4, "context_s": 0.4, "num_euler_steps": 3}
# 48 samples per latent.
OOBLECK = {
    **SIZES,
    "target": "oobleck",
    "oobleck": {
        **{"sample_rate_hz": 44_100, "num_channels": 2, "width": 6, "decoder_width": 5, "latent_dim": 3},
        **{"multiples": [1, 2, 3], "strides": [2, 4, 6]},
    },
    "block_s": 0.1,
    "context_s": 0.02,
    "num_euler_steps": 2,
}


def flow_config(speech: dict[str, Any] | str, background: Any = "codec", **grid: Any) -> Config:
    """The tiny config with these decoders."""
    values = to_dict(tiny_config())
    values["streams"]["speech"]["decoder"] = speech
    values["streams"]["background"]["decoder"] = background
    values["grid"] |= grid
    rate = values["grid"]["frame_rate_hz"]
    for stream in values["streams"].values():
        hop = 16_000 // rate // 2
        stream["codec"] |= {"frame_rate_hz": rate, "hop_length": hop, "vocoder_hop_length": hop // 2}
    return from_dict(values)


def random_decoder(config: Config, seed: int = 0) -> FlowMatchingDecoder:
    """The speech decoder of a config, every array perturbed, levels of latents as of quiet sounds."""
    codec_key, key, noise_key = jax.random.split(jax.random.key(seed), 3)
    keys = codec_config(config, "speech")
    codec = make_codec(config, "speech", codec_class(config, "speech").init(keys, codec_key))
    variables = nn.unbox(FlowMatchingDecoder.init(config, "speech", key))
    leaves, tree = jax.tree.flatten(variables)
    noise = jax.random.split(noise_key, len(leaves))
    leaves = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, noise, strict=True)]
    variables = jax.tree.unflatten(tree, leaves)
    if config.streams.speech.decoder.target == "mel":
        variables["statistics"]["mean"] -= 6.0
    return make_decoder(config, "speech", codec, variables)


def random_tokens(config: Config, batch_size: int, num_frames: int, seed: int = 0) -> np.ndarray:
    """Speech tokens int32[B, T, Q]."""
    codec = config.streams.speech.codec
    shape = (batch_size, num_frames, codec.num_codebooks)
    return np.random.default_rng(seed).integers(0, codec.codebook_size, shape, np.int32)


def converted_oobleck(folder: pathlib.Path) -> dict[str, Any]:
    """Converts random weights by the command; keys of a decoder with that autoencoder."""
    (folder / "public").mkdir(parents=True)
    (folder / "public" / "config.json").write_text(json.dumps({"sampling_rate": 44_100}))
    write_torch_file(folder / "public" / "x.ckpt", {"state_dict": weights("oobleck")})
    assert main(["convert", str(folder / "public" / "x.ckpt"), str(folder / "oobleck")]) == 0
    sizes, _ = read_converted(folder / "oobleck", "oobleck")
    return {**OOBLECK, "path": str(folder / "oobleck"), "oobleck": sizes}


def with_decoder(config: Config, **changes: Any) -> Config:
    """The config with some keys of its speech decoder changed."""
    speech = config.streams.speech
    speech = dataclasses.replace(speech, decoder=dataclasses.replace(speech.decoder, **changes))
    return dataclasses.replace(config, streams=dataclasses.replace(config.streams, speech=speech))

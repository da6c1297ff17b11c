"""The flow's network for a stream of a config."""

from typing import Any

import jax
import jax.numpy as jnp

from dualdub_jax.codecs.registry import codec_class, codec_config, codec_spec
from dualdub_jax.config import Config
from dualdub_jax.decoders.flow_matching.latents import make_latents
from dualdub_jax.decoders.flow_matching.network import FlowNetwork
from dualdub_jax.types import Stream

PyTree = Any  # parameters of `FlowNetwork`


def speaker_dim(config: Config, stream: Stream) -> int:
    """Dimensions of the codec's speaker embedding; 0: its tokens carry the speaker."""
    spec = codec_spec(config, stream)
    if "speaker" not in spec.decode_conditions:
        return 0

    def embed(key: jax.Array) -> jax.Array:
        found, keys = codec_class(config, stream), codec_config(config, stream)
        return found(keys, found.init(keys, key)).encode_speaker(jnp.zeros((1, spec.samples_per_frame)))

    return jax.eval_shape(embed, jax.random.key(0)).shape[-1]


def make_network(config: Config, stream: Stream) -> FlowNetwork:
    """The network of a stream's decoder."""
    spec = codec_spec(config, stream)
    return FlowNetwork(
        config.streams[stream].decoder,
        spec.num_codebooks,
        spec.codebook_size,
        make_latents(config, stream)[0].dim,
        config.model.attention_implementation,
    )


def init_network(config: Config, stream: Stream, rng: jax.Array) -> PyTree:
    """Untrained parameters of the network, boxed with logical axis names."""
    tokens = jnp.zeros((1, 2, codec_spec(config, stream).num_codebooks), jnp.int32)
    dim = speaker_dim(config, stream)
    speaker = jnp.zeros((1, dim)) if dim else None
    return make_network(config, stream).init(rng, tokens, speaker)["params"]

"""The codec kind "mimi", frozen: `dualdub convert` makes its weights from a public checkpoint."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.codecs.causal_stream import CausalStream
from dualdub_jax.codecs.mimi.config import MimiConfig
from dualdub_jax.codecs.mimi.networks import MimiDecoder, MimiEncoder, dequantise, quantise
from dualdub_jax.codecs.public_weights import cast_to, read_public_codec
from dualdub_jax.layers.causal_conv1d import STREAM
from dualdub_jax.layers.conv1d import within
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

PyTree = Any  # {"encoder", "decoder": parameters, "quantiser": see networks.py}


class MimiCodec:
    """A Mimi bound to its variables; implements `codecs.base.Codec`.

    Attributes:
        spec: rates and codebooks.
        latency_frames: of a stream: none, the decoder is causal.
        config: sizes.
        variables: float32 arrays, as `init` lays them out.
    """

    Config = MimiConfig

    def __init__(self, config: MimiConfig, variables: PyTree):
        """Binds `variables`, as `init` lays them out; cast to float32."""
        self.config = config
        self.spec = self.spec_of(config)
        self.variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        self.latency_frames = 0
        self._encode, self._decode = jax.jit(self._codes), jax.jit(self._waveform)
        self._step = jax.jit(self._continued)

    @classmethod
    def spec_of(cls, config: MimiConfig) -> CodecSpec:
        """See `Codec.spec_of`."""
        return CodecSpec(config.sample_rate_hz, config.frame_rate, config.num_codebooks, config.codebook_size)

    @classmethod
    def init(cls, config: MimiConfig, rng: jax.Array) -> PyTree:
        """See `Codec.init`; leaves are unboxed."""
        encoder_key, decoder_key, *keys = jax.random.split(rng, 4)
        num_semantic, dim, width = config.num_semantic_codebooks, config.codebook_dim, config.width
        sizes = {"semantic": num_semantic, "acoustic": config.num_codebooks - num_semantic}
        quantiser = {
            name: {"codebook": jax.random.normal(key, (size, config.codebook_size, dim))}
            for key, (name, size) in zip(keys, sizes.items(), strict=True)
        }
        if dim != width:
            ends = {"in": {"kernel": jnp.eye(width, dim)}, "out": {"kernel": jnp.eye(dim, width)}}
            quantiser = {name: part | ends for name, part in quantiser.items()}
        waveform, latents = jnp.zeros((1, config.samples_per_frame)), jnp.zeros((1, 1, width))
        return nn.unbox(
            {
                "encoder": MimiEncoder(config).init(encoder_key, waveform)["params"],
                "quantiser": quantiser,
                "decoder": MimiDecoder(config).init(decoder_key, latents)["params"],
            }
        )

    @classmethod
    def pretrained(cls, config: MimiConfig) -> PyTree:
        """Reads the converted weights in `config.path`; with fewer codebooks than theirs, the first ones.

        Raises:
            UserError: no path (says how to get the weights), or weights of other sizes.
        """
        return read_public_codec(cls, config, _first_codebooks)

    @checked
    def encode(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B T"] | None = None
    ) -> Int[Array, "B T Q"]:
        """See `Codec.encode`; the end of a clip without a mask is padded inside the network."""
        waveform = jnp.asarray(waveform, jnp.float32)
        if frame_mask is None:
            return self._encode(self.variables, waveform, None)
        lengths = jnp.sum(jnp.asarray(frame_mask), axis=1) * self.spec.samples_per_frame
        return self._encode(self.variables, waveform, jnp.minimum(lengths, waveform.shape[1]))

    @checked
    def decode(
        self,
        tokens: Int[Array, "B T Q"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"]:
        """See `Codec.decode`; takes no conditions."""
        del conditions
        lengths = None if frame_mask is None else jnp.sum(jnp.asarray(frame_mask), axis=1)
        return self._decode(self.variables, jnp.asarray(tokens), lengths)

    def stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> CausalStream:
        """See `Codec.stream`."""
        del conditions
        config, num_codebooks = self.config, self.config.num_codebooks

        def first_state(batch_size: int) -> PyTree:
            tokens = jnp.zeros((batch_size, chunk_frames, num_codebooks), jnp.int32)
            shapes = jax.eval_shape(lambda: self._continued(self.variables, {}, tokens)[1])
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        return CausalStream(
            lambda state, tokens: self._step(self.variables, state, tokens),
            first_state,
            config.samples_per_frame,
            chunk_frames,
        )

    def _codes(self, variables: PyTree, waveform: jax.Array, lengths: jax.Array | None) -> jax.Array:
        # Lower precision moves latents across the border of two entries.
        with jax.default_matmul_precision("highest"):
            latents = MimiEncoder(self.config).apply({"params": variables["encoder"]}, waveform, lengths)
            return quantise(variables["quantiser"], latents)

    def _waveform(self, variables: PyTree, tokens: jax.Array, lengths: jax.Array | None) -> jax.Array:
        params, latents = cast_to(self.config.decode_dtype, self._decoder_inputs(variables, tokens))
        waveform = MimiDecoder(self.config).apply({"params": params}, latents).astype(jnp.float32)
        if lengths is None:
            return waveform
        return within(waveform[..., None], lengths * self.spec.samples_per_frame)[..., 0]

    def _continued(self, variables: PyTree, state: PyTree, tokens: jax.Array) -> tuple[jax.Array, PyTree]:
        params, latents = cast_to(self.config.decode_dtype, self._decoder_inputs(variables, tokens))
        waveform, changed = MimiDecoder(self.config).apply(
            {"params": params, **({STREAM: state} if state else {})}, latents, mutable=[STREAM]
        )
        return waveform.astype(jnp.float32), changed[STREAM]

    def _decoder_inputs(self, variables: PyTree, tokens: jax.Array) -> tuple[PyTree, jax.Array]:
        return variables["decoder"], dequantise(variables["quantiser"], tokens)


def _first_codebooks(variables: PyTree, config: MimiConfig) -> PyTree:
    acoustic = variables["quantiser"]["acoustic"]
    num_acoustic = config.num_codebooks - config.num_semantic_codebooks
    acoustic = {**acoustic, "codebook": acoustic["codebook"][:num_acoustic]}
    return {**variables, "quantiser": {**variables["quantiser"], "acoustic": acoustic}}

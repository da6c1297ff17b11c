"""The codec kind "wavtokenizer", frozen: `dualdub convert` makes its weights from a public checkpoint."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.codecs.public_weights import cast_to, read_public_codec
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.codecs.wavtokenizer.decoder import WavTokenizerDecoder
from dualdub_jax.codecs.wavtokenizer.encoder import WavTokenizerEncoder, nearest_codes
from dualdub_jax.codecs.windowed_stream import WindowedStream
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

PyTree = Any  # {"encoder": parameters, "codebook": float32[K, D], "decoder": parameters}


class WavTokenizerCodec:
    """A WavTokenizer bound to its variables; implements `codecs.base.Codec`.

    The decoder's attention and group norm extend over the whole clip, so a stream decodes overlapping windows
    of `config.stream_s` and cross-fades them: the same samples as `decode` up to one window, nearly the same
    beyond.

    Attributes:
        spec: rates and codebook.
        latency_frames: of a stream, frames.
        config: sizes.
        variables: float32 arrays, as `init` lays them out.
    """

    Config = WavTokenizerConfig

    def __init__(self, config: WavTokenizerConfig, variables: PyTree):
        """Binds `variables`, as `init` lays them out; cast to float32."""
        self.config = config
        self.spec = self.spec_of(config)
        self.variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        self.latency_frames = round(config.stream_s * config.frame_rate)
        self._encode, self._decode = jax.jit(self._codes), jax.jit(self._waveform)

    @classmethod
    def spec_of(cls, config: WavTokenizerConfig) -> CodecSpec:
        """See `Codec.spec_of`."""
        return CodecSpec(config.sample_rate_hz, config.frame_rate, 1, config.codebook_size)

    @classmethod
    def init(cls, config: WavTokenizerConfig, rng: jax.Array) -> PyTree:
        """See `Codec.init`; leaves are unboxed."""
        encoder_key, decoder_key, codebook_key = jax.random.split(rng, 3)
        waveform = jnp.zeros((1, config.samples_per_frame))
        latents, mask = jnp.zeros((1, 1, config.latent_dim)), jnp.ones((1, 1), bool)
        return nn.unbox(
            {
                "encoder": WavTokenizerEncoder(config).init(encoder_key, waveform)["params"],
                "codebook": jax.random.normal(codebook_key, (config.codebook_size, config.latent_dim)),
                "decoder": WavTokenizerDecoder(config).init(decoder_key, latents, mask)["params"],
            }
        )

    @classmethod
    def pretrained(cls, config: WavTokenizerConfig) -> PyTree:
        """Reads the converted weights in `config.path`.

        Raises:
            UserError: no path (says how to get the weights), or weights of other sizes.
        """
        return read_public_codec(cls, config)

    @checked
    def encode(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B T"] | None = None
    ) -> Int[Array, "B T 1"]:
        """See `Codec.encode`; the end of a clip without a mask is reflected and not padded with zeros."""
        waveform = jnp.asarray(waveform, jnp.float32)
        if frame_mask is None:
            return self._encode(self.variables, waveform, None)
        lengths = jnp.sum(jnp.asarray(frame_mask), axis=1) * self.config.samples_per_frame
        return self._encode(self.variables, waveform, jnp.minimum(lengths, waveform.shape[1]))

    @checked
    def decode(
        self,
        tokens: Int[Array, "B T 1"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"]:
        """See `Codec.decode`; takes no conditions."""
        del conditions
        tokens = jnp.asarray(tokens)
        if frame_mask is None:
            frame_mask = jnp.ones(tokens.shape[:2], bool)
        return self._decode(self.variables, tokens, frame_mask)

    def stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> WindowedStream:
        """See `Codec.stream`; the window is the config's, whatever `chunk_frames`."""
        del conditions, chunk_frames
        rate = self.config.frame_rate
        return WindowedStream(
            self.decode,
            samples_per_frame=self.spec.samples_per_frame,
            window_frames=round(self.config.stream_s * rate),
            overlap_frames=round(self.config.stream_overlap_s * rate),
        )

    def _codes(self, variables: PyTree, waveform: jax.Array, lengths: jax.Array | None) -> jax.Array:
        # Lower precision moves latents across the border of two entries.
        with jax.default_matmul_precision("highest"):
            encoder = WavTokenizerEncoder(self.config)
            latents = encoder.apply({"params": variables["encoder"]}, waveform, lengths)
            return nearest_codes(latents, variables["codebook"])[..., None]

    def _waveform(self, variables: PyTree, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        latents = variables["codebook"][tokens[..., 0]]
        params, latents = cast_to(self.config.decode_dtype, (variables["decoder"], latents))
        return WavTokenizerDecoder(self.config).apply({"params": params}, latents, mask)

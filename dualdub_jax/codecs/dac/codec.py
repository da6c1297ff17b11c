"""The codec kind "dac", frozen: `dualdub convert` makes its weights from a public checkpoint."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.codecs.dac.config import DacConfig
from dualdub_jax.codecs.dac.networks import DacDecoder, DacEncoder, dequantise, quantise
from dualdub_jax.codecs.public_weights import cast_to, read_public_codec
from dualdub_jax.codecs.windowed_stream import WindowedStream
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

PyTree = Any  # {"encoder", "decoder": parameters, "quantiser": see networks.py}


class DacCodec:
    """A DAC bound to its variables; implements `codecs.base.Codec`.

    Attributes:
        spec: rates and codebooks.
        latency_frames: of a stream, frames.
        config: sizes.
        variables: float32 arrays, as `init` lays them out.
    """

    Config = DacConfig

    def __init__(self, config: DacConfig, variables: PyTree):
        """Binds `variables`, as `init` lays them out; cast to float32."""
        self.config = config
        self.spec = self.spec_of(config)
        self.variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        self.latency_frames = self._window_frames
        self._encode, self._decode = jax.jit(self._codes), jax.jit(self._waveform)

    @classmethod
    def spec_of(cls, config: DacConfig) -> CodecSpec:
        """See `Codec.spec_of`."""
        return CodecSpec(config.sample_rate_hz, config.frame_rate, config.num_codebooks, config.codebook_size)

    @classmethod
    def init(cls, config: DacConfig, rng: jax.Array) -> PyTree:
        """See `Codec.init`; leaves are unboxed."""
        encoder_key, decoder_key, *keys = jax.random.split(rng, 5)
        num, dim, low = config.num_codebooks, config.latent_dim, config.codebook_dim
        init = nn.initializers.lecun_normal(batch_axis=(0,))
        quantiser = {
            "in": {"kernel": init(keys[0], (num, dim, low)), "bias": jnp.zeros((num, low))},
            "out": {"kernel": init(keys[1], (num, low, dim)), "bias": jnp.zeros((num, dim))},
            "codebook": jax.random.normal(keys[2], (num, config.codebook_size, low)),
        }
        waveform = jnp.zeros((1, config.samples_per_frame))
        return nn.unbox(
            {
                "encoder": DacEncoder(config).init(encoder_key, waveform)["params"],
                "quantiser": quantiser,
                "decoder": DacDecoder(config).init(decoder_key, jnp.zeros((1, 1, dim)))["params"],
            }
        )

    @classmethod
    def pretrained(cls, config: DacConfig) -> PyTree:
        """Reads the converted weights in `config.path`; with fewer codebooks than theirs, the first ones.

        Raises:
            UserError: no path (says how to get the weights), or weights of other sizes.
        """
        return read_public_codec(cls, config, _first_codebooks)

    @checked
    def encode(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B T"] | None = None
    ) -> Int[Array, "B T Q"]:
        """See `Codec.encode`."""
        waveform = jnp.asarray(waveform, jnp.float32)
        waveform = jnp.pad(waveform, ((0, 0), (0, -waveform.shape[1] % self.spec.samples_per_frame)))
        lengths = None
        if frame_mask is not None:
            lengths = jnp.sum(jnp.asarray(frame_mask), axis=1) * self.spec.samples_per_frame
        return self._encode(self.variables, waveform, lengths)

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

    def stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> WindowedStream:
        """See `Codec.stream`; the window is the config's, whatever `chunk_frames`."""
        del conditions, chunk_frames
        # Cut, not faded, where both windows have the decoder's whole receptive field.
        return WindowedStream(
            self.decode,
            samples_per_frame=self.spec.samples_per_frame,
            window_frames=self._window_frames,
            overlap_frames=2 * self.config.context_frames,
            is_faded=False,
        )

    @property
    def _window_frames(self) -> int:
        return max(round(self.config.stream_s * self.config.frame_rate), 4 * self.config.context_frames)

    def _codes(self, variables: PyTree, waveform: jax.Array, lengths: jax.Array | None) -> jax.Array:
        # Lower precision moves latents across the border of two entries.
        with jax.default_matmul_precision("highest"):
            latents = DacEncoder(self.config).apply({"params": variables["encoder"]}, waveform, lengths)
            return quantise(variables["quantiser"], latents, self.config.num_codebooks)

    def _waveform(self, variables: PyTree, tokens: jax.Array, lengths: jax.Array | None) -> jax.Array:
        latents = dequantise(variables["quantiser"], tokens)
        params, latents = cast_to(self.config.decode_dtype, (variables["decoder"], latents))
        return DacDecoder(self.config).apply({"params": params}, latents, lengths).astype(jnp.float32)


def _first_codebooks(variables: PyTree, config: DacConfig) -> PyTree:
    quantiser = jax.tree.map(lambda x: x[: config.num_codebooks], variables["quantiser"])
    return {**variables, "quantiser": quantiser}

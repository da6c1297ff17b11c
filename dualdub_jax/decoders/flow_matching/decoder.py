"""The waveform decoder kind "flow_matching".

    tokens -> embedding, at the rate of latents -> Euler steps -> latents -> frozen decoder -> waveform

Source: the paper's waveform decoder; see config.py for what it leaves open.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import Codec, MakeCrops
from dualdub_jax.codecs.folded import fold_of, unfolded
from dualdub_jax.codecs.registry import codec_spec
from dualdub_jax.config import Config
from dualdub_jax.decoders.flow_matching.blocks import Layout, Plan, blend, plan_blocks
from dualdub_jax.decoders.flow_matching.config import FlowMatchingConfig
from dualdub_jax.decoders.flow_matching.latents import Latents, Span, abstract_oobleck, make_latents
from dualdub_jax.decoders.flow_matching.network import FlowNetwork
from dualdub_jax.decoders.flow_matching.sampling import restored, sample, token_mean
from dualdub_jax.decoders.flow_matching.stream import FlowStream
from dualdub_jax.decoders.flow_matching.stream_network import init_network, make_network
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array, Stream

PyTree = Any  # {"flow": parameters of `FlowNetwork`, "statistics": {"mean", "std": float32[D]}}
# and, with the target "oobleck", "autoencoder": parameters of its decoder.

_WINDOWS_AT_ONCE = 4  # of a track; bounds the memory of attention


class FlowMatchingDecoder:
    """Implements `decoders.base.WaveformDecoder`.

    Attributes:
        sample_rate_hz, num_channels: of the waveform.
        layout: rates, and lengths of blocks.
    """

    def __init__(self, config: Config, stream: Stream, variables: PyTree, codec: Codec | None = None) -> None:
        """Binds variables; cast to float32.

        Args:
            config: of the bundle.
            stream: which stream.
            variables: as `init` lays them out.
            codec: of the stream, on the grid; the target "mel" reads its vocoder, and a codec with a speaker
                condition gives the embedding of no speaker.
        """
        decoder = config.streams[stream].decoder
        latents, self.layout = make_latents(config, stream)
        self.sample_rate_hz, self.num_channels = latents.sample_rate_hz, latents.num_channels
        self._spec = codec_spec(config, stream)
        self._fold = fold_of(self._spec, config.grid.frame_rate, f"config.streams.{stream}.codec")
        self._unit, self._reads_tokens = latents.unit, decoder.target == "mel"
        self._codec = unfolded(codec)
        self._has_speaker = "speaker" in self._spec.decode_conditions
        own = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), nn.unbox(variables))
        self._variables = {name: own[name] for name in ("flow", "statistics")}
        self._frozen = self._codec.variables if self._reads_tokens else own["autoencoder"]
        network = make_network(config, stream)
        self._decode = jax.jit(
            functools.partial(_decode_blocks, decoder, self.layout, latents, network),
            static_argnames="anchor",
        )
        self._latents = jax.jit(functools.partial(_block_latents, decoder, self.layout, network))

    @classmethod
    def init(cls, config: Config, stream: Stream, rng: jax.Array) -> PyTree:
        """See `WaveformDecoder.init`; leaves are boxed with logical axis names."""
        decoder = config.streams[stream].decoder
        dim = make_latents(config, stream)[0].dim
        variables = {
            "flow": init_network(config, stream, rng),
            "statistics": {"mean": jnp.zeros(dim), "std": jnp.ones(dim)},
        }
        if decoder.target == "oobleck":
            shapes = abstract_oobleck(decoder)["decoder"]
            variables["autoencoder"] = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return variables

    @classmethod
    def training(
        cls, config: Config, stream: Stream, make_batches: MakeCrops, initial: PyTree | None = None
    ) -> Any:
        """See `WaveformDecoder`."""
        # Imported lazily: inference needs neither optimizers nor losses.
        from dualdub_jax.decoders.flow_matching.training import FlowTraining

        return FlowTraining(config, stream, make_batches, initial)

    @checked
    def decode(
        self,
        tokens: Int[Array, "B T Q"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"] | Float[Array, "B S C"]:
        """See `WaveformDecoder.decode`.

        Raises:
            ValueError: tokens outside of the codebook.
        """
        tokens = self.own_tokens(tokens)
        num_tokens, num_blocks = tokens.shape[1], self._num_blocks(tokens)
        if frame_mask is None:
            lengths = np.full(len(tokens), num_tokens)
        else:
            lengths = np.asarray(frame_mask).sum(axis=1) * self._fold
        waveform, _ = self.decode_blocks(
            tokens, 0, 0, num_blocks, lengths, self.conditions(conditions, len(tokens)), np.zeros(len(tokens))
        )
        waveform = waveform[:, : self.layout.num_samples(num_tokens)]
        num_samples = np.array([self.layout.num_samples(int(n)) for n in lengths])
        inside = np.arange(waveform.shape[1]) < num_samples[:, None]
        return self.shaped(jnp.where(inside[..., None], waveform, 0.0))

    def latents(
        self, tokens: Int[Array, "B T Q"], conditions: Mapping[str, Array] | None = None
    ) -> Float[Array, "B L D"]:
        """Generates what the frozen decoder reads of whole tracks; arguments as of `decode`.

        Returns:
            float32[B, L, D], L latents that the tokens reach.
        """
        tokens = self.own_tokens(tokens)
        lengths = np.full(len(tokens), tokens.shape[1])
        plan = plan_blocks(self.layout, 0, self._num_blocks(tokens), 0, tokens.shape[1], lengths)
        speaker = self.conditions(conditions, len(tokens))["speaker"]
        made = self._latents(self._variables, tokens, plan, speaker)
        return made[:, : self.layout.num_latents(tokens.shape[1])]

    def _num_blocks(self, tokens: np.ndarray) -> int:
        return max(-(-self.layout.num_latents(tokens.shape[1]) // self.layout.block), 1)

    def open_stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> FlowStream:
        """See `WaveformDecoder.open_stream`; chunks are whole blocks."""
        latents = chunk_frames * self._fold / self.layout.tokens_per_latent
        return FlowStream(self, max(round(latents / self.layout.block), 1), conditions)

    def shaped(self, waveform: jax.Array) -> jax.Array:
        """float32[B, S, C]; float32[B, S] of a mono decoder."""
        return waveform[..., 0] if self.num_channels == 1 else waveform

    def own_tokens(self, tokens: Array) -> np.ndarray:
        """Tokens at the codec's own rate, int32[B, T * fold, Q / fold], of those on the grid.

        Raises:
            ValueError: another shape, or tokens outside of the codebook.
        """
        tokens = np.asarray(tokens)
        size, num_codebooks = self._spec.codebook_size, self._spec.num_codebooks * self._fold
        if tokens.ndim != 3 or tokens.shape[2] != num_codebooks:
            raise ValueError(f"tokens: expected int32[B, T, {num_codebooks}], got {list(tokens.shape)}")
        if tokens.size and not (tokens.min() >= 0 and tokens.max() < size):
            raise ValueError(
                f"tokens: {int(tokens.min())} to {int(tokens.max())} are not in the codebook, 0 to {size - 1}"
            )
        return tokens.reshape(len(tokens), -1, self._spec.num_codebooks).astype(np.int32)

    def conditions(self, known: Mapping[str, Array] | None, batch_size: int) -> dict[str, jax.Array | None]:
        """All conditions; a speaker that is unknown is the codec's null."""
        known = {} if known is None else known
        speaker = known.get("speaker")
        if self._has_speaker and speaker is None:
            samples = np.zeros((batch_size, self._spec.samples_per_frame), np.float32)
            speaker = self._codec.encode_speaker(samples, np.zeros((batch_size, 1), bool))
        return {"speaker": speaker if self._has_speaker else None, "acoustics": known.get("acoustics")}

    def decode_blocks(
        self,
        tokens: np.ndarray,
        first_token: int,
        first_block: int,
        num_blocks: int,
        lengths: np.ndarray,
        conditions: dict[str, jax.Array | None],
        phase: Array,
        anchor: int = 0,
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes consecutive blocks.

        Args:
            tokens: int32[B, N, Q], those at hand, at the codec's rate.
            first_token: absolute index of the first.
            first_block: absolute index of the first block.
            num_blocks: how many.
            lengths: int64[B], tokens of each row's track.
            conditions: of `conditions`.
            phase: float32[B], of the tonal source at the latent `anchor`, periods.
            anchor: index of a latent of the blocks.

        Returns:
            float32[B, num_blocks * block * samples per latent, channels], and the phase of each latent.
        """
        layout = self.layout
        plan = plan_blocks(layout, first_block, num_blocks, first_token, tokens.shape[1], lengths)
        first_latent, num_latents = first_block * layout.block, num_blocks * layout.block
        own = None
        if self._reads_tokens:
            start = first_latent // self._unit - first_token
            end = start + num_latents // self._unit
            own = np.pad(tokens, ((0, 0), (0, max(end - tokens.shape[1], 0)), (0, 0)))[:, start:end]
        span_lengths = np.array([layout.num_latents(int(n)) for n in lengths]) - first_latent
        return self._decode(
            self._variables,
            self._frozen,
            tokens,
            plan,
            np.clip(span_lengths, 0, num_latents).astype(np.int32),
            own,
            np.int32(first_latent),
            jnp.asarray(phase, jnp.float32),
            conditions,
            anchor=anchor,
        )


def _block_latents(
    decoder: FlowMatchingConfig,
    layout: Layout,
    network: FlowNetwork,
    variables: PyTree,
    tokens: jax.Array,
    plan: Plan,
    speaker: jax.Array | None,
) -> jax.Array:
    """Latents of consecutive blocks, float32[B, K * block, D]."""
    params = {"params": variables["flow"]}
    embedded = network.apply(params, tokens, method="embed")

    def window(part: tuple[jax.Array, ...]) -> jax.Array:
        index, weights, is_valid, position = part
        start = token_mean(embedded, index, weights)
        return sample(decoder, network, params, start, is_valid, position, speaker)

    parts = (plan.tokens, plan.weights.swapaxes(0, 1), plan.is_valid.swapaxes(0, 1), plan.position)
    windows = jax.lax.map(window, parts, batch_size=min(_WINDOWS_AT_ONCE, len(plan.tokens)))
    return restored(blend(windows.swapaxes(0, 1), plan.blend, layout), variables["statistics"])


def _decode_blocks(
    decoder: FlowMatchingConfig,
    layout: Layout,
    latents: Latents,
    network: FlowNetwork,
    variables: PyTree,
    frozen: PyTree,
    tokens: jax.Array,
    plan: Plan,
    lengths: jax.Array,
    own_tokens: jax.Array | None,
    first_latent: jax.Array,
    phase: jax.Array,
    conditions: dict[str, jax.Array | None],
    anchor: int,
) -> tuple[jax.Array, jax.Array]:
    """The jitted part of `FlowMatchingDecoder.decode_blocks`."""
    made = _block_latents(decoder, layout, network, variables, tokens, plan, conditions["speaker"])
    return latents.decode(frozen, Span(made, lengths, own_tokens, first_latent, anchor, phase), conditions)

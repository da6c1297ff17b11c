"""What the flow generates, and the frozen decoder after it: log-mels and a vocoder, or an autoencoder.

| target | latents | waveform |
|---|---|---|
| "mel" | log-mels of the stream's mel_rvq codec, nats | its vocoder, with the hidden features of the tokens |
| "oobleck" | means of the autoencoder's posterior | its decoder |

Source: the paper, which has the autoencoder of Stable Audio; mean or sample of the posterior is unstated, and
the mean our choice. Log-mels as target are our choice, for small models without outside weights.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.checkpoints.public_models import how_to_get
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.registry import codec_spec
from dualdub_jax.config import Config
from dualdub_jax.decoders.flow_matching.blocks import Layout
from dualdub_jax.decoders.flow_matching.config import FlowMatchingConfig
from dualdub_jax.decoders.flow_matching.resampling import RESAMPLINGS
from dualdub_jax.decoders.oobleck.autoencoder import (
    OobleckDecoder,
    OobleckEncoder,
    abstract_autoencoder,
    decoder_context,
)
from dualdub_jax.errors import UserError
from dualdub_jax.layers.transformer import REMAT_POLICIES
from dualdub_jax.types import Stream

PyTree = Any  # nested dictionaries of arrays


class Span(NamedTuple):
    """Latents of consecutive blocks, and what else a frozen decoder reads of them.

    Attributes:
        latents: float32[B, N, D].
        lengths: int32[B], latents of each row before its track ends.
        tokens: int32[B, N / latents per token, Q], of the span; only where a token is whole latents.
        first_latent: int32[], absolute index of the first.
        anchor: index of the latent whose phase is given.
        phase: float32[B], of the tonal source at the anchor, periods.
    """

    latents: jax.Array
    lengths: jax.Array
    tokens: jax.Array | None
    first_latent: jax.Array
    anchor: int
    phase: jax.Array


class Latents(Protocol):
    """A target of the flow.

    Attributes:
        dim: D.
        sample_rate_hz, samples_per_latent, num_channels: of the waveform.
        unit: a block is a multiple of this many latents.
        margin: latents on both sides that a sample depends on.
        crop_rate_hz: rate of "target_waveform" in training batches; 0: latents are made of "waveform".
    """

    dim: int
    sample_rate_hz: int
    samples_per_latent: int
    num_channels: int
    unit: int
    margin: int
    crop_rate_hz: int

    def encode(self, frozen: PyTree, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Latents float32[B, L, D] of a training batch."""
        ...

    def decode(
        self, variables: PyTree, span: Span, conditions: Mapping[str, jax.Array | None]
    ) -> tuple[jax.Array, jax.Array]:
        """The waveform float32[B, N * samples_per_latent, channels], and the phase of each latent."""
        ...


class MelLatents:
    """Log-mels of a mel_rvq codec; implements `Latents`. `variables` are the codec's.

    Args:
        config: of the run.
        stream: whose codec.

    Raises:
        UserError: a codec of another kind.
    """

    num_channels, crop_rate_hz = 1, 0

    def __init__(self, config: Config, stream: Stream) -> None:
        codec = config.streams[stream].codec
        if codec.kind != "mel_rvq":
            raise UserError(
                f"config.streams.{stream}.decoder.target: 'mel' needs the vocoder of a mel_rvq codec, but "
                f"the codec is {codec.kind!r}; set target to 'oobleck', or another codec"
            )
        try:
            self._modules = CodecModules(codec)
        except ValueError as error:
            raise UserError(f"config.streams.{stream}.codec: {error}") from None
        self.dim, self.sample_rate_hz = codec.n_mels, codec.sample_rate_hz
        self.samples_per_latent = codec.hop_length
        self.unit = self._modules.mel_per_frame
        self.margin = self._modules.context_frames * self.unit

    def encode(self, frozen: PyTree, batch: Mapping[str, jax.Array]) -> jax.Array:
        """See `Latents`."""
        del frozen
        return self._modules.log_mel(batch["waveform"])

    def decode(
        self, variables: PyTree, span: Span, conditions: Mapping[str, jax.Array | None]
    ) -> tuple[jax.Array, jax.Array]:
        """See `Latents`."""
        modules = self._modules
        # A track ends with a token, so that a token is inside of it whole or not at all.
        mask = jnp.arange(span.tokens.shape[1]) * self.unit < span.lengths[:, None]
        _, hidden = modules.decode_tokens(variables, span.tokens, mask, conditions.get("speaker"))
        mel = span.latents
        if conditions.get("acoustics") is not None and modules.acoustics_renderer is not None:
            mel = modules.render_acoustics(variables, mel, mask, conditions["acoustics"])
        first_token = span.first_latent // self.unit
        waveform, phases = modules.vocode(variables, mel, hidden, mask, first_token, span.phase, span.anchor)
        return waveform[..., None], phases


class OobleckLatents:
    """Latents of a frozen Oobleck; implements `Latents`. `variables` are the autoencoder's decoder.

    Args:
        decoder: keys of the waveform decoder.
    """

    unit = 1

    def __init__(self, decoder: FlowMatchingConfig) -> None:
        sizes = decoder.oobleck
        self._sizes, self._is_mono = sizes, decoder.is_mono
        self.dim, self.sample_rate_hz = sizes.latent_dim, sizes.sample_rate_hz
        self.samples_per_latent = sizes.samples_per_latent
        self.num_channels = 1 if decoder.is_mono else sizes.num_channels
        self.crop_rate_hz = sizes.sample_rate_hz
        self.margin = decoder_context(sizes)

    def encode(self, frozen: PyTree, batch: Mapping[str, jax.Array]) -> jax.Array:
        """See `Latents`; a mono stem is repeated to all channels, as in the public code."""
        waveform = jnp.repeat(batch["target_waveform"][..., None], self._sizes.num_channels, axis=-1)
        return OobleckEncoder(self._sizes).apply({"params": frozen}, waveform)[0]

    def decode(
        self, variables: PyTree, span: Span, conditions: Mapping[str, jax.Array | None]
    ) -> tuple[jax.Array, jax.Array]:
        """See `Latents`."""
        del conditions
        mask = jnp.arange(span.latents.shape[1]) < span.lengths[:, None]
        waveform = OobleckDecoder(self._sizes).apply({"params": variables}, span.latents, mask)
        if self._is_mono:
            waveform = jnp.mean(waveform, axis=-1, keepdims=True)
        return waveform, jnp.zeros(span.latents.shape[:2])


def make_latents(config: Config, stream: Stream) -> tuple[Latents, Layout]:
    """The target of a stream's decoder, and the layout of its blocks.

    Raises:
        UserError: a choice or a length that cannot be; the message names the key.
    """
    decoder = config.streams[stream].decoder
    where = f"config.streams.{stream}.decoder"
    _check_choices(decoder, where)
    latents = MelLatents(config, stream) if decoder.target == "mel" else OobleckLatents(decoder)
    rate = Fraction(latents.sample_rate_hz, latents.samples_per_latent)
    units = max(round(decoder.block_s * rate / latents.unit), 1)
    context = 2 * round(decoder.context_s * rate / 2)
    layout = Layout(
        sample_rate_hz=latents.sample_rate_hz,
        samples_per_latent=latents.samples_per_latent,
        token_rate=codec_spec(config, stream).frame_rate,
        block=units * latents.unit,
        context=context,
        resampling=decoder.resampling,
    )
    least = max(context, latents.margin + context // 2)
    if layout.block < least:
        raise UserError(
            f"{where}.block_s: {decoder.block_s:g} s are {layout.block} latents at {float(rate):g} Hz, fewer "
            f"than the {least} that the frozen decoder and context_s={decoder.context_s:g} reach; set "
            f"at least {math.ceil(10 * (least + latents.unit) / rate) / 10:g}"
        )
    return latents, layout


def _check_choices(decoder: FlowMatchingConfig, where: str) -> None:
    choices = {
        "target": ("mel", "oobleck"),
        "resampling": RESAMPLINGS,
        "source": ("embedding", "noise"),
        "condition": ("none", "add", "concatenate"),
        "compute_dtype": ("float32", "bfloat16", "float16"),
        "remat_policy": ("none", *REMAT_POLICIES),
    }
    for key, known in choices.items():
        if (value := getattr(decoder, key)) not in known:
            raise UserError(f"{where}.{key}: {value!r} is none of {', '.join(known)}")
    least = {"embedding_dim": 0, "num_layers": 1, "num_heads": 1, "mlp_width": 1, "num_euler_steps": 1}
    for key, lowest in least.items():
        if (value := getattr(decoder, key)) < lowest:
            raise UserError(f"{where}.{key}: is {value}, expected at least {lowest}")
    if decoder.width < 1 or decoder.width % (2 * decoder.num_heads):
        raise UserError(
            f"{where}.width: {decoder.width} is not an even multiple of num_heads={decoder.num_heads}; "
            "rotary positions need heads of an even width"
        )
    if decoder.source == "noise" and decoder.condition == "none":
        raise UserError(
            f"{where}.condition: 'none' with source='noise' generates without reading a token; set it to "
            "'concatenate' or 'add'"
        )
    if decoder.guidance_scale != 1.0 and decoder.condition == "none":
        raise UserError(
            f"{where}.guidance_scale: {decoder.guidance_scale:g} needs a condition, which is 'none'"
        )
    training = decoder.training
    if not 0.0 <= training.condition_dropout_rate <= 1.0:
        rate = training.condition_dropout_rate
        raise UserError(f"{where}.training.condition_dropout_rate: is {rate:g}, expected from 0 to 1")
    for key in ("statistics_steps", "regression_weight"):
        if (value := getattr(training, key)) < 0:
            raise UserError(f"{where}.training.{key}: is {value:g}, expected at least 0")
    if not -1.0 <= decoder.sway <= 1.0:
        raise UserError(f"{where}.sway: is {decoder.sway:g}, expected from -1 to 1")
    if decoder.context_s < 0 or decoder.block_s <= 0:
        raise UserError(f"{where}.block_s, context_s: expected lengths in seconds, above 0 and from 0")


def abstract_oobleck(decoder: FlowMatchingConfig) -> PyTree:
    """`jax.ShapeDtypeStruct`s of {"encoder", "decoder": parameters}."""
    return abstract_autoencoder(decoder.oobleck)


def read_oobleck(decoder: FlowMatchingConfig, where: str) -> PyTree:
    """Reads the autoencoder in `decoder.path`.

    Args:
        decoder: keys of the waveform decoder.
        where: its dotted key, for messages.

    Returns:
        {"encoder", "decoder": parameters}, NumPy arrays.

    Raises:
        UserError: no path, no folder, another kind, or other sizes than the config's.
    """
    if not decoder.path:
        raise UserError(f"{where}: target='oobleck' has no path; {how_to_get('oobleck')} as {where}.path")
    sizes, params = read_converted(pathlib.Path(decoder.path), "oobleck")
    wanted = {
        k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(decoder.oobleck).items()
    }
    different = [f"{where}.oobleck.{k}={sizes[k]}" for k in wanted if k in sizes and sizes[k] != wanted[k]]
    if different:
        raise UserError(f"{decoder.path}: has other sizes than the config; set {', '.join(different)}")
    check_shapes(nn.unbox(abstract_oobleck(decoder)), params, decoder.path)
    return jax.tree.map(np.asarray, params)

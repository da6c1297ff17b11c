"""The networks of a mel-RVQ codec, and pure functions that apply them to `variables`.

`variables` is a pytree, `{"encoder", "decoder", "vocoder": parameters, "codebooks": float32[Q, K, D]}`;
with `speaker_dim` also "speaker_encoder", with `acoustics_num_blocks` also "acoustics_renderer".
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.mel_rvq import rvq
from dualdub_jax.codecs.mel_rvq.acoustics import AcousticsRenderer, tail_hops
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm, receptive_frames
from dualdub_jax.codecs.mel_rvq.speaker import (
    NUM_FEATURES,
    SpeakerEncoder,
    content_features,
    level_reference,
)
from dualdub_jax.codecs.mel_rvq.vocoder import Vocoder, synthesize, vocoder_receptive_frames
from dualdub_jax.dsp.mel import LOG_FLOOR, MEAN_LOG_MEL, STD_LOG_MEL, log_mel
from dualdub_jax.dsp.pitch import Pitch, estimate_pitch

PyTree = Any  # nested dictionaries of arrays, see above; boxed with logical axis names by `init_…`


class MelEncoder(nn.Module):
    """Encodes features of mel frames to one latent vector per token frame.

    Attributes:
        config: of the codec.
    """

    config: MelRVQConfig

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        """Encodes.

        Args:
            features: float32[B, M, F], see `CodecModules.features`.
            mask: bool[B, T], True for valid frames.

        Returns:
            float32[B, T, latent_dim]; undefined outside the mask.
        """
        config = self.config
        x = rearrange(features, "b (t r) n -> b t (r n)", r=features.shape[1] // mask.shape[1])
        x = dense(config.width, "mel_in", ("patch", "embed"))(x)
        for i in range(config.num_blocks):
            x = ConvNeXtBlock(config.kernel_size, name=f"block_{i}")(x, mask)
        x = layer_norm("norm_out")(x)
        return dense(config.latent_dim, "latent_out", ("embed", "patch"))(x)


class MelDecoder(nn.Module):
    """Decodes quantised latents to log-mels.

    Attributes:
        config: of the codec.
        mel_per_frame: mel frames per token frame.
    """

    config: MelRVQConfig
    mel_per_frame: int

    @nn.compact
    def __call__(
        self, latents: jax.Array, mask: jax.Array, speaker: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes.

        Args:
            latents: float32[B, T, latent_dim].
            mask: bool[B, T], True for valid frames.
            speaker: float32[B, speaker_dim], required with `speaker_dim`.

        Returns:
            Log-mels float32[B, M, n_mels], nats, and hidden features float32[B, T, width] for the vocoder.
        """
        config = self.config
        x = dense(config.width, "latent_in", ("patch", "embed"))(latents)
        for i in range(config.num_blocks):
            x = ConvNeXtBlock(config.kernel_size, name=f"block_{i}")(x, mask, speaker)
        hidden = layer_norm("norm_out")(x)
        mel = dense(self.mel_per_frame * config.n_mels, "mel_out", ("embed", "patch"))(hidden)
        mel = rearrange(mel, "b t (r n) -> b (t r) n", r=self.mel_per_frame)
        return mel * STD_LOG_MEL + MEAN_LOG_MEL, hidden


class CodecModules:
    """The networks of one codec, and pure functions that apply them to `variables`.

    Attributes:
        encoder, decoder, vocoder: the linen modules.
        speaker_encoder: a linen module; None without `speaker_dim`.
        acoustics_renderer: a linen module; None without `acoustics_num_blocks`.
        mel_per_frame: mel frames per token frame.
    """

    def __init__(self, config: MelRVQConfig):
        """Constructs the modules.

        Raises:
            ValueError: a hop length that does not divide the next longer one.
        """
        if config.samples_per_frame % config.hop_length or config.hop_length % config.vocoder_hop_length:
            raise ValueError(
                f"hop lengths must divide each other: frame {config.samples_per_frame}, "
                f"hop_length {config.hop_length}, vocoder_hop_length {config.vocoder_hop_length}"
            )
        self.config = config
        self.mel_per_frame = config.samples_per_frame // config.hop_length
        self.encoder = MelEncoder(config)
        self.decoder = MelDecoder(config, self.mel_per_frame)
        self.vocoder = Vocoder(config)
        self.speaker_encoder = SpeakerEncoder(config) if config.speaker_dim else None
        self.acoustics_renderer = AcousticsRenderer(config) if config.acoustics_num_blocks else None

    def init_tokens(self, rng: jax.Array) -> PyTree:
        """Initialises all variables but vocoder and renderer; leaves are boxed with logical axis names."""
        config = self.config
        encoder_key, decoder_key = jax.random.split(rng)
        mask = jnp.ones((1, 1), bool)
        mel = jnp.zeros((1, self.mel_per_frame, config.n_mels))
        features = jnp.zeros((1, self.mel_per_frame, NUM_FEATURES)) if config.speaker_dim else mel
        latents = jnp.zeros((1, 1, config.latent_dim))
        speaker = jnp.zeros((1, config.speaker_dim)) if config.speaker_dim else None
        shape = (config.num_codebooks, config.codebook_size, config.latent_dim)
        variables = {
            "encoder": self.encoder.init(encoder_key, features, mask)["params"],
            "decoder": self.decoder.init(decoder_key, latents, mask, speaker)["params"],
            "codebooks": nn.LogicallyPartitioned(jnp.zeros(shape), ("codebooks", "vocab", "patch")),
        }
        if self.speaker_encoder is not None:
            mel_mask = jnp.ones(mel.shape[:2], bool)
            pitch = Pitch(jnp.zeros(mel.shape[:2]), mel_mask)
            speaker_key, has_voice = jax.random.fold_in(rng, 2), jnp.ones(1, bool)
            initialised = self.speaker_encoder.init(speaker_key, mel, pitch, mel_mask, has_voice)
            variables["speaker_encoder"] = initialised["params"]
        return variables

    def init_vocoder(self, rng: jax.Array) -> PyTree:
        """Initialises the vocoder; leaves are boxed with logical axis names."""
        mel = jnp.zeros((1, self.mel_per_frame, self.config.n_mels))
        hidden = jnp.zeros((1, 1, self.config.width))
        return self.vocoder.init(rng, mel, hidden, jnp.ones((1, self.mel_per_frame), bool))["params"]

    def init_acoustics(self, rng: jax.Array) -> PyTree:
        """Initialises the acoustics renderer; leaves are boxed with logical axis names."""
        mel = jnp.zeros((1, self.mel_per_frame, self.config.n_mels))
        return self.acoustics_renderer.init(rng, mel, jnp.ones((1, 1), bool), jnp.ones((1, 2)))["params"]

    def log_mel(self, waveform: jax.Array) -> jax.Array:
        """Log-mels, nats: float32[B, S] -> float32[B, S // hop_length, n_mels]."""
        config = self.config
        return log_mel(waveform, self.config.sample_rate_hz, config.n_fft, config.hop_length, config.n_mels)

    def pitch(self, waveform: jax.Array) -> Pitch:
        """Pitch and voicing of every mel frame of float32[B, S]."""
        return estimate_pitch(waveform, self.config.sample_rate_hz, self.config.hop_length)

    def features(self, mel: jax.Array, pitch: Pitch | None, mask: jax.Array) -> jax.Array:
        """Input features of the encoder.

        Args:
            mel: float32[B, M, n_mels], log-mels, nats.
            pitch: of the same frames; required with `speaker_dim`, else ignored.
            mask: bool[B, T], True for valid frames.

        Returns:
            float32[B, M, F]: standardised log-mels, or `content_features` with `speaker_dim`.
        """
        if self.speaker_encoder is None:
            return (mel - MEAN_LOG_MEL) / STD_LOG_MEL
        return content_features(mel, pitch, jnp.repeat(mask, self.mel_per_frame, axis=1))

    def encode_features(self, variables: PyTree, features: jax.Array, mask: jax.Array) -> jax.Array:
        """Latents before quantisation: float32[B, M, F], bool[B, T] -> float32[B, T, latent_dim]."""
        return self.encoder.apply({"params": variables["encoder"]}, features, mask)

    def encode_speaker(
        self, variables: PyTree, waveform: jax.Array, mask: jax.Array, has_voice: jax.Array
    ) -> jax.Array:
        """Speaker embedding of reference recordings.

        Args:
            variables: of the codec.
            waveform: float32[B, R * samples_per_frame], any level.
            mask: bool[B, R], True for frames that the recording covers.
            has_voice: bool[B], False without a reference.

        Returns:
            float32[B, speaker_dim]; a learned null without a reference.
        """
        if self.speaker_encoder is None:
            return jnp.zeros((waveform.shape[0], 0))
        mel, pitch, mel_mask = self.reference_features(waveform, mask)
        return self.speaker_encoder.apply(
            {"params": variables["speaker_encoder"]}, mel, pitch, mel_mask, has_voice
        )

    def reference_features(self, waveform: jax.Array, mask: jax.Array) -> tuple[jax.Array, Pitch, jax.Array]:
        """Inputs of the speaker encoder, given float32[B, R * samples_per_frame] and bool[B, R].

        Returns:
            Log-mels float32[B, M, n_mels], pitch, and the mask of mel frames bool[B, M].
        """
        levelled = level_reference(waveform, jnp.repeat(mask, self.config.samples_per_frame, axis=1))
        mel_mask = jnp.repeat(mask, self.mel_per_frame, axis=1)
        return self.log_mel(levelled), self.pitch(levelled), mel_mask

    def encode(self, variables: PyTree, waveform: jax.Array, mask: jax.Array) -> jax.Array:
        """Encodes to tokens: float32[B, T * samples_per_frame], bool[B, T] -> int32[B, T, Q]."""
        sample_mask = jnp.repeat(mask, self.config.samples_per_frame, axis=1)
        waveform = jnp.where(sample_mask, waveform, 0.0)
        pitch = None if self.speaker_encoder is None else self.pitch(waveform)
        features = self.features(self.log_mel(waveform), pitch, mask)
        codes, _ = rvq.quantize(self.encode_features(variables, features, mask), variables["codebooks"])
        return codes

    def decode_latents(
        self, variables: PyTree, latents: jax.Array, mask: jax.Array, speaker: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """See `MelDecoder`; log-mels are clipped at their floor. `speaker` is as for `decode`."""
        if self.speaker_encoder is None:
            speaker = None
        elif speaker is None:
            null = variables["speaker_encoder"]["null"]
            speaker = jnp.broadcast_to(null, (latents.shape[0], *null.shape))
        mel, hidden = self.decoder.apply({"params": variables["decoder"]}, latents, mask, speaker)
        return jnp.maximum(mel, np.log(LOG_FLOOR)), hidden

    def decode_tokens(
        self, variables: PyTree, tokens: jax.Array, mask: jax.Array, speaker: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes int32[B, T, Q], bool[B, T]; returns as `MelDecoder`, log-mels clipped at their floor."""
        return self.decode_latents(variables, rvq.dequantize(tokens, variables["codebooks"]), mask, speaker)

    def decode(
        self,
        variables: PyTree,
        tokens: jax.Array,
        mask: jax.Array,
        first_frame: jax.Array,
        phase: jax.Array,
        anchor_frame: int = 0,
        speaker: jax.Array | None = None,
        acoustics: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes tokens to a waveform.

        Args:
            variables: of the codec.
            tokens: int32[B, T, Q].
            mask: bool[B, T], True for valid frames.
            first_frame: int32[], absolute index of the first frame.
            phase: float32[B], phase of the pitch at the start of frame `anchor_frame`, in periods.
            anchor_frame: index of the frame whose phase is given.
            speaker: float32[B, speaker_dim], from `encode_speaker`; None: the learned null.
            acoustics: float32[B, 2], see `Codec.decode`; None: those that the tokens carry.

        Returns:
            The waveform float32[B, T * samples_per_frame], zero outside the mask, and float32[B, T], the
            phase at the start of each frame, in periods.
        """
        mel, hidden = self.decode_tokens(variables, tokens, mask, speaker)
        if acoustics is not None and self.acoustics_renderer is not None:
            mel = self.render_acoustics(variables, mel, mask, acoustics)
        anchor_hop = anchor_frame * self.mel_per_frame
        waveform, phases = self.vocode(variables, mel, hidden, mask, first_frame, phase, anchor_hop)
        return waveform, phases[:, :: self.mel_per_frame]

    def vocode(
        self,
        variables: PyTree,
        mel: jax.Array,
        hidden: jax.Array,
        mask: jax.Array,
        first_frame: jax.Array,
        phase: jax.Array,
        anchor_hop: int = 0,
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes log-mels float32[B, M, n_mels] and hidden features of `MelDecoder`; see `synthesize`.

        Returns:
            The waveform float32[B, T * samples_per_frame], zero outside bool[B, T], and float32[B, M], the
            phase at the start of each mel frame, in periods.
        """
        mel_mask = jnp.repeat(mask, self.mel_per_frame, axis=1)
        frames = self.vocoder.apply({"params": variables["vocoder"]}, mel, hidden, mel_mask)
        return synthesize(frames, mel_mask, self.config, first_frame, phase, anchor_hop)

    def render_acoustics(
        self, variables: PyTree, mel: jax.Array, mask: jax.Array, acoustics: jax.Array
    ) -> jax.Array:
        """See `AcousticsRenderer`; log-mels are clipped at their floor."""
        rendered = self.acoustics_renderer.apply(
            {"params": variables["acoustics_renderer"]}, mel, mask, acoustics
        )
        return jnp.maximum(rendered, np.log(LOG_FLOOR))

    @property
    def context_frames(self) -> int:
        """Receptive field of `decode` on each side of a frame, token frames."""
        config = self.config
        in_vocoder = -(-vocoder_receptive_frames(config) // self.mel_per_frame)
        in_renderer = 0
        if self.acoustics_renderer is not None:
            in_renderer = receptive_frames(config.acoustics_num_blocks, config.acoustics_kernel_size)
            in_renderer += -(-tail_hops(config) // self.mel_per_frame)
        return receptive_frames(config.num_blocks, config.kernel_size) + in_renderer + in_vocoder

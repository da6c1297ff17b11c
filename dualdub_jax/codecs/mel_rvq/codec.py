"""The project's own codec: log-mel frames, residual vector quantisation, and the neural vocoder.

    waveform -> log-mel (50 Hz) -> encoder (25 Hz) -> RVQ codes
    RVQ codes -> decoder -> log-mel and hidden features [-> room] -> vocoder -> waveform

With `phonetic_dim`, the first codebook is zero outside the first so many dimensions of the latents, and so
looks at no others; training makes it tell phonemes (training/codec.py). With `speaker_dim`, the tokens leave
out whose voice it is, and the decoder is told by a reference recording (codecs/voice.py). With
`acoustics_num_blocks`, what is decoded is brought into a room that is told (codecs/room.py).

`variables` is a plain pytree, `{"encoder", "decoder", "vocoder": parameters, "codebooks": float32[Q, K, D]}`,
with `speaker_dim` also "speaker_encoder", with `acoustics_num_blocks` "acoustics_renderer", so that any checkpoint library
stores it. Source: our choice; the parts name theirs.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from dualdub_jax.codecs.mel_rvq import rvq
from dualdub_jax.codecs.mel_rvq.acoustics import AcousticsRenderer, tail_hops
from dualdub_jax.codecs.mel_rvq.convnext import ConvNeXtBlock, dense, layer_norm, receptive_frames
from dualdub_jax.codecs.mel_rvq.speaker import (
    NUM_FEATURES,
    VoiceStyleEncoder,
    content_features,
    level_reference,
)
from dualdub_jax.codecs.mel_rvq.vocoder import Vocoder, synthesize, vocoder_receptive_frames
from dualdub_jax.codecs.streaming import DecodeStream
from dualdub_jax.config import CodecConfig, GridConfig
from dualdub_jax.dsp.mel import LOG_FLOOR, MEAN_LOG_MEL, STD_LOG_MEL, log_mel
from dualdub_jax.dsp.pitch import Pitch, estimate_pitch

PyTree = Any


class MelEncoder(nn.Module):
    """Features of mel frames to latents, one a grid frame.

    Attributes:
        config: of the codec.
    """

    config: CodecConfig

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        """Encodes.

        Args:
            features: float32[B, M, F], see `CodecModules.features`.
            mask: bool[B, T], True for frames that exist.

        Returns:
            float32[B, T, latent_dim].
        """
        config = self.config
        x = rearrange(features, "b (t r) n -> b t (r n)", r=features.shape[1] // mask.shape[1])
        x = dense(config.width, "mel_in", ("patch", "embed"))(x)
        for i in range(config.num_blocks):
            x = ConvNeXtBlock(config.kernel_size, name=f"block_{i}")(x, mask)
        x = layer_norm("norm_out")(x)
        return dense(config.latent_dim, "latent_out", ("embed", "patch"))(x)


class MelDecoder(nn.Module):
    """Quantised latents to log-mels.

    Attributes:
        config: of the codec.
        mel_per_frame: mel frames of a grid frame.
    """

    config: CodecConfig
    mel_per_frame: int

    @nn.compact
    def __call__(
        self, latents: jax.Array, mask: jax.Array, voice: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes.

        Args:
            latents: float32[B, T, latent_dim].
            mask: bool[B, T], True for frames that exist.
            voice: float32[B, speaker_dim], with `speaker_dim`.

        Returns:
            Log-mels float32[B, M, n_mels], and hidden features float32[B, T, width] for the vocoder.
        """
        config = self.config
        x = dense(config.width, "latent_in", ("patch", "embed"))(latents)
        for i in range(config.num_blocks):
            x = ConvNeXtBlock(config.kernel_size, name=f"block_{i}")(x, mask, voice)
        hidden = layer_norm("norm_out")(x)
        mel = dense(self.mel_per_frame * config.n_mels, "mel_out", ("embed", "patch"))(hidden)
        mel = rearrange(mel, "b t (r n) -> b (t r) n", r=self.mel_per_frame)
        return mel * STD_LOG_MEL + MEAN_LOG_MEL, hidden


class CodecModules:
    """The networks of one codec, and the pure functions from variables to results that they make up.

    Attributes:
        encoder, decoder, vocoder: the linen modules.
        speaker_encoder: likewise, with `speaker_dim`; else None.
        acoustics_renderer: likewise, with `acoustics_num_blocks`; else None.
        mel_per_frame: mel frames of a grid frame.
    """

    def __init__(self, config: CodecConfig, grid: GridConfig):
        """Checks that the hops fit the grid.

        Raises:
            ValueError: a hop length that does not divide the next longer one.
        """
        if grid.samples_per_frame % config.hop_length or config.hop_length % config.vocoder_hop_length:
            raise ValueError(
                f"hop lengths must divide each other: grid frame {grid.samples_per_frame}, "
                f"hop_length {config.hop_length}, vocoder_hop_length {config.vocoder_hop_length}"
            )
        self.config, self.grid = config, grid
        self.mel_per_frame = grid.samples_per_frame // config.hop_length
        self.encoder = MelEncoder(config)
        self.decoder = MelDecoder(config, self.mel_per_frame)
        self.vocoder = Vocoder(config)
        self.speaker_encoder = VoiceStyleEncoder(config) if config.speaker_dim else None
        self.acoustics_renderer = AcousticsRenderer(config, grid) if config.acoustics_num_blocks else None

    def init_tokens(self, rng: jax.Array) -> PyTree:
        """Variables without the vocoder; leaves are boxed with their logical axis names."""
        config = self.config
        encoder_key, decoder_key = jax.random.split(rng)
        mask = jnp.ones((1, 1), bool)
        mel = jnp.zeros((1, self.mel_per_frame, config.n_mels))
        features = jnp.zeros((1, self.mel_per_frame, NUM_FEATURES)) if config.speaker_dim else mel
        latents = jnp.zeros((1, 1, config.latent_dim))
        voice = jnp.zeros((1, config.speaker_dim)) if config.speaker_dim else None
        shape = (config.num_codebooks, config.codebook_size, config.latent_dim)
        variables = {
            "encoder": self.encoder.init(encoder_key, features, mask)["params"],
            "decoder": self.decoder.init(decoder_key, latents, mask, voice)["params"],
            "codebooks": nn.LogicallyPartitioned(jnp.zeros(shape), ("codebooks", "vocab", "patch")),
        }
        if self.speaker_encoder is not None:
            mel_mask = jnp.ones(mel.shape[:2], bool)
            pitch = Pitch(jnp.zeros(mel.shape[:2]), mel_mask)
            reader_key, has_voice = jax.random.fold_in(rng, 2), jnp.ones(1, bool)
            reader = self.speaker_encoder.init(reader_key, mel, pitch, mel_mask, has_voice)
            variables["speaker_encoder"] = reader["params"]
        return variables

    def init_vocoder(self, rng: jax.Array) -> PyTree:
        """Parameters of the vocoder; leaves are boxed with their logical axis names."""
        mel = jnp.zeros((1, self.mel_per_frame, self.config.n_mels))
        hidden = jnp.zeros((1, 1, self.config.width))
        return self.vocoder.init(rng, mel, hidden, jnp.ones((1, self.mel_per_frame), bool))["params"]

    def init_acoustics(self, rng: jax.Array) -> PyTree:
        """Parameters of the room renderer; leaves are boxed with their logical axis names."""
        mel = jnp.zeros((1, self.mel_per_frame, self.config.n_mels))
        return self.acoustics_renderer.init(rng, mel, jnp.ones((1, 1), bool), jnp.ones((1, 2)))["params"]

    def log_mel(self, waveform: jax.Array) -> jax.Array:
        """float32[B, S] -> float32[B, S // hop_length, n_mels]."""
        config = self.config
        return log_mel(waveform, self.grid.sample_rate_hz, config.n_fft, config.hop_length, config.n_mels)

    def pitch(self, waveform: jax.Array) -> Pitch:
        """Of every mel frame of float32[B, S]."""
        return estimate_pitch(waveform, self.grid.sample_rate_hz, self.config.hop_length)

    def features(self, mel: jax.Array, pitch: Pitch | None, mask: jax.Array) -> jax.Array:
        """What the encoder sees.

        Args:
            mel: float32[B, M, n_mels], log-mels.
            pitch: of the same frames; only with `speaker_dim`.
            mask: bool[B, T], True for grid frames that exist.

        Returns:
            float32[B, M, F]: the log-mels, brought to the networks' range, or with `speaker_dim` speech
            without its voice.
        """
        if self.speaker_encoder is None:
            return (mel - MEAN_LOG_MEL) / STD_LOG_MEL
        return content_features(mel, pitch, jnp.repeat(mask, self.mel_per_frame, axis=1))

    def encode_features(self, variables: PyTree, features: jax.Array, mask: jax.Array) -> jax.Array:
        """Latents before quantisation: float32[B, M, F], bool[B, T] -> float32[B, T, latent_dim]."""
        return self.encoder.apply({"params": variables["encoder"]}, features, mask)

    def read_voice(
        self, variables: PyTree, waveform: jax.Array, mask: jax.Array, has_voice: jax.Array
    ) -> jax.Array:
        """Whose voice a recording is in.

        Args:
            variables: of the codec.
            waveform: float32[B, R * samples_per_frame], any level.
            mask: bool[B, R], True for grid frames that the recording covers.
            has_voice: bool[B], False where there is none.

        Returns:
            float32[B, speaker_dim].
        """
        if self.speaker_encoder is None:
            return jnp.zeros((waveform.shape[0], 0))
        mel, pitch, mel_mask = self.reference_features(waveform, mask)
        return self.speaker_encoder.apply(
            {"params": variables["speaker_encoder"]}, mel, pitch, mel_mask, has_voice
        )

    def reference_features(self, waveform: jax.Array, mask: jax.Array) -> tuple[jax.Array, Pitch, jax.Array]:
        """What the voice reader sees of float32[B, R * samples_per_frame] and bool[B, R]."""
        levelled = level_reference(waveform, jnp.repeat(mask, self.grid.samples_per_frame, axis=1))
        mel_mask = jnp.repeat(mask, self.mel_per_frame, axis=1)
        return self.log_mel(levelled), self.pitch(levelled), mel_mask

    def encode(self, variables: PyTree, waveform: jax.Array, mask: jax.Array) -> jax.Array:
        """float32[B, T * samples_per_frame], bool[B, T] -> int32[B, T, Q]."""
        sample_mask = jnp.repeat(mask, self.grid.samples_per_frame, axis=1)
        waveform = jnp.where(sample_mask, waveform, 0.0)
        pitch = None if self.speaker_encoder is None else self.pitch(waveform)
        features = self.features(self.log_mel(waveform), pitch, mask)
        codes, _ = rvq.quantize(self.encode_features(variables, features, mask), variables["codebooks"])
        return codes

    def decode_latents(
        self, variables: PyTree, latents: jax.Array, mask: jax.Array, voice: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """See `MelDecoder`; the log-mel is not below its floor. `voice` is as for `decode`."""
        if self.speaker_encoder is None:
            voice = None
        elif voice is None:
            null = variables["speaker_encoder"]["null"]
            voice = jnp.broadcast_to(null, (latents.shape[0], *null.shape))
        mel, hidden = self.decoder.apply({"params": variables["decoder"]}, latents, mask, voice)
        return jnp.maximum(mel, np.log(LOG_FLOOR)), hidden

    def decode_tokens(
        self, variables: PyTree, tokens: jax.Array, mask: jax.Array, voice: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """int32[B, T, Q], bool[B, T] -> log-mels float32[B, M, n_mels], hidden float32[B, T, width]."""
        return self.decode_latents(variables, rvq.dequantize(tokens, variables["codebooks"]), mask, voice)

    def decode(
        self,
        variables: PyTree,
        tokens: jax.Array,
        mask: jax.Array,
        first_frame: jax.Array,
        phase: jax.Array,
        anchor_frame: int = 0,
        voice: jax.Array | None = None,
        acoustics: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Tokens to a waveform.

        Args:
            variables: of the codec.
            tokens: int32[B, T, Q].
            mask: bool[B, T], True for frames that exist.
            first_frame: int32[], absolute number of the first frame.
            phase: float32[B], phase of the pitch at the start of frame `anchor_frame`, in periods.
            anchor_frame: see `phase`.
            voice: float32[B, speaker_dim], from `read_voice`; None: no reference.
            acoustics: float32[B, 2], see `Codec.decode`; None: what the tokens say.

        Returns:
            float32[B, T * samples_per_frame], and float32[B, T], the phase at the start of each frame.
        """
        mel, hidden = self.decode_tokens(variables, tokens, mask, voice)
        if acoustics is not None and self.acoustics_renderer is not None:
            mel = self.render_acoustics(variables, mel, mask, acoustics)
        mel_mask = jnp.repeat(mask, self.mel_per_frame, axis=1)
        frames = self.vocoder.apply({"params": variables["vocoder"]}, mel, hidden, mel_mask)
        waveform, phases = synthesize(
            frames, mel_mask, self.config, self.grid, first_frame, phase, anchor_frame * self.mel_per_frame
        )
        return waveform, phases[:, :: self.mel_per_frame]

    def render_acoustics(
        self, variables: PyTree, mel: jax.Array, mask: jax.Array, acoustics: jax.Array
    ) -> jax.Array:
        """See `AcousticsRenderer`; the log-mel is not below its floor."""
        rendered = self.acoustics_renderer.apply(
            {"params": variables["acoustics_renderer"]}, mel, mask, acoustics
        )
        return jnp.maximum(rendered, np.log(LOG_FLOOR))

    @property
    def context_frames(self) -> int:
        """Grid frames on each side of a frame that its samples depend on."""
        config = self.config
        in_vocoder = -(-vocoder_receptive_frames(config) // self.mel_per_frame)
        in_room = 0
        if self.acoustics_renderer is not None:
            in_room = receptive_frames(config.acoustics_num_blocks, config.acoustics_kernel_size)
            in_room += -(-tail_hops(config, self.grid) // self.mel_per_frame)
        return receptive_frames(config.num_blocks, config.kernel_size) + in_room + in_vocoder


def init_codec_variables(config: CodecConfig, grid: GridConfig, rng: jax.Array) -> PyTree:
    """Untrained variables of a codec, unboxed; pure, so `jax.eval_shape` gives their shapes."""
    modules = CodecModules(config, grid)
    tokens_key, vocoder_key = jax.random.split(rng)
    variables = modules.init_tokens(tokens_key) | {"vocoder": modules.init_vocoder(vocoder_key)}
    if modules.acoustics_renderer is not None:
        variables["acoustics_renderer"] = modules.init_acoustics(jax.random.fold_in(rng, 2))
    return nn.unbox(variables)


def abstract_codec_variables(config: CodecConfig, grid: GridConfig) -> PyTree:
    """`jax.ShapeDtypeStruct`s of `init_codec_variables`."""
    return jax.eval_shape(functools.partial(init_codec_variables, config, grid), jax.random.key(0))


class MelRVQCodec:
    """A codec bound to its variables; implements `codecs.base.Codec`.

    Attributes:
        sample_rate_hz, frame_rate_hz, num_codebooks, codebook_size: see `Codec`.
        latency_frames: what a stream waits for.
        config, grid, variables: what it was made of.
    """

    def __init__(self, config: CodecConfig, grid: GridConfig, variables: PyTree):
        """Binds `variables`, as `init_codec_variables` lays them out; any float dtype."""
        self.config, self.grid = config, grid
        self.modules = CodecModules(config, grid)
        self.variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        self.sample_rate_hz, self.frame_rate_hz = grid.sample_rate_hz, grid.frame_rate_hz
        self.num_codebooks, self.codebook_size = config.num_codebooks, config.codebook_size
        self.latency_frames = self.modules.context_frames
        self._encode = jax.jit(self.modules.encode)
        self._read_voice = jax.jit(self.modules.read_voice)
        self._decode = jax.jit(self.modules.decode, static_argnames="anchor_frame")

    def encode(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        """See `Codec.encode`."""
        spf = self.grid.samples_per_frame
        waveform = jnp.asarray(waveform, jnp.float32)
        waveform = jnp.pad(waveform, ((0, 0), (0, -waveform.shape[1] % spf)))
        if frame_mask is None:
            frame_mask = jnp.ones((waveform.shape[0], waveform.shape[1] // spf), bool)
        return self._encode(self.variables, waveform, frame_mask)

    def read_voice(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        """See `Codec.read_voice`."""
        if frame_mask is None:
            frame_mask = jnp.ones((waveform.shape[0], waveform.shape[1] // self.grid.samples_per_frame), bool)
        waveform = jnp.asarray(waveform, jnp.float32)
        return self._read_voice(self.variables, waveform, frame_mask, jnp.any(frame_mask, axis=1))

    def decode(
        self,
        tokens: jax.Array,
        frame_mask: jax.Array | None = None,
        voice: jax.Array | None = None,
        acoustics: jax.Array | None = None,
    ) -> jax.Array:
        """See `Codec.decode`."""
        if frame_mask is None:
            frame_mask = jnp.ones(tokens.shape[:2], bool)
        phase = jnp.zeros(tokens.shape[0])
        tokens = jnp.asarray(tokens)
        conditions = {"voice": voice, "acoustics": acoustics}
        return self._decode(self.variables, tokens, frame_mask, jnp.int32(0), phase, **conditions)[0]

    def stream(
        self, voice: jax.Array | None = None, acoustics: jax.Array | None = None, chunk_frames: int = 8
    ) -> DecodeStream:
        """See `Codec.stream`."""
        return DecodeStream(
            decode=functools.partial(self._decode, self.variables, voice=voice, acoustics=acoustics),
            num_codebooks=self.num_codebooks,
            samples_per_frame=self.grid.samples_per_frame,
            context_frames=self.modules.context_frames,
            chunk_frames=chunk_frames,
        )

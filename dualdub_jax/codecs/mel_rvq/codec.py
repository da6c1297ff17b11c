"""The codec kind "mel_rvq": log-mel frames, residual vector quantisation, a neural vocoder.

    waveform -> log-mel -> encoder -> RVQ codes
    RVQ codes -> decoder -> log-mel and hidden features [-> acoustics] -> vocoder -> waveform

With `phonetic_dim`, the first codebook quantises only that many dimensions of the latents, and training makes
them predict phonemes (training/tokens.py). With `speaker_dim`, the tokens carry no speaker identity, and the
decoder is conditioned on a speaker embedding (speaker.py). With `acoustics_num_blocks`, decoded log-mels are
rendered with given room acoustics (acoustics.py). Source: our choice; each part cites its own.
"""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.streaming import DecodeStream
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

if TYPE_CHECKING:
    from dualdub_jax import config as config_lib
    from dualdub_jax.codecs.base import CodecTraining, MakeCrops

PyTree = Any  # the codec's variables: see networks.py


class MelRVQCodec:
    """A mel-RVQ codec bound to its variables; implements `codecs.base.Codec`.

    Attributes:
        spec: rates, codebooks and conditions.
        latency_frames: lookahead of a stream, frames.
        config: sizes.
        variables: float32 arrays, as `init` lays them out.
        modules: the networks.
    """

    Config = MelRVQConfig

    def __init__(self, config: MelRVQConfig, variables: PyTree):
        """Binds `variables`, as `init` lays them out; cast to float32."""
        self.config = config
        self.spec = self.spec_of(config)
        self.modules = CodecModules(config)
        self.variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        self.latency_frames = self.modules.context_frames
        self._encode = jax.jit(self.modules.encode)
        self._encode_speaker = jax.jit(self.modules.encode_speaker)
        self._decode = jax.jit(self.modules.decode, static_argnames="anchor_frame")

    @classmethod
    def spec_of(cls, config: MelRVQConfig) -> CodecSpec:
        """See `Codec.spec_of`."""
        conditions = {"speaker": config.speaker_dim, "acoustics": config.acoustics_num_blocks}
        return CodecSpec(
            sample_rate_hz=config.sample_rate_hz,
            frame_rate=config.frame_rate,
            num_codebooks=config.num_codebooks,
            codebook_size=config.codebook_size,
            decode_conditions=frozenset(name for name, size in conditions.items() if size),
        )

    @classmethod
    def init(cls, config: MelRVQConfig, rng: jax.Array) -> PyTree:
        """See `Codec.init`; leaves are unboxed."""
        modules = CodecModules(config)
        tokens_key, vocoder_key = jax.random.split(rng)
        variables = modules.init_tokens(tokens_key) | {"vocoder": modules.init_vocoder(vocoder_key)}
        if modules.acoustics_renderer is not None:
            variables["acoustics_renderer"] = modules.init_acoustics(jax.random.fold_in(rng, 2))
        return nn.unbox(variables)

    @classmethod
    def training(
        cls,
        config: "config_lib.Config",
        stream: str,
        make_batches: "MakeCrops",
        initial: PyTree | None = None,
    ) -> "CodecTraining":
        """See `Codec`."""
        # Imported lazily: inference needs neither optimizers nor losses.
        from dualdub_jax.codecs.mel_rvq.training.program import MelRVQTraining

        return MelRVQTraining(config, stream, make_batches, initial)

    @checked
    def encode(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B T"] | None = None
    ) -> Int[Array, "B T Q"]:
        """See `Codec.encode`."""
        waveform = jnp.asarray(waveform, jnp.float32)
        waveform = jnp.pad(waveform, ((0, 0), (0, -waveform.shape[1] % self.spec.samples_per_frame)))
        return self._encode(self.variables, waveform, self._mask(waveform, frame_mask))

    @checked
    def encode_speaker(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B R"] | None = None
    ) -> Float[Array, "B D"]:
        """Speaker embedding of a reference recording.

        Args:
            waveform: float32[B, R * samples per frame] in [-1, 1].
            frame_mask: bool[B, R], True for frames that the recording covers; None: all.

        Returns:
            float32[B, speaker_dim]; a learned null for a row without valid frames.
        """
        waveform = jnp.asarray(waveform, jnp.float32)
        mask = self._mask(waveform, frame_mask)
        return self._encode_speaker(self.variables, waveform, mask, jnp.any(mask, axis=1))

    @checked
    def decode(
        self,
        tokens: Int[Array, "B T Q"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"]:
        """See `Codec.decode`."""
        tokens = jnp.asarray(tokens)
        if frame_mask is None:
            frame_mask = jnp.ones(tokens.shape[:2], bool)
        phase = jnp.zeros(tokens.shape[0])
        known = self._known(conditions)
        return self._decode(self.variables, tokens, frame_mask, jnp.int32(0), phase, **known)[0]

    def stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> DecodeStream:
        """See `Codec.stream`."""
        return DecodeStream(
            decode=functools.partial(self._decode, self.variables, **self._known(conditions)),
            num_codebooks=self.spec.num_codebooks,
            samples_per_frame=self.spec.samples_per_frame,
            context_frames=self.modules.context_frames,
            chunk_frames=chunk_frames,
        )

    def _known(self, conditions: Mapping[str, jax.Array] | None) -> dict[str, jax.Array | None]:
        conditions = conditions or {}
        return {name: conditions.get(name) for name in ("speaker", "acoustics")}

    def _mask(self, waveform: jax.Array, frame_mask: jax.Array | None) -> jax.Array:
        if frame_mask is not None:
            return frame_mask
        return jnp.ones((waveform.shape[0], waveform.shape[1] // self.spec.samples_per_frame), bool)

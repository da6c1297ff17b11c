"""A reference recording to a fixed number of prefix vectors: who speaks, not what is said."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.config import GridConfig
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.layers.attention import Attention
from dualdub_jax.layers.basic import SwiGLU, dense, learned, rms_norm
from dualdub_jax.layers.transformer import Transformer

N_MELS = 80
N_FFT = 1024
HOP_LENGTH = 320


class SpeakerEncoder(nn.Module):
    """Log-mels, one bidirectional layer, attention pooling by learned queries. Source: our choice."""

    grid: GridConfig
    num_vectors: int
    speaker_width: int
    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, voice: jax.Array, voice_mask: jax.Array, has_voice: jax.Array) -> jax.Array:
        """Encodes reference recordings.

        Args:
            voice: float32[B, R * samples_per_frame], samples in [-1, 1].
            voice_mask: bool[B, R], True for grid frames that the recording covers.
            has_voice: bool[B].

        Returns:
            float[B, num_vectors, D]; learned nulls for an absent voice.
        """
        null = learned(self, "null", (self.num_vectors, self.width), ("positions", "embed"))
        queries = learned(self, "queries", (self.num_vectors, self.speaker_width), ("positions", "embed"))
        voice_mask = voice_mask & has_voice[:, None]
        sample_mask = jnp.repeat(voice_mask, self.grid.samples_per_frame, axis=1)
        mels = log_mel(
            jnp.where(sample_mask, voice, 0.0),
            sample_rate_hz=self.grid.sample_rate_hz,
            n_fft=N_FFT,
            hop_length=HOP_LENGTH,
            n_mels=N_MELS,
        )
        mels = rearrange(
            mels, "B (R k) m -> B R (k m)", k=self.grid.samples_per_frame // HOP_LENGTH
        )  # [B, R, 160]
        x = dense(self.speaker_width, ("patch", "embed"), name="in", dtype=self.dtype, use_bias=True)(
            mels.astype(self.dtype) * 0.25
        )
        x = jnp.where(voice_mask[:, :, None], x, 0.0)
        num_frames = voice_mask.shape[1]
        mask = jnp.broadcast_to(voice_mask[:, None, :], (voice_mask.shape[0], num_frames, num_frames))
        x, _ = Transformer(
            num_layers=1,
            num_heads=4,
            num_kv_heads=4,
            head_dim=self.speaker_width // 4,
            mlp_width=2 * self.speaker_width,
            dtype=self.dtype,
            name="layers",
        )(x, mask, jnp.arange(num_frames))
        queries = jnp.broadcast_to(queries, (voice.shape[0], *queries.shape)).astype(self.dtype)
        pooling_mask = jnp.broadcast_to(voice_mask[:, None, :], (*queries.shape[:2], num_frames))
        pooled, _ = Attention(
            num_heads=4, num_kv_heads=4, head_dim=self.speaker_width // 4, dtype=self.dtype, name="pooling"
        )(queries, pooling_mask, context=x)
        pooled = pooled + SwiGLU(2 * self.speaker_width, self.dtype, name="mlp")(
            rms_norm("mlp_norm", self.dtype)(pooled)
        )
        vectors = dense(self.width, ("embed", "mlp"), name="out", dtype=self.dtype)(
            rms_norm("out_norm", self.dtype)(pooled)
        )
        return jnp.where(has_voice[:, None, None], vectors, null.astype(self.dtype))

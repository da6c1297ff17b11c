"""Reference recordings: their log-mels, and the layers that both speaker encoders begin with."""

import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.config import GridConfig, ModelConfig
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.layers.basic import dense
from dualdub_jax.layers.transformer import Transformer

N_MELS = 80
N_FFT = 1024
MELS_PER_FRAME = 2  # mel frames per grid frame
NUM_HEADS = 4
_SCALE = 0.25  # of log-mels, to about unit variance


def reference_mels(grid: GridConfig, voice: jax.Array, voice_mask: jax.Array) -> jax.Array:
    """Log-mels by grid frame.

    Args:
        grid: the time grid, with the sample rate of references.
        voice: float32[B, R * samples_per_frame], samples in [-1, 1].
        voice_mask: bool[B, R], True for grid frames that the recording covers.

    Returns:
        float32[B, R, MELS_PER_FRAME * N_MELS].
    """
    sample_mask = jnp.repeat(voice_mask, grid.samples_per_frame, axis=1)
    mels = log_mel(
        jnp.where(sample_mask, voice, 0.0),
        sample_rate_hz=grid.sample_rate_hz,
        n_fft=N_FFT,
        hop_length=grid.samples_per_frame // MELS_PER_FRAME,
        n_mels=N_MELS,
    )
    return _SCALE * rearrange(mels, "B (R k) m -> B R (k m)", k=MELS_PER_FRAME)


def encode_reference(
    config: ModelConfig, grid: GridConfig, voice: jax.Array, voice_mask: jax.Array, num_layers: int
) -> jax.Array:
    """Log-mels of a reference through bidirectional layers; submodules "in" and "layers" of the caller.

    Args:
        config: of the model; the layers have `speaker_width`.
        grid: the time grid, with the sample rate of references.
        voice: float32[B, R * samples_per_frame].
        voice_mask: bool[B, R], True for grid frames that the recording covers.
        num_layers: of the stack.

    Returns:
        float[B, R, speaker_width]; undefined where `voice_mask` is False.
    """
    width, dtype = config.speaker_width, config.compute_dtype
    mels = reference_mels(grid, voice, voice_mask).astype(dtype)
    x = dense(width, ("patch", "embed"), name="in", dtype=dtype, use_bias=True)(mels)
    num_frames = voice_mask.shape[1]
    encoded, _ = Transformer(
        num_layers=num_layers,
        num_heads=NUM_HEADS,
        num_kv_heads=NUM_HEADS,
        head_dim=width // NUM_HEADS,
        mlp_width=2 * width,
        dtype=dtype,
        name="layers",
    )(
        jnp.where(voice_mask[:, :, None], x, 0.0),
        jnp.broadcast_to(voice_mask[:, None, :], (len(voice_mask), num_frames, num_frames)),
        jnp.arange(num_frames),
    )
    return encoded

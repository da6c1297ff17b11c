"""Log-mels of a reference recording, the input of the speaker encoders."""

import jax
import jax.numpy as jnp
from einops import rearrange

from dualdub_jax.config import GridConfig
from dualdub_jax.dsp.mel import log_mel

N_MELS = 80
N_FFT = 1024
MELS_PER_FRAME = 2  # mel frames per grid frame
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

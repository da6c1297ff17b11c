"""Excitation signals of the vocoder: noise, and tones with continuous phase.

A network with identical input features in two frames gives identical outputs, so it cannot represent the
phase of a steady tone. Phase is therefore tracked here, and the network predicts filters only. All sources
are spectrally flat, with the power density of white noise of unit variance. They depend on the absolute frame
index, so that a stream continues exactly across chunks. Source: source-filter vocoders (DDSP, Engel et al.,
2020; NSF, Wang et al., 2019); the constant-pitch tone grid for sounds other than voices is our choice.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

_TOP_HARMONIC_RATIO = 0.97  # highest harmonic, relative to half the sample rate


def noise(first_frame: jax.Array, num_frames: int, samples_per_frame: int, seed: int) -> jax.Array:
    """White noise of unit variance, a function of the seed and the absolute frame index.

    Args:
        first_frame: int32[], absolute index of the first token frame.
        num_frames: T.
        samples_per_frame: samples per token frame.
        seed: of the noise.

    Returns:
        float32[T * samples_per_frame].
    """
    # Negative frames occur as the left context of a stream, which is discarded.
    frames = jnp.maximum(first_frame + jnp.arange(num_frames), 0)
    keys = jax.vmap(lambda frame: jax.random.fold_in(jax.random.key(seed), frame))(frames)
    limit = np.sqrt(3.0)
    values = jax.vmap(lambda key: jax.random.uniform(key, (samples_per_frame,), minval=-limit, maxval=limit))
    return rearrange(values(keys), "t s -> (t s)")


def tone_grid(num_frames: int, samples_per_frame: int, seed: int) -> jax.Array:
    """A tone at every multiple of the frame rate with a random phase: periodic in one token frame.

    Args:
        num_frames: T.
        samples_per_frame: samples per token frame.
        seed: of the phases.

    Returns:
        float32[T * samples_per_frame], of unit variance.
    """
    generator = np.random.default_rng(seed)
    num_tones = samples_per_frame // 2 - 1
    spectrum = np.zeros(samples_per_frame // 2 + 1, np.complex64)
    spectrum[1 : num_tones + 1] = np.exp(2j * np.pi * generator.random(num_tones))
    period = np.fft.irfft(spectrum)
    return jnp.tile(jnp.asarray(period / np.std(period), jnp.float32), num_frames)


def harmonics(
    pitch_hz: jax.Array,
    mask: jax.Array,
    phase: jax.Array,
    anchor_hop: int,
    sample_rate_hz: int,
    hop_length: int,
) -> tuple[jax.Array, jax.Array]:
    """All harmonics of a time-varying pitch, in cosine phase.

    Args:
        pitch_hz: float32[B, T], at the centre of each hop; linearly interpolated.
        mask: bool[B, T], True for valid hops; the pitch of the others does not affect them.
        phase: float32[B], in periods, immediately before the first sample of hop `anchor_hop`.
        anchor_hop: index of the hop whose phase is given.
        sample_rate_hz: of the waveform.
        hop_length: samples per hop.

    Returns:
        The waveform float32[B, T * hop_length], and float32[B, T], the phase at the start of each hop, in
        [0, 1).
    """
    # Linear interpolation of every sample from the values of three neighbouring hops.
    position = (np.arange(hop_length) + 0.5) / hop_length
    weights = np.stack(
        [np.maximum(0.5 - position, 0), 1 - np.abs(position - 0.5), np.maximum(position - 0.5, 0)]
    )
    before, after = neighbours(pitch_hz[..., None], mask)
    three = jnp.concatenate([before, pitch_hz[..., None], after], axis=-1)
    sample_pitch_hz = three @ weights.astype(np.float32)  # [B, T, hop_length]
    within = jnp.cumsum(sample_pitch_hz / sample_rate_hz, axis=-1)
    # Wrapped after every addition: an unwrapped sum loses float32 precision within seconds.
    ends = jax.lax.associative_scan(lambda a, b: (a + b) % 1.0, within[..., -1] % 1.0, axis=1)
    starts = jnp.pad(ends, ((0, 0), (1, 0)))[:, :-1]
    starts = (starts + (phase - starts[:, anchor_hop])[:, None]) % 1.0
    theta = 2.0 * np.pi * ((starts[..., None] + within) % 1.0)
    # The sum of the first K cosines in closed form (Dirichlet's kernel).
    count = jnp.floor(_TOP_HARMONIC_RATIO * sample_rate_hz / 2 / sample_pitch_hz)
    half = jnp.sin(theta / 2.0)
    is_peak = jnp.abs(half) < 1e-4
    kernel = jnp.sin((count + 0.5) * theta) / (2.0 * jnp.where(is_peak, 1.0, half)) - 0.5
    pulses = jnp.where(is_peak, count, kernel) * jnp.sqrt(4.0 * sample_pitch_hz / sample_rate_hz)
    return rearrange(pulses, "b t h -> b (t h)"), starts


def neighbours(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The previous and the next frame of each frame; the frame itself where there is none.

    Args:
        values: float32[B, T, D].
        mask: bool[B, T], True for valid frames.

    Returns:
        float32[B, T, D] twice, previous and next.
    """
    before = jnp.concatenate([values[:, :1], values[:, :-1]], axis=1)
    after = jnp.concatenate([values[:, 1:], values[:, -1:]], axis=1)
    has_before = jnp.concatenate([mask[:, :1], mask[:, :-1]], axis=1)[..., None]
    has_after = jnp.concatenate([mask[:, 1:], mask[:, -1:]], axis=1)[..., None]
    return jnp.where(has_before, before, values), jnp.where(has_after, after, values)

"""The sources that the vocoder shapes: noise, and tones whose phase runs on through time.

A network that sees the same features in every frame must answer the same in every frame: it can say what a
steady tone looks like but not where in its period it is. So phase is kept here, outside the network, and
the network only filters. All sources are flat: their power density is that of white noise with unit variance.
Everything depends on the absolute frame, so that a stream continues where it stopped. Source: the
source-filter vocoders (DDSP, Engel et al., 2020; NSF, Wang et al., 2019); the constant-pitch grid of tones
for sounds that are not voices is our choice.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

_TOP_HARMONIC_RATIO = 0.97  # of half the sample rate, the highest harmonic that is made


def noise(first_frame: jax.Array, num_frames: int, samples_per_frame: int, seed: int) -> jax.Array:
    """White noise of unit variance that depends only on the seed and on the absolute frame.

    Args:
        first_frame: int32[], number of the first grid frame.
        num_frames: T.
        samples_per_frame: of the grid.
        seed: of the whole noise.

    Returns:
        float32[T * samples_per_frame].
    """
    # Frames before the first one come up as the left context of a stream; they are never heard.
    frames = jnp.maximum(first_frame + jnp.arange(num_frames), 0)
    keys = jax.vmap(lambda frame: jax.random.fold_in(jax.random.key(seed), frame))(frames)
    limit = np.sqrt(3.0)
    values = jax.vmap(lambda key: jax.random.uniform(key, (samples_per_frame,), minval=-limit, maxval=limit))
    return rearrange(values(keys), "t s -> (t s)")


def tone_grid(num_frames: int, samples_per_frame: int, seed: int) -> jax.Array:
    """A tone at every multiple of the frame rate, with random phases: periodic in one grid frame.

    Returns:
        float32[num_frames * samples_per_frame], of unit variance.
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
    """All harmonics of a gliding pitch, all in cosine phase.

    Args:
        pitch_hz: float32[B, T], at the middle of each hop, between them linear.
        mask: bool[B, T], True for hops that exist; the pitch of the others is not used in them.
        phase: float32[B], in periods, just before the first sample of hop `anchor_hop`.
        anchor_hop: the hop whose phase is known.
        sample_rate_hz: of the waveform.
        hop_length: samples of a hop.

    Returns:
        The waveform float32[B, T * hop_length], and float32[B, T], the phase at the start of each hop, in
        [0, 1).
    """
    # Three neighbouring values make every sample of a hop.
    position = (np.arange(hop_length) + 0.5) / hop_length
    weights = np.stack(
        [np.maximum(0.5 - position, 0), 1 - np.abs(position - 0.5), np.maximum(position - 0.5, 0)]
    )
    before, after = neighbours(pitch_hz[..., None], mask)
    three = jnp.concatenate([before, pitch_hz[..., None], after], axis=-1)
    sample_pitch_hz = three @ weights.astype(np.float32)  # [B, T, hop_length]
    within = jnp.cumsum(sample_pitch_hz / sample_rate_hz, axis=-1)
    # Wrapped after every addition: a plain sum would lose the phase's precision within seconds.
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
    """The frame before and the frame after each frame; the frame itself where there is none.

    Args:
        values: float32[B, T, D].
        mask: bool[B, T], True for frames that exist.

    Returns:
        Two float32[B, T, D].
    """
    before = jnp.concatenate([values[:, :1], values[:, :-1]], axis=1)
    after = jnp.concatenate([values[:, 1:], values[:, -1:]], axis=1)
    has_before = jnp.concatenate([mask[:, :1], mask[:, :-1]], axis=1)[..., None]
    has_after = jnp.concatenate([mask[:, 1:], mask[:, -1:]], axis=1)[..., None]
    return jnp.where(has_before, before, values), jnp.where(has_after, after, values)

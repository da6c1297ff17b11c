"""Random spectral warps of log-mels, which remove speaker identity from a codec's tokens.

A warp scales the frequency axis, as a different vocal tract length does, and filters the spectrum, as another
speaker or microphone does. Warps of the encoder's input alone make tokens invariant to the speaker; warps of
target and reference together augment the set of speakers. Source: information perturbation after Choi et al.
(NANSY, 2021), applied to log-mels; the distributions are our choice.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.dsp.mel import LOG_FLOOR, mel_band_edges_hz

_TILT_DB = 5.0  # standard deviation of the level difference between both ends of the spectrum
_BUMP_DB = 4.0  # standard deviation of each bump's height
_NUM_BUMPS = 2
_BUMP_OCTAVES = (0.3, 1.2)
_LOWEST_HZ = 100.0


@flax.struct.dataclass
class Warp:
    """B warps.

    Attributes:
        log_ratio: float32[B], natural logarithm of the scale of the frequency axis.
        log_gain: float32[B, n_mels], filter gain, nats.
    """

    log_ratio: jax.Array
    log_gain: jax.Array


def sample_warp(
    rng: jax.Array, batch_size: int, n_mels: int, sample_rate_hz: int, reach: float, rate: float = 1.0
) -> Warp:
    """Samples random warps.

    Args:
        rng: a key.
        batch_size: B.
        n_mels: bands.
        sample_rate_hz: of the waveforms behind the log-mels.
        reach: largest |log_ratio|.
        rate: probability of a warp; other examples get the identity.

    Returns:
        B warps.
    """
    ratio_key, tilt_key, height_key, place_key, width_key, rate_key = jax.random.split(rng, 6)
    log_ratio = jax.random.uniform(ratio_key, (batch_size,), minval=-reach, maxval=reach)
    octaves = np.log2(np.maximum(_centres_hz(n_mels, sample_rate_hz), _LOWEST_HZ) / _LOWEST_HZ)
    octaves = octaves.astype(np.float32)
    tilt_db = _TILT_DB * jax.random.normal(tilt_key, (batch_size, 1)) * (octaves / octaves[-1] - 0.5)
    bumps = (batch_size, _NUM_BUMPS, 1)
    heights_db = _BUMP_DB * jax.random.normal(height_key, bumps)
    places = jax.random.uniform(place_key, bumps, maxval=float(octaves[-1]))
    widths = jax.random.uniform(width_key, bumps, minval=_BUMP_OCTAVES[0], maxval=_BUMP_OCTAVES[1])
    bump_db = jnp.sum(heights_db * jnp.exp(-0.5 * ((octaves - places) / widths) ** 2), axis=1)
    log_gain = (tilt_db + bump_db) * (np.log(10.0) / 20.0)
    is_warped = jax.random.bernoulli(rate_key, rate, (batch_size,))
    return Warp(jnp.where(is_warped, log_ratio, 0.0), jnp.where(is_warped[:, None], log_gain, 0.0))


def warp(log_mel: jax.Array, by: Warp, sample_rate_hz: int) -> jax.Array:
    """Warps log-mels; silence is a fixed point.

    Args:
        log_mel: float32[B, M, n_mels], nats.
        by: B warps.
        sample_rate_hz: of the waveforms behind the log-mels.

    Returns:
        float32[B, M, n_mels], nats.
    """
    n_mels = log_mel.shape[-1]
    centres = _centres_hz(n_mels, sample_rate_hz).astype(np.float32)
    sources_hz = centres * jnp.exp(-by.log_ratio)[:, None]
    places = jax.vmap(lambda hz: jnp.interp(hz, centres, jnp.arange(n_mels, dtype=jnp.float32)))(sources_hz)
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(places[:, :, None] - jnp.arange(n_mels)))  # [B, to, from]
    stretched = jnp.einsum("bmn,bkn->bmk", log_mel, weights)
    amplitude = jnp.maximum(jnp.exp(stretched) - LOG_FLOOR, 0.0) * jnp.exp(by.log_gain)[:, None]
    return jnp.log(amplitude + LOG_FLOOR)


def _centres_hz(n_mels: int, sample_rate_hz: int) -> np.ndarray:
    return mel_band_edges_hz(n_mels, sample_rate_hz)[1:-1]

"""Hop-aligned short-time Fourier transform and its exact inverse.

Frame i is centred on hop i, at sample `(i + 1/2) * hop_length`. `S` samples therefore give exactly
`S // hop_length` frames, each frame belongs to one hop, and a stream can be split at any hop. Framing and
overlap-add are shifted concatenations and sums, each the derivative of the other; gathers and scatters are
several times slower.

Source: our choice of centring; the inverse is the least-squares one of Griffin and Lim (1984).
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Complex, Float

from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

# Samples with a smaller sum of squared windows are covered by no frame, and the inverse sets them to 0.
_LEAST_WINDOW_SUM = 1e-6


def hann_window(n_fft: int) -> np.ndarray:
    """The periodic Hann window, float32[n_fft]."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def frame(signal: jax.Array, n_fft: int, hop_length: int) -> jax.Array:
    """Splits a signal into overlapping frames, zero-padded at both ends.

    Args:
        signal: float32[..., S]; samples past the last whole hop are ignored.
        n_fft: length of a frame, samples; `n_fft - hop_length` must be even and not negative.
        hop_length: distance of frames, samples.

    Returns:
        float32[..., S // hop_length, n_fft].

    Raises:
        ValueError: `n_fft - hop_length` is odd or negative.
    """
    margin = _margin(n_fft, hop_length)
    num_frames = signal.shape[-1] // hop_length
    pieces = -(-n_fft // hop_length)
    total = (num_frames + pieces - 1) * hop_length
    signal = signal[..., : num_frames * hop_length]
    widths = [(0, 0)] * (signal.ndim - 1) + [(margin, total)]
    padded = jnp.pad(signal, widths)[..., :total]
    hops = rearrange(padded, "... (t h) -> ... t h", h=hop_length)
    shifted = [hops[..., i : i + num_frames, :] for i in range(pieces)]
    return jnp.concatenate(shifted, axis=-1)[..., :n_fft]


def overlap_add(frames: jax.Array, hop_length: int) -> jax.Array:
    """Sums overlapping frames: the transpose of `frame`.

    Args:
        frames: float32[..., T, n_fft].
        hop_length: distance of frames, samples.

    Returns:
        float32[..., T * hop_length].
    """
    num_frames, n_fft = frames.shape[-2:]
    margin = _margin(n_fft, hop_length)
    pieces = -(-n_fft // hop_length)
    no_padding = [(0, 0)] * (frames.ndim - 2)
    frames = jnp.pad(frames, [*no_padding, (0, 0), (0, pieces * hop_length - n_fft)])
    frames = rearrange(frames, "... t (p h) -> ... p t h", p=pieces)
    total = sum(
        jnp.pad(frames[..., i, :, :], [*no_padding, (i, pieces - 1 - i), (0, 0)]) for i in range(pieces)
    )
    signal = rearrange(total, "... t h -> ... (t h)")
    return signal[..., margin : margin + num_frames * hop_length]


@checked
def stft(
    signal: Float[Array, "*batch S"], n_fft: int, hop_length: int
) -> Complex[Array, "*batch T {n_fft//2+1}"]:
    """Hann-windowed spectra.

    Args:
        signal: float32[..., S].
        n_fft: length of a frame, samples.
        hop_length: distance of frames, samples.

    Returns:
        complex64[..., S // hop_length, n_fft // 2 + 1].
    """
    return jnp.fft.rfft(frame(signal, n_fft, hop_length) * hann_window(n_fft))


@checked
def istft(
    spectra: Complex[Array, "*batch T {n_fft//2+1}"],
    n_fft: int,
    hop_length: int,
    frame_mask: Bool[Array, "*batch T"] | None = None,
) -> Float[Array, "*batch S"]:
    """Least-squares inverse of `stft`; exact for `spectra = stft(x)`.

    Args:
        spectra: complex64[..., T, n_fft // 2 + 1].
        n_fft: length of a frame, samples.
        hop_length: distance of frames, samples.
        frame_mask: bool[..., T], True for valid frames; the others are ignored (they may be NaN) and their
            hops are zero. None: all are valid.

    Returns:
        float32[..., T * hop_length].
    """
    window = hann_window(n_fft)
    frames = jnp.fft.irfft(spectra, n=n_fft) * window
    if frame_mask is None:
        frame_mask = jnp.ones(spectra.shape[:-1], bool)
    frames = jnp.where(frame_mask[..., None], frames, 0.0)
    norm = overlap_add(jnp.where(frame_mask[..., None], jnp.asarray(window**2), 0.0), hop_length)
    signal = overlap_add(frames, hop_length)
    signal = jnp.where(norm > _LEAST_WINDOW_SUM, signal / jnp.maximum(norm, _LEAST_WINDOW_SUM), 0.0)
    return jnp.where(jnp.repeat(frame_mask, hop_length, axis=-1), signal, 0.0)


def _margin(n_fft: int, hop_length: int) -> int:
    margin, odd = divmod(n_fft - hop_length, 2)
    if margin < 0 or odd:
        raise ValueError(f"n_fft - hop_length must be even and not negative, got {n_fft} - {hop_length}")
    return margin

"""Cnn14 of PANNs, an AudioSet tagger: an embedding and class logits of a whole clip.

| module | kernel | output |
|---|---|---|
| log-mel: reflected, centred Hann windows, power, Slaney mel filters, 10 log10 | [F, 64] | float32[T, 64] |
| `scale`, `shift` of the mel bands (batch norm) | [64] | [B, T, 64, 1] |
| `block_i`: two 3 x 3 convolutions with ReLU (batch norm folded), mean of 2 x 2 (the last: none) | [3, 3, C, C'] | [B, T / 32, 2, 2048] |
| mean over bands; maximum plus mean over time | | [B, 2048] |
| `embedding`: linear, ReLU | [2048, 2048] | [B, 2048] |
| `logits`: linear | [2048, 527] | [B, 527] |

Each row of a padded batch gives what it gives alone. Source: Kong et al. (2020), "PANNs: Large-scale
pretrained audio neural networks for audio pattern recognition".
"""  # noqa: E501

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

NUM_MELS = 64
_POWER_FLOOR = 1e-10
_SUBSAMPLING = 32  # frames per position of the last block


@dataclasses.dataclass(frozen=True)
class Cnn14Config:
    """Front end and sizes; the defaults are those of the 16 kHz checkpoint."""

    sample_rate_hz: int = 16_000
    n_fft: int = 512
    hop_length: int = 160
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    num_classes: int = 527


def log_mel(waveform: np.ndarray, filters: np.ndarray, config: Cnn14Config) -> np.ndarray:
    """The log-mel spectrogram of a clip, computed in float64.

    Args:
        waveform: float[S] at `config.sample_rate_hz`, S above `n_fft / 2`.
        filters: float32[n_fft / 2 + 1, 64], of the checkpoint.
        config: front end.

    Returns:
        float32[1 + S // hop_length, 64], dB.
    """
    padded = np.pad(waveform.astype(np.float64), config.n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(config.n_fft) / config.n_fft)
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_length]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    return (10.0 * np.log10(np.maximum(power @ filters, _POWER_FLOOR))).astype(np.float32)


class ConvBlock(nn.Module):
    """Two convolutions with ReLU, and a mean over `pool` x `pool` positions.

    Attributes:
        features: output channels.
        pool: 1 or 2.
    """

    features: int
    pool: int

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """float32[B, T, F, C], int32[B] -> float32[B, T // pool, F // pool, features], new lengths."""
        for name in ("conv_in", "conv_out"):
            conv = nn.Conv(
                self.features,
                (3, 3),
                kernel_init=nn.with_logical_partitioning(
                    nn.initializers.lecun_normal(), ("kernel", "kernel", "patch", "patch")
                ),
                bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",)),
                name=name,
            )
            x = _within(nn.relu(conv(x)), lengths)
        if self.pool == 1:
            return x, lengths
        lengths = lengths // self.pool  # the last position of an odd length is dropped
        return _within(nn.avg_pool(x, (self.pool, self.pool), (self.pool, self.pool)), lengths), lengths


class Cnn14(nn.Module):
    """Embeds log-mel spectrograms; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: Cnn14Config

    @nn.compact
    @checked
    def __call__(
        self, log_mels: Float[Array, "B T 64"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "B D"], Float[Array, "B K"]]:
        """Embeds.

        Args:
            log_mels: float32[B, T, 64] of `log_mel`.
            lengths: int32[B], frames of each row, at least 32; the rest may be anything finite.

        Returns:
            The embedding float32[B, 2048], not negative, and class logits float32[B, 527].
        """
        config = self.config
        partitioned = nn.with_logical_partitioning
        scale = self.param("scale", partitioned(nn.initializers.ones_init(), ("norm",)), (NUM_MELS,))
        shift = self.param("shift", partitioned(nn.initializers.zeros_init(), ("norm",)), (NUM_MELS,))
        x = _within((log_mels * scale + shift)[..., None], lengths)
        for i, width in enumerate(config.widths):
            pool = 1 if i == len(config.widths) - 1 else 2
            x, lengths = ConvBlock(width, pool, name=f"block_{i}")(x, lengths)
        x = x.mean(axis=2)  # [B, T', C], zero past the lengths and nowhere negative
        pooled = x.max(axis=1) + x.sum(axis=1) / lengths[:, None]
        embedding = nn.relu(_dense(config.widths[-1], "embedding")(pooled))
        return embedding, _dense(config.num_classes, "logits")(embedding)


def least_samples(config: Cnn14Config) -> int:
    """The shortest clip that every pooling layer leaves a frame of, samples."""
    return _SUBSAMPLING * config.hop_length


def _within(x: jax.Array, lengths: jax.Array) -> jax.Array:
    return jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None, None], x, 0.0)


def _dense(features: int, name: str) -> nn.Dense:
    return nn.Dense(
        features,
        kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("patch", "embed")),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("embed",)),
        name=name,
    )

"""The vocoder's discriminator: classifies windows of log-mels as real or generated.

A spectral distance is minimised by the conditional mean of the spectra given the tokens, which smooths
harmonics and formants; speaker encoders and recognisers depend on both. A discriminator penalises it.
Source: spectrogram discriminators at several resolutions after Jang et al. (2021), on log-mels because they
are smaller; least-squares losses after Mao et al. (2017), feature matching after Larsen et al. (2016); sizes
are our choice.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.dsp.mel import MEAN_LOG_MEL, STD_LOG_MEL, log_mel

Features = list[list[jax.Array]]  # by resolution: features of each layer, last the scores

_LEAK = 0.1
# (kernel, strides), each (time, bands).
_LAYERS = (((3, 7), (1, 2)), ((3, 5), (2, 2)), ((3, 5), (2, 2)))


class _Window(nn.Module):
    """One resolution: a convolutional network from a log-mel to one score per window of it."""

    width: int

    @nn.compact
    def __call__(self, image: jax.Array) -> list[jax.Array]:
        """float32[B, M, N] -> features of each layer, and scores float32[B, M / 4, N / 8, 1]."""
        x, features = image[..., None], []
        for i, (kernel, strides) in enumerate(_LAYERS):
            x = nn.leaky_relu(_conv(self.width, kernel, strides, f"conv_{i}")(x), _LEAK)
            features.append(x)
        scores = _conv(1, (3, 3), (1, 1), "score")(x)
        return [*features, scores]


class SpectrogramDiscriminator(nn.Module):
    """One convolutional network per resolution.

    Attributes:
        sample_rate_hz: of the waveforms.
        resolutions: (n_fft, hop_length, n_mels), the first two in samples.
        width: channels.
    """

    sample_rate_hz: int
    resolutions: Sequence[tuple[int, int, int]]
    width: int = 32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> Features:
        """float32[B, S] -> by resolution, features of each layer and, last, scores: 1 real, 0 generated."""
        features = []
        for i, (n_fft, hop_length, n_mels) in enumerate(self.resolutions):
            mel = log_mel(waveform, self.sample_rate_hz, n_fft, hop_length, n_mels)
            features.append(_Window(self.width, name=f"window_{i}")((mel - MEAN_LOG_MEL) / STD_LOG_MEL))
        return features


def discriminator_loss(real: Features, generated: Features) -> jax.Array:
    """Least-squares loss of the discriminator, float32[]: targets are 1 for real, 0 for generated.

    Args:
        real: output of `SpectrogramDiscriminator` for recordings.
        generated: its output for generated waveforms.
    """
    losses = [
        jnp.mean((r[-1] - 1.0) ** 2) + jnp.mean(g[-1] ** 2) for r, g in zip(real, generated, strict=True)
    ]
    return sum(losses) / len(losses)


def generator_losses(real: Features, generated: Features) -> tuple[jax.Array, jax.Array]:
    """Losses of the vocoder under the discriminator.

    Args:
        real: output of `SpectrogramDiscriminator` for recordings; without gradient.
        generated: its output for generated waveforms.

    Returns:
        The adversarial loss float32[], mean squared distance of generated scores to 1; and the feature
        matching loss float32[], mean absolute distance of features, relative to the mean magnitude of the
        real ones in each layer.
    """
    adversarial = [jnp.mean((g[-1] - 1.0) ** 2) for g in generated]
    feature_matching = [
        jnp.mean(jnp.abs(g - r)) / jnp.maximum(jnp.mean(jnp.abs(r)), 1e-3)
        for real_layers, generated_layers in zip(real, generated, strict=True)
        for r, g in zip(jax.lax.stop_gradient(real_layers[:-1]), generated_layers[:-1], strict=True)
    ]
    return sum(adversarial) / len(adversarial), sum(feature_matching) / len(feature_matching)


def _conv(features: int, kernel_size: tuple[int, int], strides: tuple[int, int], name: str) -> nn.Conv:
    init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
    return nn.Conv(
        features,
        kernel_size,
        strides,
        kernel_init=nn.with_logical_partitioning(init, ("kernel", None, "patch", None)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",)),
        name=name,
    )

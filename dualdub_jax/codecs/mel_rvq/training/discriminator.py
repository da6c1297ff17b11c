"""Tells true waveforms from made ones by small windows of their log-mels: the adversary of a vocoder.

A distance to the target is smallest for the mean of all that a frame of tokens may stand for, and a mean of
spectra is blurred: harmonics and formants lose their edges, which speaker encoders and recognisers go by.
What is plainly blurred is plainly not true, and an adversary learns to see it.
Source: spectrogram discriminators at several resolutions after Jang et al. (2021), on log-mels because they
are smaller; least squares after Mao et al. (2017), feature matching after Larsen et al. (2016); sizes are our
choice.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dualdub_jax.dsp.mel import MEAN_LOG_MEL, STD_LOG_MEL, log_mel

PyTree = Any
Features = list[list[jax.Array]]  # by resolution: features of each layer, at last the scores

_LEAK = 0.1
# (kernel, strides), time and bands.
_LAYERS = (((3, 7), (1, 2)), ((3, 5), (2, 2)), ((3, 5), (2, 2)))


class _Window(nn.Module):
    """One resolution: an image of bands over time to one score for each small window of it."""

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
    """One network for each resolution.

    Attributes:
        sample_rate_hz: of the waveforms.
        resolutions: window length and hop in samples, and the number of bands.
        width: channels.
    """

    sample_rate_hz: int
    resolutions: Sequence[tuple[int, int, int]]
    width: int = 32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> Features:
        """float32[B, S] -> by resolution, features of each layer and, last, scores: 1 true, 0 made."""
        features = []
        for i, (n_fft, hop_length, n_mels) in enumerate(self.resolutions):
            mel = log_mel(waveform, self.sample_rate_hz, n_fft, hop_length, n_mels)
            features.append(_Window(self.width, name=f"window_{i}")((mel - MEAN_LOG_MEL) / STD_LOG_MEL))
        return features


def discriminator_loss(true: Features, made: Features) -> jax.Array:
    """Least squares: mean over resolutions of the scores' distance to 1 for the true, to 0 for the made."""
    losses = [jnp.mean((t[-1] - 1.0) ** 2) + jnp.mean(m[-1] ** 2) for t, m in zip(true, made, strict=True)]
    return sum(losses) / len(losses)


def generator_losses(true: Features, made: Features) -> tuple[jax.Array, jax.Array]:
    """What the made waveforms are to lower.

    Returns:
        Mean squared distance of their scores to 1, and mean absolute distance of their features to those of
        the true ones, each layer's relative to the mean size of the true ones' features.
    """
    adversarial = [jnp.mean((m[-1] - 1.0) ** 2) for m in made]
    feature_matching = [
        jnp.mean(jnp.abs(m - t)) / jnp.maximum(jnp.mean(jnp.abs(t)), 1e-3)
        for true_layers, made_layers in zip(true, made, strict=True)
        for t, m in zip(jax.lax.stop_gradient(true_layers[:-1]), made_layers[:-1], strict=True)
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

"""WavLM with an x-vector head, trained to verify speakers: one embedding per recording.

| module | kernel | output |
|---|---|---|
| `encoder`: WavLM base; softmax-weighted sum of its 13 states by `layer_weights`, or the last one | see wav2vec2.py | float32[B, T, 768] |
| `project` | [768, 512] | [B, T, 512] |
| `tdnn_i`: dilated convolutions without padding, ReLU | [5, 512, 512], [3, 512, 512] × 2, [1, 512, 512], [1, 512, 1500] | [B, T - 14, 1500] |
| mean and standard deviation over time; `embed` | [3000, 512] | [B, 512] |

Source: Chen et al. (2022), "WavLM"; Snyder et al. (2018), "X-vectors".
"""  # noqa: E501

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.encoders.audio.wav2vec2 import Wav2Vec2, Wav2Vec2Config, dense, num_frames
from dualdub_jax.layers.conv1d import within
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


@dataclasses.dataclass(frozen=True)
class WavlmSvConfig:
    """Sizes; the defaults are those of wavlm-base-plus-sv."""

    encoder: Wav2Vec2Config = dataclasses.field(default_factory=lambda: Wav2Vec2Config(num_buckets=320))
    tdnn_widths: tuple[int, ...] = (512, 512, 512, 512, 1500)
    tdnn_kernels: tuple[int, ...] = (5, 3, 3, 1, 1)
    tdnn_dilations: tuple[int, ...] = (1, 2, 3, 1, 1)
    embedding_dim: int = 512
    is_weighted_sum: bool = True  # of the encoder's states; False: its last one
    is_normalised: bool = False  # the waveform is brought to mean 0 and variance 1

    @property
    def context_frames(self) -> int:
        """Frames that the convolutions take off an encoding."""
        return sum((k - 1) * d for k, d in zip(self.tdnn_kernels, self.tdnn_dilations, strict=True))


def least_samples(config: WavlmSvConfig) -> int:
    """The shortest recording with two frames to pool, samples at 16 kHz."""
    samples = 2 + config.context_frames
    for kernel, stride in zip(
        reversed(config.encoder.conv_kernels), reversed(config.encoder.conv_strides), strict=True
    ):
        samples = (samples - 1) * stride + kernel
    assert num_frames(samples, config.encoder) == 2 + config.context_frames
    return samples


class WavlmSv(nn.Module):
    """Embeds recordings; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: WavlmSvConfig = WavlmSvConfig()

    @nn.compact
    @checked
    def __call__(self, waveform: Float[Array, "B S"], lengths: Int[Array, " B"]) -> Float[Array, "B D"]:
        """Embeds.

        Args:
            waveform: float32[B, S] at 16 kHz; past a row's length it is ignored.
            lengths: int32[B], samples of each row, at least `least_samples`.

        Returns:
            float32[B, embedding_dim], not normalised; similarity is the cosine.
        """
        config = self.config
        if config.is_normalised:
            waveform = _normalised(waveform, lengths)
        states, lengths = Wav2Vec2(config.encoder, name="encoder")(waveform, lengths)
        x = states[-1]
        if config.is_weighted_sum:
            init = nn.with_logical_partitioning(nn.initializers.ones_init(), ("patch",))
            weights = nn.softmax(self.param("layer_weights", init, (len(states),)))
            x = jnp.einsum("s,sbtd->btd", weights, jnp.stack(states))
        x = dense(config.tdnn_widths[0], "project", ("embed", "patch"))(x)
        sizes = zip(config.tdnn_widths, config.tdnn_kernels, config.tdnn_dilations, strict=True)
        for i, (width, kernel, dilation) in enumerate(sizes):
            conv = nn.Conv(
                width,
                (kernel,),
                padding="VALID",
                kernel_dilation=dilation,
                kernel_init=nn.with_logical_partitioning(
                    nn.initializers.lecun_normal(), ("kernel", "patch", "patch")
                ),
                bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("patch",)),
                name=f"tdnn_{i}",
            )
            x, lengths = nn.relu(conv(x)), lengths - (kernel - 1) * dilation
        count = lengths[:, None]
        mean = within(x, lengths).sum(axis=1) / count
        squares = jnp.square(within(x - mean[:, None], lengths)).sum(axis=1)
        pooled = jnp.concatenate([mean, jnp.sqrt(squares / (count - 1))], axis=-1)
        return dense(config.embedding_dim, "embed", ("patch", "embed"))(pooled)


def _normalised(waveform: jax.Array, lengths: jax.Array) -> jax.Array:
    count = lengths[:, None]
    is_sample = jnp.arange(waveform.shape[1]) < count
    mean = jnp.where(is_sample, waveform, 0.0).sum(axis=1, keepdims=True) / count
    centred = jnp.where(is_sample, waveform - mean, 0.0)
    return centred / jnp.sqrt(jnp.square(centred).sum(axis=1, keepdims=True) / count + 1e-7)

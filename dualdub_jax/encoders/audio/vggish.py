"""VGGish: one embedding per 0.96 s of sound.

| module | kernel | output |
|---|---|---|
| log-mel: Hann windows of 25 ms every 10 ms, magnitude, HTK mel filters, log(x + 0.01) | [257, 64] | float32[N, 96, 64] |
| `conv_i`: 3 x 3, ReLU; maximum of 2 x 2 after 0, 1, 3 and 5 | [3, 3, C, C'] | [N, 6, 4, 512] |
| `dense_0`, `dense_1`: linear, ReLU | [12288, 4096], [4096, 4096] | [N, 4096] |
| `dense_2`: linear | [4096, 128] | [N, 128] |

The last layer has no ReLU, and the PCA of the released features is left out, as public code of the Fréchet
audio distance does. Patches do not overlap, and a remainder below a patch is dropped. Source: Hershey et al.
(2017), "CNN architectures for large-scale audio classification".
"""  # noqa: E501

import dataclasses

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from dualdub_jax.dsp.audioset_mel import mel_magnitudes
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array

SAMPLE_RATE_HZ = 16_000
PATCH_FRAMES = 96
_LOG_OFFSET = 0.01
_POOL_AFTER = (0, 1, 3, 5)


@dataclasses.dataclass(frozen=True)
class VggishConfig:
    """Sizes; the defaults are those of the published checkpoint."""

    conv_widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512)
    dense_widths: tuple[int, ...] = (4096, 4096, 128)


def log_mel_patches(waveform: np.ndarray) -> np.ndarray:
    """Log-mel patches of a clip, computed in float64.

    Args:
        waveform: float[S] at 16 kHz.

    Returns:
        float32[N, 96, 64]; N is 0 for a clip below 0.975 s.
    """
    mels = np.log(mel_magnitudes(waveform) + _LOG_OFFSET)
    count = len(mels) // PATCH_FRAMES
    return mels[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, mels.shape[1]).astype(np.float32)


class Vggish(nn.Module):
    """Embeds log-mel patches; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: VggishConfig = VggishConfig()

    @nn.compact
    @checked
    def __call__(self, patches: Float[Array, "N 96 64"]) -> Float[Array, "N D"]:
        """float32[N, 96, 64] of `log_mel_patches` -> float32[N, 128]."""
        x = patches[..., None]
        zeros = nn.initializers.zeros_init()
        for i, width in enumerate(self.config.conv_widths):
            conv = nn.Conv(
                width,
                (3, 3),
                kernel_init=nn.with_logical_partitioning(
                    nn.initializers.lecun_normal(), ("kernel", "kernel", "patch", "patch")
                ),
                bias_init=nn.with_logical_partitioning(zeros, ("patch",)),
                name=f"conv_{i}",
            )
            x = nn.relu(conv(x))
            if i in _POOL_AFTER:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        last = len(self.config.dense_widths) - 1
        for i, width in enumerate(self.config.dense_widths):
            dense = nn.Dense(
                width,
                kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("patch", "embed")),
                bias_init=nn.with_logical_partitioning(zeros, ("embed",)),
                name=f"dense_{i}",
            )
            x = dense(x)
            if i < last:
                x = jax.nn.relu(x)
        return x

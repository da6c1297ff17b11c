"""Sizes of an Oobleck autoencoder."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class OobleckConfig:
    """Sizes of an autoencoder; the defaults are those of Stable Audio 2.0 and Stable Audio Open 1.0."""

    sample_rate_hz: int = 44_100
    num_channels: int = 2  # of the waveform
    width: int = 128  # of the encoder's first convolution
    decoder_width: int = 128  # of the decoder's last convolution
    multiples: tuple[int, ...] = (1, 2, 4, 8, 16)  # of the widths, by stride
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)  # of the encoder, in order; even
    latent_dim: int = 64

    @property
    def samples_per_latent(self) -> int:
        """Samples per latent vector."""
        return math.prod(self.strides)

"""Keys of the codec kind "dac"."""

import dataclasses
import math
from fractions import Fraction


@dataclasses.dataclass(frozen=True)
class DacConfig:
    """Sizes of a DAC; the defaults are those of the published 44.1 kHz model.

    `dualdub convert` reads them from a public checkpoint and stores them beside the converted weights.
    Source: Kumar et al. (2023), "High-fidelity audio compression with improved RVQGAN".
    """

    kind: str = "dac"
    path: str = (
        ""  # folder of `dualdub convert`; needed to begin a run, not by a bundle, which holds the weights
    )
    sample_rate_hz: int = 44_100
    strides: tuple[int, ...] = (2, 4, 8, 8)  # of the encoder, in order
    width: int = 64  # of the encoder's first convolution; doubled by every stride
    decoder_width: int = 1536  # of the decoder's first convolution; halved by every stride
    num_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    stream_s: float = 5.0  # longest window that a streaming decoder decodes in one call
    stream_overlap_s: float = 0.25  # cross-faded by two of its windows

    @property
    def latent_dim(self) -> int:
        """Width of the encoder's output."""
        return self.width * 2 ** len(self.strides)

    @property
    def samples_per_frame(self) -> int:
        """Samples per token frame."""
        return math.prod(self.strides)

    @property
    def frame_rate(self) -> Fraction:
        """Token frames per second, exact."""
        return Fraction(self.sample_rate_hz, self.samples_per_frame)

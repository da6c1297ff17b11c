"""Keys of the codec kind "dac"."""

import dataclasses
import math
from fractions import Fraction

_REACH_IN = 3  # samples on each side of the first and of the last convolution
_REACH_UNITS = 3 * (1 + 3 + 9)  # of the residual units of a level


@dataclasses.dataclass(frozen=True)
class DacConfig:
    """Sizes of a DAC; the defaults are those of the published 44.1 kHz model.

    `dualdub convert` reads them from a public checkpoint and stores them beside the converted weights.
    Source: Kumar et al. (2023), "High-fidelity audio compression with improved RVQGAN".
    """

    kind: str = "dac"
    # Folder of `dualdub convert`; needed to begin a run, not by a bundle, which holds the weights. Not in the
    # repr, from which fingerprints are made: weights may move.
    path: str = dataclasses.field(default="", repr=False)
    sample_rate_hz: int = 44_100
    strides: tuple[int, ...] = (2, 4, 8, 8)  # of the encoder, in order
    width: int = 64  # of the encoder's first convolution; doubled by every stride
    decoder_width: int = 1536  # of the decoder's first convolution; halved by every stride
    num_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    decode_dtype: str = "float32"  # of the decoder's computation, or "bfloat16"; tokens are float32's
    stream_s: float = 5.0  # longest window that a streaming decoder decodes in one call

    @property
    def least_codebooks(self) -> int:
        """The fewest codebooks of a checkpoint that can be used."""
        return 1

    @property
    def latent_dim(self) -> int:
        """Width of the encoder's output."""
        return self.width * 2 ** len(self.strides)

    @property
    def samples_per_frame(self) -> int:
        """Samples per token frame."""
        return math.prod(self.strides)

    @property
    def context_frames(self) -> int:
        """Receptive field of the decoder on each side, frames."""
        samples_per_frame, reach = 1, Fraction(_REACH_IN)
        for stride in reversed(self.strides):
            reach += Fraction(1, samples_per_frame)  # of the transposed convolution
            samples_per_frame *= stride
            reach += Fraction(_REACH_UNITS, samples_per_frame)
        return math.ceil(reach + Fraction(_REACH_IN, samples_per_frame))

    @property
    def frame_rate(self) -> Fraction:
        """Token frames per second, exact."""
        return Fraction(self.sample_rate_hz, self.samples_per_frame)

"""Keys of the codec kind "wavtokenizer"."""

import dataclasses
import math
from fractions import Fraction


@dataclasses.dataclass(frozen=True)
class WavTokenizerConfig:
    """Sizes of a WavTokenizer; the defaults are those of WavTokenizer-large-unify-40token.

    `dualdub convert` reads them from a public checkpoint and stores them beside the converted weights.
    Source: Ji et al. (2024), "WavTokenizer"; sizes of their published configuration.
    """

    kind: str = "wavtokenizer"
    # Folder of `dualdub convert`; needed to begin a run, not by a bundle, which holds the weights. Not in the
    # repr, from which fingerprints are made: weights may move.
    path: str = dataclasses.field(default="", repr=False)
    sample_rate_hz: int = 24_000
    strides: tuple[int, ...] = (4, 5, 5, 6)  # of the encoder, in the order of its layers
    num_filters: int = 32  # of the encoder's first convolution; doubled by every stride
    kernel_size: int = 7
    residual_kernel_size: int = 3
    num_residual_layers: int = 1
    dilation_growth: int = 2
    compress: int = 2
    num_lstm_layers: int = 2
    latent_dim: int = 512
    codebook_size: int = 4096
    decoder_width: int = 768
    decoder_mlp_width: int = 2304
    decoder_num_blocks: int = 12
    decoder_num_groups: int = 32
    decode_dtype: str = "float32"  # of the decoder's computation, or "bfloat16"; tokens are float32's
    stream_s: float = 10.0  # longest window that a streaming decoder decodes in one call
    stream_overlap_s: float = 1.0  # cross-faded by two of its windows

    @property
    def samples_per_frame(self) -> int:
        """Samples per token."""
        return math.prod(self.strides)

    @property
    def frame_rate(self) -> Fraction:
        """Tokens per second, exact."""
        return Fraction(self.sample_rate_hz, self.samples_per_frame)

"""Keys of the codec kind "mimi"."""

import dataclasses
import math
from fractions import Fraction


@dataclasses.dataclass(frozen=True)
class MimiConfig:
    """Sizes of a Mimi; the defaults are those of the published model, of which 8 codebooks are usual.

    `dualdub convert` reads them from a public checkpoint and stores them beside the converted weights.
    Source: Défossez et al. (2024), "Moshi: a speech-text foundation model for real-time dialogue".
    """

    kind: str = "mimi"
    # Folder of `dualdub convert`; needed to begin a run, not by a bundle, which holds the weights. Not in the
    # repr, from which fingerprints are made: weights may move.
    path: str = dataclasses.field(default="", repr=False)
    sample_rate_hz: int = 24_000
    strides: tuple[int, ...] = (4, 5, 6, 8)  # of the encoder's convolutions, in order
    latent_stride: int = 2  # between the transformers and the tokens
    num_filters: int = 64  # of the encoder's first convolution; doubled by every stride
    kernel_size: int = 7
    last_kernel_size: int = 3
    residual_kernel_size: int = 3
    num_residual_layers: int = 1
    dilation_growth: int = 2
    compress: int = 2
    use_conv_shortcut: bool = False
    width: int = 512  # of the transformers and of the latents
    num_layers: int = 8
    num_heads: int = 8
    num_kv_heads: int = 8
    head_dim: int = 64
    mlp_width: int = 2048
    window: int = 250  # of attention, in vectors of a transformer
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5
    num_upsample_groups: int = 512
    num_codebooks: int = 32
    num_semantic_codebooks: int = 1  # the first ones, quantised by themselves
    codebook_size: int = 2048
    codebook_dim: int = 256
    decode_dtype: str = "float32"  # of the decoder's computation, or "bfloat16"; tokens are float32's

    @property
    def least_codebooks(self) -> int:
        """The fewest codebooks of a checkpoint that can be used."""
        return self.num_semantic_codebooks

    @property
    def samples_per_frame(self) -> int:
        """Samples per token frame."""
        return math.prod(self.strides) * self.latent_stride

    @property
    def frame_rate(self) -> Fraction:
        """Token frames per second, exact."""
        return Fraction(self.sample_rate_hz, self.samples_per_frame)

"""Keys of the waveform decoder kind "flow_matching"."""

import dataclasses

from dualdub_jax.config import OptimizerConfig, SourceConfig
from dualdub_jax.config.groups import machine
from dualdub_jax.decoders.oobleck.config import OobleckConfig


@dataclasses.dataclass(frozen=True)
class FlowTrainingConfig:
    """Training of the flow on frozen tokens and latents."""

    mixture: tuple[SourceConfig, ...] = ()  # empty: that of the stream's codec
    crop_frames: int = 50  # frames of the codec
    batch_size: int = 16
    num_steps: int = 3000
    # First steps, whose latents give mean and standard deviation of each channel; 0: not standardised.
    statistics_steps: int = 50
    # Weight of the squared distance between embedding and latent, which makes the embedding predict the
    # latent's mean; 0: the embedding learns from the flow's loss alone.
    regression_weight: float = 1.0
    stop_gradient: bool = False  # the flow's loss does not move the start of its path, the embedding
    condition_dropout_rate: float = 0.0  # of the embedding as condition; for guidance
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


@dataclasses.dataclass(frozen=True)
class FlowMatchingConfig:
    """Sizes, path and solver; layers, heads and width default to the paper's.

    What the paper leaves open is our choice: latent statistics, resampling beyond nearest, the feed-forward
    width, blocks, steps and their times.
    """

    kind: str = "flow_matching"
    # "mel": log-mels of the stream's mel_rvq codec, for its vocoder. "oobleck": latents of a frozen
    # autoencoder, as in the paper.
    target: str = "mel"
    path: str = ""  # folder of `dualdub convert` with the autoencoder; needed in training, not by a bundle
    # Sizes of the autoencoder in `path`.
    oobleck: OobleckConfig = dataclasses.field(default_factory=OobleckConfig)
    is_mono: bool = False  # decode the mean of the autoencoder's channels
    embedding_dim: int = 0  # of a token, then projected to the latent's; 0: the latent's
    resampling: str = "nearest"  # tokens at the rate of latents: "nearest" (paper), "linear", "mean"
    source: str = "embedding"  # where the path starts: "embedding" (paper, without noise) or "noise"
    condition: str = "none"  # the embedding at every time: "none" (paper), "add", "concatenate"
    noise_seed: int = 0  # of the source "noise"
    num_layers: int = 8
    num_heads: int = 16
    width: int = 2048
    mlp_width: int = 5504
    rope_theta: float = 10_000.0
    compute_dtype: str = "float32"
    remat_policy: str = machine("none")  # as model.remat_policy
    # Tracks are decoded in blocks. A block attends to itself and the context on both sides; in half a
    # context on both sides of a border, the latents of two blocks are cross-faded.
    block_s: float = 6.0
    context_s: float = 1.0
    num_euler_steps: int = 10
    sway: float = 0.0  # Euler times t + sway * (cos(pi t / 2) - 1 + t); -1: 1 - cos(pi t / 2)
    guidance_scale: float = 1.0  # classifier-free guidance on the condition; 1: none
    training: FlowTrainingConfig = FlowTrainingConfig()


# Keys that change how a trained flow is decoded, and nothing in its training.
DECODING_KEYS = (
    *("path", "is_mono", "block_s", "context_s"),
    *("num_euler_steps", "sway", "guidance_scale"),
)

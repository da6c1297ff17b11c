"""Keys of the codec kind "mel_rvq"."""

import dataclasses
from fractions import Fraction

from dualdub_jax.config import OptimizerConfig, SourceConfig, whole


@dataclasses.dataclass(frozen=True)
class MelRVQTrainingConfig:
    """Training: tokens to log-mels and back, then vocoder and acoustics renderer on their output."""

    mixture: tuple[SourceConfig, ...] = ()
    crop_frames: int = 25
    batch_size: int = 16
    num_steps: int = 3000
    phonetic_weight: float = (
        0.3  # of phonemes predicted from the first codebook, where `phonetic_dim` is not 0
    )
    vocoder_num_steps: int = 3000
    vocoder_batch_size: int = 16
    vocoder_spread: float = 1.0  # 1: samples vary as true sounds do; 0: the most likely sound
    vocoder_adversarial_weight: float = 0.0  # of a discriminator beside spectral distances; 0: none
    acoustics_num_steps: int = 2000
    acoustics_batch_size: int = 16
    acoustics_crop_frames: int = 50  # a long reverberation has to fit
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    vocoder_optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    vocoder_discriminator_optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    acoustics_optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


@dataclasses.dataclass(frozen=True)
class MelRVQConfig:
    """Sizes of a mel-RVQ codec and of its vocoder; `training` has how it is trained.

    `hop_length` divides the samples of a frame of tokens, and `vocoder_hop_length` divides `hop_length`.
    """

    kind: str = "mel_rvq"
    sample_rate_hz: int = 16_000
    frame_rate_hz: int | float | str = 25
    num_codebooks: int = 6
    codebook_size: int = 256
    n_fft: int = 1024
    hop_length: int = 320
    n_mels: int = 80
    width: int = 192
    num_blocks: int = 3  # in the encoder, and again in the decoder
    kernel_size: int = 5
    latent_dim: int = 64  # of the quantised vectors
    phonetic_dim: int = 0  # of them, those that the first codebook quantises, to predict phonemes; 0: all
    speaker_dim: int = (
        0  # of the speaker embedding that conditions the decoder; 0: none, tokens carry the speaker
    )
    ema_decay: float = 0.98
    num_unquantised_steps: int = 400
    vocoder_width: int = 256
    vocoder_num_blocks: int = 4
    vocoder_kernel_size: int = 5
    vocoder_n_fft: int = 640
    vocoder_hop_length: int = 160
    tonal_source: str = (
        "pitch"  # harmonics of one voice; or "grid", a tone at each multiple of the frame rate
    )
    noise_seed: int = 0  # of the vocoder's noise; streams that are mixed want different ones
    acoustics_num_blocks: int = 0  # of the acoustics renderer; 0: none, tokens carry the acoustics
    acoustics_width: int = 128
    acoustics_kernel_size: int = 11  # taps, frames of tokens
    training: MelRVQTrainingConfig = MelRVQTrainingConfig()

    @property
    def frame_rate(self) -> Fraction:
        """Frames of tokens a second, exactly."""
        return Fraction(self.frame_rate_hz)

    @property
    def samples_per_frame(self) -> int:
        """Samples of a frame of tokens."""
        return whole(self.sample_rate_hz / self.frame_rate, "mel_rvq: sample_rate_hz / frame_rate_hz")

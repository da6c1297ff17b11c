"""Keys of the codec kind "mel_rvq"."""

import dataclasses
from fractions import Fraction

from dualdub_jax.config import OptimizerConfig, SourceConfig, whole


@dataclasses.dataclass(frozen=True)
class MelRVQTrainingConfig:
    """Training: encoder, codebooks and decoder, then vocoder and acoustics renderer on frozen tokens."""

    mixture: tuple[SourceConfig, ...] = ()
    crop_frames: int = 25
    batch_size: int = 16
    num_steps: int = 3000
    phonetic_weight: float = 0.3  # of the phoneme loss on the first codebook; used with `phonetic_dim`
    vocoder_num_steps: int = 3000
    vocoder_batch_size: int = 16
    vocoder_spread: float = 1.0  # 1: the proper energy score; 0: mean distance alone (spectral_losses.py)
    vocoder_adversarial_weight: float = 0.0  # of the discriminator's losses; 0: no discriminator
    acoustics_num_steps: int = 2000
    acoustics_batch_size: int = 16
    acoustics_crop_frames: int = 50  # long enough for a reverberation tail
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    vocoder_optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    vocoder_discriminator_optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    acoustics_optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


@dataclasses.dataclass(frozen=True)
class MelRVQConfig:
    """Sizes of a mel-RVQ codec and of its vocoder; `training` has the keys of its training.

    `hop_length` divides the samples of a token frame, and `vocoder_hop_length` divides `hop_length`.
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
    num_blocks: int = 3  # of the encoder and of the decoder, each
    kernel_size: int = 5
    latent_dim: int = 64  # of the quantised vectors
    phonetic_dim: int = (
        0  # latent dimensions of the first codebook, trained to predict phonemes; 0: all, untrained
    )
    speaker_dim: int = 0  # of the speaker embedding that conditions the decoder; 0: tokens carry the speaker
    ema_decay: float = 0.98
    num_unquantised_steps: int = 400
    vocoder_width: int = 256
    vocoder_num_blocks: int = 4
    vocoder_kernel_size: int = 5
    vocoder_n_fft: int = 640
    vocoder_hop_length: int = 160
    tonal_source: str = "pitch"  # harmonics of one pitch; "grid": a tone at each multiple of the frame rate
    noise_seed: int = 0  # of the vocoder's noise; streams to be mixed need different seeds
    acoustics_num_blocks: int = 0  # of the acoustics renderer; 0: none, tokens carry the acoustics
    acoustics_width: int = 128
    acoustics_kernel_size: int = 11  # taps, token frames
    training: MelRVQTrainingConfig = MelRVQTrainingConfig()

    @property
    def frame_rate(self) -> Fraction:
        """Token frames per second, exact."""
        return Fraction(self.frame_rate_hz)

    @property
    def samples_per_frame(self) -> int:
        """Samples per token frame."""
        return whole(self.sample_rate_hz / self.frame_rate, "mel_rvq: sample_rate_hz / frame_rate_hz")

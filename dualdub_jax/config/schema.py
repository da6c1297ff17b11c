"""The keys of a run's config: frozen dataclasses with defaults, units and meaning."""

import dataclasses
from fractions import Fraction
from typing import Annotated, Any

from dualdub_jax.config.groups import Kinds, NamedKinds, machine
from dualdub_jax.errors import UserError

_CODECS = Kinds(
    mel_rvq="dualdub_jax.codecs.mel_rvq.config:MelRVQConfig",
    dac="dualdub_jax.codecs.dac.config:DacConfig",
    mimi="dualdub_jax.codecs.mimi.config:MimiConfig",
    wavtokenizer="dualdub_jax.codecs.wavtokenizer.config:WavTokenizerConfig",
)
_DECODERS = NamedKinds(
    "codec",
    flow_matching="dualdub_jax.decoders.flow_matching.config:FlowMatchingConfig",
)


def whole(number: Fraction, what: str) -> int:
    """Converts a ratio that must be an integer.

    Args:
        number: the ratio.
        what: its name; the message begins with it.

    Raises:
        UserError: not an integer.
    """
    if number.denominator != 1:
        raise UserError(
            f"{what} is {float(number):g}, not a whole number; choose rates that divide each other"
        )
    return int(number)


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """The time grid, the common rate of video frames, speech tokens and background tokens.

    Frame t covers [t / frame_rate_hz, (t + 1) / frame_rate_hz) seconds.
    """

    frame_rate_hz: int | float | str = 25  # also 12.5, or a ratio such as "44100/2048"
    sample_rate_hz: int = 16_000  # of the reference voice; codecs have their own rates
    num_frames: int = 100  # the model's window
    frame_size: int = 64  # height and width of the video frames, pixels
    num_script_tokens: int = 72  # longest script of a window, markers included
    num_voice_frames: int = 75  # longest reference recording, grid frames

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second, exact."""
        return Fraction(self.frame_rate_hz)

    @property
    def samples_per_frame(self) -> int:
        """Samples of the reference voice per grid frame."""
        return whole(self.sample_rate_hz / self.frame_rate, "grid: sample_rate_hz / frame_rate_hz")


@dataclasses.dataclass(frozen=True)
class VideoEncoderConfig:
    """The video encoder: its kind, and the sizes of "pixels" and "features".

    "pixels" is a trainable encoder of RGB frames (our choice: patches, then 2 x 2 merges). "features"
    projects precomputed features of dimension `feature_dim` (`VideoFeaturesConfig`), such as the paper's CLIP
    features. Both end in a bidirectional temporal stack.
    """

    kind: str = "pixels"  # "pixels", "features", or an import path (docs/forking.md)
    feature_dim: int = 0
    patch_size: int = 4
    patch_width: int = 24
    merge_widths: tuple[int, ...] = (64, 128)  # by level; each level halves both sides
    num_layers: int = 2  # bidirectional temporal stack


@dataclasses.dataclass(frozen=True)
class AlignerConfig:
    """The cross-modal aligner: kind, sizes of "grid" and "paper", and the script aligner, for any kind."""

    kind: str = "grid"  # or "paper", or an import path; with sizes in brackets (docs/forking.md)
    use_noncausal: bool = True  # attention over the whole video
    use_causal: bool = True  # mutual attention between the streams' pasts
    use_script: bool = False  # monotonic alignment with the script, for models too small to learn it
    num_heads: int = 4
    head_dim: int = 48
    max_relative_frames: int = 32


@dataclasses.dataclass(frozen=True)
class RopeScalingConfig:
    """Scaling of the backbone's rotary positions, as of a language model whose context was extended."""

    kind: str = "none"  # "none"; "linear": positions are divided by `factor`; "llama3": low frequencies only
    factor: float = 1.0
    low_frequency_factor: float = 1.0  # "llama3": turns within `original_length` below which all is scaled
    high_frequency_factor: float = 4.0  # "llama3": turns above which nothing is
    original_length: int = 8192  # "llama3": positions that the model was first trained on


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the language model and of its encoders. Backbone names follow Llama and Qwen.

    Each `kind`, and `backbone`, `script_encoder` and `speaker_encoder`, names a built-in class or the import
    path of one (docs/forking.md).
    """

    width: int = 192
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 48
    mlp_width: int = 512
    rope_theta: float = 10_000.0
    use_qkv_bias: bool = False
    use_qk_norm: bool = True
    head_width: int = 256  # hidden width of the depth heads
    backbone: str = "transformer"
    # "bytes", "phonemes" (English), "tiktoken(path=…)", a tokenizer.json's path, an import path
    script_tokenizer: str = "bytes"
    script_vocab_size: int = 259  # 256 bytes, padding, begin, end
    script_encoder: str = "embedding"
    speaker_encoder: str = "attention_pooling"
    num_speaker_vectors: int = 4
    speaker_width: int = 128
    num_acoustics_bins: int = 0  # of reverberation time and of noise level; 0: no acoustics conditioning
    compute_dtype: str = "float32"
    remat_policy: str = machine("none")  # "none", "full", "attention", "mlp", "dots": layers/transformer.py
    attention_implementation: str = machine("auto")  # "auto", "plain", "fused": layers/fused_attention.py
    video: VideoEncoderConfig = VideoEncoderConfig()
    aligner: AlignerConfig = AlignerConfig()
    rms_norm_eps: float = 1e-6  # of the backbone
    rope_scaling: RopeScalingConfig = RopeScalingConfig()
    # Script and voice attend to what is before them, as a public language model was trained, in place of all.
    causal_prefix: bool = False
    # Script of examples without speech whose script is unknown, and of films dubbed without speech, such as
    # "Generate audio for the video."; empty: none, which is a learned null.
    background_prompt: str = ""
    # Reference voice in training: "recording", another one of the speaker; "target", the clip's own speech
    # (paper). Of longer ones, a random part of `grid.num_voice_frames`.
    voice_source: str = "recording"


@dataclasses.dataclass(frozen=True)
class VideoFeaturesConfig:
    """Precomputed video features, for a video encoder that reads them.

    The extractor is frozen and not part of the model: `dualdub data prepare` stores its features, and
    `dualdub dub` runs it on the film.
    """

    extractor: str = ""  # import path of an `encoders.base.FeatureExtractor`; empty: records hold features


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1: all remaining devices."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    sequence: int = 1


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up, cosine decay and a moving average of the parameters; Adam without decay."""

    learning_rate: float = 2e-3  # peak
    warmup_steps: int = 200
    final_learning_rate_ratio: float = 0.05  # of the last step, relative to the peak
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = 0.02
    clip_norm: float = 1.0  # of the global gradient norm; 0: no clipping
    ema_decay: float = 0.999  # of the moving average, per step; stages of the model: 0 for no average
    eps: float = 1e-8
    initial_learning_rate_ratio: float = 0.0  # of the first step, relative to the peak


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """One dataset in a stage's mixture."""

    name: str = ""  # "puppet_stage/soundtrack": builder and builder config
    weight: float = 1.0
    # Of the held-out loss (`HeldOutConfig`); empty: "validation", "val" or "test", the first there is.
    held_out_split: str = machine("")
    drop: tuple[str, ...] = ()  # parts of its examples to mask, beside those of the stage: its task


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """One stream: codec, language model head, waveform decoder.

    The keys of `codec` depend on its `kind`: a built-in kind, or the import path of a class
    (`codecs.base.Codec`), whose `Config` defines the keys.
    """

    codec: Annotated[Any, _CODECS] = dataclasses.field(default_factory=_CODECS.default)
    head: str = "depth"  # or an import path
    # "codec", the codec's own; a group of keys with `kind`; or the import path of a `WaveformDecoder`.
    decoder: Annotated[Any, _DECODERS] = "codec"


@dataclasses.dataclass(frozen=True)
class StreamsConfig:
    """Both streams, by attribute or `streams[stream]`."""

    speech: StreamConfig = dataclasses.field(default_factory=StreamConfig)
    background: StreamConfig = dataclasses.field(
        default_factory=lambda: StreamConfig(
            codec=_CODECS.default(num_codebooks=3, tonal_source="grid", noise_seed=1)
        )
    )

    def __getitem__(self, stream: str) -> StreamConfig:
        return getattr(self, stream)


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """Augmentation of a stage's clips (data_pipeline/augmentation.py); off by default.

    Augmented clips are encoded on the fly, also where their tokens are stored.
    """

    level_rate: float = 0.0  # share of clips with both stems whose background has another level
    level_db: float = 6.0  # by at most this much, up or down
    room_rate: float = 0.0  # share of clips whose stems get the same synthetic reverberation
    rt60_s: tuple[float, ...] = (0.1, 0.8)  # shortest and longest reverberation time, seconds
    # Share of clips with a background and without speech that get script, speech and voice of a clip of the
    # dataset `speech_from`, which is one of the mixture.
    speech_rate: float = 0.0
    speech_from: str = ""


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One curriculum stage of the language model: mixture, length, frozen parameters, dropped conditions."""

    name: str = ""
    mixture: tuple[SourceConfig, ...] = ()
    num_steps: int = 1000
    batch_size: int = 16
    # Lengths of batches, grid frames, ascending, below grid.num_frames, which is the last. A clip is in the
    # shortest that holds it; a batch of n frames has batch_size * (grid.num_frames // n) clips.
    buckets: tuple[int, ...] = ()
    augmentation: AugmentationConfig = AugmentationConfig()
    freeze: tuple[str, ...] = ()  # regular expressions over parameter paths such as "video_encoder/.*"
    drop: tuple[str, ...] = ()  # parts of all examples to mask, such as "script" or "background"
    use_pretrained_video_encoder: bool = False  # initialised from the phase "video_encoder"
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclasses.dataclass(frozen=True)
class VideoTrainingConfig:
    """The phase "video_encoder", which predicts both streams' codes from video alone; 0 steps: omitted."""

    mixture: tuple[SourceConfig, ...] = ()
    batch_size: int = 16
    num_steps: int = 0
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclasses.dataclass(frozen=True)
class BeatsConfig:
    """Sizes of a BEATs encoder; the defaults are those of BEATs iter3+ (AS2M)."""

    num_mels: int = 128
    patch_size: int = 16  # frames, and mel bands
    patch_width: int = 512
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    conv_kernel_size: int = 128
    conv_num_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    gradient_decay: float = 0.6  # factor on the gradient that a layer passes to the one below


@dataclasses.dataclass(frozen=True)
class CaspConfig:
    """CASP and its input windows; the defaults are DualBench's. Samples are at 16 kHz."""

    encoder: BeatsConfig = BeatsConfig()
    initial_log_scale: float = 1.0  # of the temperature
    train_crop_samples: int = 16_000
    train_window_samples: int = 16_320  # a zero-padded crop
    score_crop_samples: int = 80_000
    score_window_samples: int = 81_920
    score_hop_samples: int = 0  # between scored crops; 0: one crop, at the start of a stem


@dataclasses.dataclass(frozen=True)
class CaspTrainingConfig:
    """Training of CASP; weight decay applies to every parameter, as in the authors' code."""

    mixture: tuple[SourceConfig, ...] = ()
    batch_size: int = 64
    num_steps: int = 115_000
    audio_encoder: str = ""  # converted BEATs weights that initialise the background encoder
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=2e-4,
        warmup_steps=2000,
        final_learning_rate_ratio=0.0,
        b2=0.99,
        weight_decay=0.2,
        clip_norm=0.0,
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the losses, and dropout of conditions and past."""

    speech_weight: float = 1.0
    background_weight: float = 1.0
    alignment_weight: float = 0.3  # of the script aligner, where word times are known
    acoustics_weight: float = 0.1  # of the acoustics predicted from video, where known
    z_loss: float = 0.0  # weight of log(Z)^2
    codebook_decay: float = 1.0  # ratio of each codebook's weight to the previous one's; mean 1
    condition_dropout_rate: float = 0.1  # of each condition; for classifier-free guidance
    past_dropout_rate: float = 0.0  # of examples, in which a random fraction of each stream's past is masked


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints of a phase, and the dtype of bundles."""

    save_every_steps: int = 500
    keep_last: int = 2  # newest checkpoints kept; at least 2, in case the newest is damaged
    keep_every_steps: int = 0  # checkpoints at multiples are kept permanently; 0: none
    use_async: bool = True  # write in the background during training
    bundle_dtype: str = "float32"  # of the final bundle; "bfloat16" halves its size


@dataclasses.dataclass(frozen=True)
class HeldOutConfig:
    """The held-out loss during training, on a split of each dataset in the mixture that has one."""

    every_steps: int = 500  # and after the last step of a phase; 0: never
    num_clips: int = 64  # of each dataset, the first ones of its split


@dataclasses.dataclass(frozen=True)
class BadStepConfig:
    """Handling of steps with a non-finite loss or gradient, or with a loss spike.

    By default a non-finite loss ends the run. With `skip`, such a step leaves parameters and optimizer state
    unchanged, its examples are logged, and `max_in_a_row` consecutive ones end the run.
    """

    skip: bool = False
    spike_ratio: float = 0.0  # also skip losses above this multiple of the recent median; 0: never
    max_in_a_row: int = 5


@dataclasses.dataclass(frozen=True)
class BadRecordConfig:
    """Handling of records that cannot be used: damaged, undecodable, or too long for the config.

    Such a record is replaced by another of its dataset, logged and counted. Too many of them end the run.
    """

    max_share: float = 0.01  # of a dataset's records, at least one record; 0: none


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Defaults of sampling; each is a flag of `dualdub dub`."""

    speech_temperature: float = 0.3
    speech_top_k: int = 0  # 0: off
    speech_top_p: float = 1.0  # 1: off
    background_temperature: float = 0.5
    background_top_k: int = 0
    background_top_p: float = 1.0
    guidance_scale: float = 1.0  # 1: no guidance, one forward pass per frame
    guidance_codebooks: int = 0  # guided codebooks of a frame, from the first; 0: all


# Of the settings of the sampler; others are at least 0.
SAMPLING_RANGES = {"speech_top_p": (1e-6, 1.0), "background_top_p": (1e-6, 1.0)}


@dataclasses.dataclass(frozen=True)
class InitFromConfig:
    """Public weights that initialise parts of the model before the first stage (docs/weights.md)."""

    backbone: str = ""  # folder of a Llama, Qwen2 or Qwen3 model as Hugging Face writes it; empty: random


@dataclasses.dataclass(frozen=True)
class Config:
    """The config of a run."""

    name: str = ""
    task: str = "soundtrack"  # "soundtrack" (codecs and curriculum) or "casp"
    seed: int = 0
    data_dir: str = "data"
    num_loader_workers: int = 0
    grid: GridConfig = GridConfig()
    streams: StreamsConfig = dataclasses.field(default_factory=StreamsConfig)
    model: ModelConfig = ModelConfig()
    video_features: VideoFeaturesConfig = VideoFeaturesConfig()
    # Each names a bundle or the --workdir of a run.
    codecs_from: str = ""  # whose codecs are used; empty: train them
    train_codecs: tuple[str, ...] = ()  # streams whose codecs are trained further from `codecs_from`
    model_from: str = ""  # whose model initialises the first stage; empty: random
    mesh: MeshConfig = MeshConfig()
    gradient_accumulation_steps: int = 1  # microbatches per batch of the language model
    # Keep freed memory (training/kept_pages.py) if JAX can use the CPU only: without an accelerator plugin,
    # or with JAX_PLATFORMS=cpu.
    keep_pages: bool = True
    device_peak_tflops: float = 0.0  # of one device, for MFU; 0: by the name of the chip
    video_training: VideoTrainingConfig = VideoTrainingConfig()
    stages: tuple[StageConfig, ...] = ()
    loss: LossConfig = LossConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    held_out: HeldOutConfig = HeldOutConfig()
    bad_steps: BadStepConfig = BadStepConfig()
    bad_records: BadRecordConfig = BadRecordConfig()
    accept_changed_data: bool = False  # resume an unfinished phase although clips of its datasets changed
    sampling: SamplingConfig = SamplingConfig()
    casp: CaspConfig = CaspConfig()
    casp_training: CaspTrainingConfig = CaspTrainingConfig()
    log_every_steps: int = 20
    init_from: InitFromConfig = InitFromConfig()

"""Every setting of a run as frozen dataclasses, made once from an `ml_collections` config file.

A config file has `get_config(arg=None) -> ConfigDict`; `load_config` turns it (and `--config.KEY=VALUE`
overrides) into one `Config`. A key that does not exist is a `UserError` that names the nearest one.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import json
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

import ml_collections

from dualdub_jax.errors import UserError


def machine(default: Any) -> Any:
    """A key about how a step is computed on the machine at hand: results are equal but for rounding."""
    return dataclasses.field(default=default, metadata={"is_machine": True})


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A group of keys whose kind is an import path: its keys are checked when the class is imported.

    Attributes:
        kind: "package.module:Class".
        settings: JSON of its other keys.
    """

    kind: str
    settings: str = "{}"


class Kinds:
    """A group of keys that depends on its key `kind`.

    Args:
        known: kind -> import path of the dataclass that holds its keys; the first kind is the default.
    """

    def __init__(self, **known: str) -> None:
        self.known = known

    def default(self, **values: Any) -> Any:
        """The default kind's group."""
        return self.group(next(iter(self.known)))(**values)

    def group(self, kind: str) -> type:
        """The dataclass of a known kind. Imported when it is first needed: it belongs to its kind."""
        module, _, name = self.known[kind].partition(":")
        return getattr(importlib.import_module(module), name)

    def convert(self, values: Mapping[str, Any], path: str) -> Any:
        """The group that `values` describe; an unknown kind is a `UserError`."""
        values = dict(values)
        kind = values.get("kind", next(iter(self.known)))
        if kind in self.known:
            return from_dict(values, self.group(kind), path)
        if isinstance(kind, str) and ":" in kind:
            return Plugin(kind, json.dumps({k: _plain(v) for k, v in values.items() if k != "kind"}))
        raise UserError(
            f"{path}.kind: {kind!r} is none of {', '.join(self.known)}, nor an import path "
            "'package.module:Class'"
        )


_CODECS = Kinds(mel_rvq="dualdub_jax.codecs.mel_rvq.config:MelRVQConfig")


def whole(number: Fraction, what: str) -> int:
    """A ratio that has to be a whole number, as one.

    Raises:
        UserError: it is none; the text begins with `what`.
    """
    if number.denominator != 1:
        raise UserError(
            f"{what} is {float(number):g}, not a whole number; choose rates that divide each other"
        )
    return int(number)


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """The one time grid: video frames, speech tokens and background tokens share its rate.

    Frame t covers [t / frame_rate_hz, (t + 1) / frame_rate_hz) seconds.
    """

    frame_rate_hz: int | float | str = 25  # also 12.5, or a ratio such as "44100/2048"
    sample_rate_hz: int = (
        16_000  # of the reference voice as the model takes it; codecs have rates of their own
    )
    num_frames: int = 100  # the model's window
    frame_size: int = 64  # height and width of the video frames that the model sees, pixels
    num_script_tokens: int = 72  # longest script of a window, begin and end markers included
    num_voice_frames: int = 75  # longest reference recording, grid frames

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, exactly."""
        return Fraction(self.frame_rate_hz)

    @property
    def samples_per_frame(self) -> int:
        """Samples of the reference voice in a grid frame."""
        return whole(self.sample_rate_hz / self.frame_rate, "grid: sample_rate_hz / frame_rate_hz")


@dataclasses.dataclass(frozen=True)
class VideoEncoderConfig:
    """The video encoder: its kind, and the sizes of "pixels" and of "features".

    "pixels" is a trainable encoder of RGB frames (our choice: patches, then merges of 2 x 2, all of it matrix
    products); "features" projects precomputed features of dimension `feature_dim` (`VideoFeaturesConfig`).
    Both end in a bidirectional stack over time.
    """

    kind: str = "pixels"  # "pixels", "features", or an import path (docs/forking.md)
    feature_dim: int = 0
    patch_size: int = 4
    patch_width: int = 24
    merge_widths: tuple[int, ...] = (64, 128)  # of the levels; each halves both sides
    num_layers: int = 2  # bidirectional temporal stack


@dataclasses.dataclass(frozen=True)
class AlignerConfig:
    """The cross-modal aligner: its kind, the sizes of "grid", and the script aligner, which goes with any."""

    kind: str = "grid"  # or an import path, sizes in brackets behind it (docs/forking.md)
    use_noncausal: bool = True  # attention of each frame over the whole video
    use_causal: bool = True  # mutual attention between the streams' pasts
    use_script: bool = False  # a monotonic aligner of the script, for models too small to learn one
    num_heads: int = 4
    head_dim: int = 48
    max_relative_frames: int = 32


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the language model and of its encoders. Backbone names follow Llama and Qwen.

    Each `kind`, and `backbone`, `script_encoder` and `speaker_encoder`, names a part of the project, or a
    class outside of it by its import path (docs/forking.md).
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
    script_tokenizer: str = "bytes"  # "bytes", "phonemes" (English), a tokenizer.json's path, an import path
    script_vocab_size: int = 259  # bytes, padding, begin, end
    script_encoder: str = "embedding"
    speaker_encoder: str = "attention_pooling"
    num_speaker_vectors: int = 4
    speaker_width: int = 128
    num_acoustics_bins: int = 0  # of reverberation time and of noise level; 0: acoustics are no condition
    compute_dtype: str = "float32"
    remat_policy: str = machine("none")  # "none", "full", "attention", "mlp", "dots": layers/transformer.py
    attention_implementation: str = machine("auto")  # "auto", "plain", "fused": layers/fused_attention.py
    video: VideoEncoderConfig = VideoEncoderConfig()
    aligner: AlignerConfig = AlignerConfig()


@dataclasses.dataclass(frozen=True)
class VideoFeaturesConfig:
    """Precomputed video features, for a video encoder that reads them.

    The extractor is frozen and no part of the trained model: `dualdub data prepare` stores what it computes,
    and `dualdub dub` runs it on the film.
    """

    extractor: str = ""  # import path of an `encoders.base.FeatureExtractor`; empty: records hold features


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes what is left. One device is a mesh of ones."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    sequence: int = 1


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    final_learning_rate_ratio: float = 0.05
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = 0.02
    clip_norm: float = 1.0  # CASP takes 0 for no clipping
    ema_decay: float = 0.999


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """One dataset in a stage's mixture."""

    name: str = ""  # "puppet_stage/soundtrack": builder and builder config
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """One stream: codec, language model head, waveform decoder.

    The keys of `codec` are those of its `kind`: a kind of the project, or the import path of a class
    (`codecs.base.Codec`), whose `Config` names the keys.
    """

    codec: Annotated[Any, _CODECS] = dataclasses.field(default_factory=_CODECS.default)
    head: str = "depth"  # or an import path
    decoder: str = "codec"  # the codec's own decoder, or the import path of a `decoders.base.WaveformDecoder`


@dataclasses.dataclass(frozen=True)
class StreamsConfig:
    """Both streams; also `streams[stream]`."""

    speech: StreamConfig = dataclasses.field(default_factory=StreamConfig)
    background: StreamConfig = dataclasses.field(
        default_factory=lambda: StreamConfig(
            codec=_CODECS.default(num_codebooks=3, tonal_source="grid", noise_seed=1)
        )
    )

    def __getitem__(self, stream: str) -> StreamConfig:
        return getattr(self, stream)


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One curriculum stage of the language model: its mixture, its length, what it leaves alone."""

    name: str = ""
    mixture: tuple[SourceConfig, ...] = ()
    num_steps: int = 1000
    batch_size: int = 16
    freeze: tuple[str, ...] = ()  # regular expressions over parameter paths such as "video_encoder/.*"
    drop: tuple[str, ...] = ()  # hidden: some of "video", "script", "voice", "room", "speech", "background"
    use_pretrained_video_encoder: bool = False  # starts with what the phase "video_encoder" made
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclasses.dataclass(frozen=True)
class VideoTrainingConfig:
    """The phase "video_encoder": what is heard, from what is seen alone. 0 steps: there is no such phase."""

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
    gradient_decay: float = 0.6  # each layer hands on this share of its gradient to the one below


@dataclasses.dataclass(frozen=True)
class CaspConfig:
    """CASP and the windows that it hears; the defaults are DualBench's. Samples are at 16 kHz."""

    encoder: BeatsConfig = BeatsConfig()
    initial_log_scale: float = 1.0  # of the temperature
    train_crop_samples: int = 16_000
    train_window_samples: int = 16_320  # a crop with zeros behind it
    score_crop_samples: int = 80_000
    score_window_samples: int = 81_920
    score_hop_samples: int = 0  # 0: only the beginning of a stem is scored; else crops at this distance


@dataclasses.dataclass(frozen=True)
class CaspTrainingConfig:
    """How CASP is trained; decay touches every parameter, as in the authors' code."""

    mixture: tuple[SourceConfig, ...] = ()
    batch_size: int = 64
    num_steps: int = 115_000
    audio_encoder: str = ""  # folder with converted BEATs weights that the background encoder starts from
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
    speech_weight: float = 1.0
    background_weight: float = 1.0
    alignment_weight: float = 0.3  # of what the script aligner reads, where the times of words are known
    acoustics_weight: float = 0.1  # of what the video tells of the room, where that is known
    z_loss: float = 0.0
    codebook_decay: float = 1.0  # each codebook's weight over the one before it; the mean weight is 1
    condition_dropout_rate: float = 0.1  # each condition, each example; for classifier-free guidance
    past_dropout_rate: float = 0.0  # of examples: of those, a random share of each stream's past is hidden


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    save_every_steps: int = 500
    keep_last: int = 2  # the newest ones stay; 2 at least lets a run outlive a newest one that is damaged
    keep_every_steps: int = 0  # those at multiples of this stay for good; 0: none
    use_async: bool = True  # write in the background while training goes on
    bundle_dtype: str = "float32"  # of the bundle that a run ends with; "bfloat16" halves its size


@dataclasses.dataclass(frozen=True)
class BadStepConfig:
    """What becomes of a step whose loss or gradient is not finite, or whose loss is a spike.

    By default a loss that is not finite ends the run. With `skip`, the step leaves parameters and optimizer
    as they were; the examples are logged, and only `max_in_a_row` such steps end the run.
    """

    skip: bool = False
    spike_ratio: float = 0.0  # skip also a loss above this many times the median of late; 0: never
    max_in_a_row: int = 5


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Defaults of generation; each is a flag of `dualdub dub`."""

    speech_temperature: float = 0.3
    speech_top_k: int = 0  # 0: off
    speech_top_p: float = 1.0  # 1: off
    background_temperature: float = 0.5
    background_top_k: int = 0
    background_top_p: float = 1.0
    guidance_scale: float = 1.0  # 1: no guidance, one forward pass a frame
    guidance_codebooks: int = 0  # how many of a frame's codebooks are guided, from the first; 0: all


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = ""
    task: str = "soundtrack"  # what `dualdub train` makes: "soundtrack" (codecs, curriculum), or "casp"
    seed: int = 0
    data_dir: str = "data"
    num_loader_workers: int = 0
    grid: GridConfig = GridConfig()
    streams: StreamsConfig = dataclasses.field(default_factory=StreamsConfig)
    model: ModelConfig = ModelConfig()
    video_features: VideoFeaturesConfig = VideoFeaturesConfig()
    codecs_from: str = ""  # a bundle whose codecs are taken; empty: they are trained
    model_from: str = ""  # a bundle whose model the first stage starts with; empty: at random
    mesh: MeshConfig = MeshConfig()
    gradient_accumulation_steps: int = 1  # parts that a batch of the language model is computed in
    # `dualdub train` keeps freed memory (training/kept_pages.py) where JAX can find nothing but the CPU; with
    # an accelerator's plugin installed, where JAX_PLATFORMS=cpu says so.
    keep_pages: bool = True
    device_peak_tflops: float = 0.0  # of one device, for the MFU; 0: what the chip's name tells
    video_training: VideoTrainingConfig = VideoTrainingConfig()
    stages: tuple[StageConfig, ...] = ()
    loss: LossConfig = LossConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    bad_steps: BadStepConfig = BadStepConfig()
    sampling: SamplingConfig = SamplingConfig()
    casp: CaspConfig = CaspConfig()
    casp_training: CaspTrainingConfig = CaspTrainingConfig()
    log_every_steps: int = 20


def from_dict(values: Mapping[str, Any], cls: type = Config, path: str = "config") -> Any:
    """Builds the frozen dataclass `cls` from nested mappings.

    Args:
        values: a mapping (also a `ConfigDict`); missing keys keep their defaults.
        cls: the dataclass.
        path: dotted name of `values` in error messages.

    Raises:
        UserError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, list(hints), n=1, cutoff=0.0)
            raise UserError(f"{path}.{key}: no such config key; the nearest one is {path}.{near[0]}")
    return cls(**{key: _convert(value, hints[key], f"{path}.{key}") for key, value in values.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    if typing.get_origin(hint) is Annotated:
        if dataclasses.is_dataclass(value):
            return value
        if not isinstance(value, Mapping | ml_collections.ConfigDict):
            raise UserError(f"{path}: expected a group of keys, got {value!r}")
        return hint.__metadata__[0].convert(value, path)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping | ml_collections.ConfigDict):
            raise UserError(f"{path}: expected a group of keys, got {value!r}")
        return from_dict(value, hint, path)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise UserError(f"{path}: expected a sequence, got {value!r}")
        return tuple(_convert(v, item, f"{path}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{path}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dictionaries and lists of a config dataclass, ready for JSON."""
    return _plain(config)


def _plain(value: Any) -> Any:
    if isinstance(value, Plugin):
        return {"kind": value.kind, **json.loads(value.settings)}
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping | ml_collections.ConfigDict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def defaults_of(config: Any) -> Any:
    """The config dataclass `config` with every key at its default; sequences of groups keep their length.

    A checkpoint that is older than a key was made with the key's default: new keys default to the behaviour
    before them.
    """
    return config if isinstance(config, Plugin) else _defaults_of(config, type(config)())


def _defaults_of(value: Any, default: Any) -> Any:
    if dataclasses.is_dataclass(value):
        if type(value) is not type(default):  # a group of another kind
            return defaults_of(value)
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(
            **{name: _defaults_of(getattr(value, name), getattr(default, name)) for name in names}
        )
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return tuple(defaults_of(item) for item in value)
    return default


def load_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file and applies overrides.

    Args:
        path: a Python file with `get_config(arg=None)`; `file.py:arg` passes `arg`.
        overrides: `KEY=VALUE` strings with dotted keys, such as `model.width=256`; a number in a key
            indexes a sequence (`stages.0.num_steps=10`). Values are JSON where they parse as JSON.

    Raises:
        UserError: no such file, no `get_config` in it, an unknown key or a value of the wrong type.
    """
    file, _, arg = path.partition(":")
    if not pathlib.Path(file).is_file():
        raise UserError(f"{file}: no such config file; see configs/ for those that come with the project")
    spec = importlib.util.spec_from_file_location("dualdub_config_file", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file}: not a Python file; a config is a .py file with get_config()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not isinstance(getattr(module, "get_config", None), types.FunctionType):
        raise UserError(f"{file}: has no get_config(); copy configs/puppet.py to begin a new config")
    values = module.get_config(arg) if arg else module.get_config()
    values = to_dict(values) if dataclasses.is_dataclass(values) else json.loads(values.to_json_best_effort())
    for override in overrides:
        _apply_override(values, override)
    return from_dict(values)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise UserError(f"--config.{override}: expected --config.KEY=VALUE")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    node: Any = values
    *parents, last = key.split(".")
    for part in parents:
        if isinstance(node, list):
            node = node[_index(part, node, key)]
        else:
            # An absent group takes its defaults; an unknown one is named by from_dict.
            node = node.setdefault(part, {})
    if isinstance(node, list):
        node[_index(last, node, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise UserError(f"--config.{key}: {'.'.join(parents)} is not a group of keys")


def _index(part: str, node: list[Any], key: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise UserError(f"--config.{key}: {part!r} is not an index below {len(node)}")
    return int(part)

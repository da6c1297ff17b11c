"""The config of a run as frozen dataclasses, converted once from an `ml_collections` config file.

schema.py    the dataclasses: every key with its default and meaning
groups.py    nested mappings to dataclasses and back; groups that depend on a kind
file.py      config files by path or name, and `--config.KEY=VALUE` overrides
"""

from collections.abc import Mapping
from typing import Any

from dualdub_jax.config import groups
from dualdub_jax.config.file import find_config_file, load_config, own_configs
from dualdub_jax.config.groups import Kinds, Plugin, defaults_of, to_dict
from dualdub_jax.config.schema import (
    SAMPLING_RANGES,
    AlignerConfig,
    AugmentationConfig,
    BadRecordConfig,
    BadStepConfig,
    BeatsConfig,
    CaspConfig,
    CaspTrainingConfig,
    CheckpointConfig,
    Config,
    GridConfig,
    HeldOutConfig,
    InitFromConfig,
    LossConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    RopeScalingConfig,
    SamplingConfig,
    SourceConfig,
    StageConfig,
    StreamConfig,
    StreamsConfig,
    VideoEncoderConfig,
    VideoFeaturesConfig,
    VideoTrainingConfig,
    whole,
)

__all__ = [
    "SAMPLING_RANGES",
    "AlignerConfig",
    "AugmentationConfig",
    "BadRecordConfig",
    "BadStepConfig",
    "BeatsConfig",
    "CaspConfig",
    "CaspTrainingConfig",
    "CheckpointConfig",
    "Config",
    "GridConfig",
    "HeldOutConfig",
    "InitFromConfig",
    "Kinds",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Plugin",
    "RopeScalingConfig",
    "SamplingConfig",
    "SourceConfig",
    "StageConfig",
    "StreamConfig",
    "StreamsConfig",
    "VideoEncoderConfig",
    "VideoFeaturesConfig",
    "VideoTrainingConfig",
    "defaults_of",
    "find_config_file",
    "from_dict",
    "load_config",
    "own_configs",
    "to_dict",
    "whole",
]


def from_dict(values: Mapping[str, Any], cls: type = Config, path: str = "config") -> Any:
    """The frozen dataclass `cls` from nested mappings; see `groups.from_dict`."""
    return groups.from_dict(values, cls, path)

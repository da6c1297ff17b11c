"""Numbers and names of a config that would fail, or be used wrongly, only later in a run."""

import dataclasses
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from dualdub_jax.config import Config
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.data_pipeline.augmentation import check_augmentation
from dualdub_jax.data_pipeline.example import VOICE_SOURCES
from dualdub_jax.data_pipeline.length_buckets import buckets_of
from dualdub_jax.layers.attention import ROPE_SCALINGS
from dualdub_jax.layers.fused_attention import IMPLEMENTATIONS
from dualdub_jax.layers.transformer import REMAT_POLICIES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Groups of these keys, wherever they are, count something or are a batch.
_AT_LEAST_ONE = (
    "batch_size",
    "crop_frames",
    "num_clips",
    "save_every_steps",
    "keep_last",
    "log_every_steps",
    "max_in_a_row",
)
_AT_LEAST_ZERO = ("num_steps", "warmup_steps", "every_steps", "num_loader_workers", "seed", "weight")
_DTYPES = ("float32", "bfloat16", "float16")
_CHOICES = {
    "model.compute_dtype": _DTYPES,
    "model.voice_source": VOICE_SOURCES,
    "model.remat_policy": ("none", *REMAT_POLICIES),
    "model.attention_implementation": tuple(IMPLEMENTATIONS),
    "model.rope_scaling.kind": ROPE_SCALINGS,
    "checkpoint.bundle_dtype": ("float32", "bfloat16"),
}
_SHARES = ("bad_records.max_share", "loss.condition_dropout_rate", "loss.past_dropout_rate")


def check_values(config: Config, problems: Problems) -> None:
    """Checks ranges, choices and names.

    Args:
        config: of the run.
        problems: is added to.
    """
    values = dict(_leaves(config, ""))
    for key, value in values.items():
        name = key.rpartition(".")[2]
        for suffixes, least in ((_AT_LEAST_ONE, 1), (_AT_LEAST_ZERO, 0)):
            if name.endswith(suffixes) and not isinstance(value, str) and not value >= least:
                problems.add(f"{key}: is {value}, expected at least {least}; set --config.{key}")
        if name == "ema_decay" and not 0 <= value < 1:
            problems.add(f"{key}: is {value}, expected from 0 to below 1; set --config.{key}")
    for key, choices in _CHOICES.items():
        if values[key] not in choices:
            problems.add(f"{key}: {values[key]!r} is none of {', '.join(choices)}; set --config.{key}")
    for key in _SHARES:
        if not 0 <= values[key] <= 1:
            problems.add(f"{key}: is {values[key]}, expected from 0 to 1; set --config.{key}")
    _check_grid(config, problems)
    scaling = config.model.rope_scaling
    if not (scaling.factor > 0 and 0 < scaling.low_frequency_factor < scaling.high_frequency_factor):
        problems.add(
            f"model.rope_scaling: factor is {scaling.factor}, low_frequency_factor "
            f"{scaling.low_frequency_factor}, high_frequency_factor {scaling.high_frequency_factor}; "
            "set them above 0, the third above the second"
        )
    if config.task == "soundtrack":
        _check_stages(config, problems)
        if config.model.num_acoustics_bins and not config.loss.acoustics_weight > 0:
            problems.add(
                "loss.acoustics_weight: is 0, but the acoustics that model.num_acoustics_bins="
                f"{config.model.num_acoustics_bins} predicts are sampled in dubbing; set it above 0, or "
                "--config.model.num_acoustics_bins=0"
            )


def _leaves(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of all keys of nested groups; keys of a plugin are its own matter."""
    if dataclasses.is_dataclass(group):
        for field in dataclasses.fields(group):
            yield from _leaves(getattr(group, field.name), f"{prefix}.{field.name}".lstrip("."))
    elif isinstance(group, tuple) and group and dataclasses.is_dataclass(group[0]):
        for i, item in enumerate(group):
            yield from _leaves(item, f"{prefix}.{i}")
    else:
        yield prefix, group


def _check_grid(config: Config, problems: Problems) -> None:
    grid = config.grid
    for field in dataclasses.fields(grid):
        value = getattr(grid, field.name)
        if field.name != "frame_rate_hz" and not value >= 1:
            problems.add(
                f"grid.{field.name}: is {value}, expected at least 1; set --config.grid.{field.name}"
            )
    try:
        is_rate = Fraction(grid.frame_rate_hz) > 0
    except (ValueError, ZeroDivisionError, OverflowError):
        is_rate = False
    if not is_rate:
        problems.add(
            f"grid.frame_rate_hz: {grid.frame_rate_hz!r} is no rate; give frames per second, such as 25, "
            '12.5 or "44100/2048"'
        )
        return
    with problems.noted():
        _ = grid.samples_per_frame


def _check_stages(config: Config, problems: Problems) -> None:
    names = [stage.name for stage in config.stages]
    if config.init_from.backbone and config.model_from:
        problems.add(
            f"init_from.backbone={config.init_from.backbone}: model_from={config.model_from} initialises the "
            "backbone as well; leave one of them out"
        )
    if not names and not config.model_from:
        problems.add("stages: is empty, so there is no model; add a stage, or set config.model_from")
    for i, stage in enumerate(config.stages):
        if not _NAME.fullmatch(stage.name):
            problems.add(
                f"stages.{i}.name: {stage.name!r} is no name for a folder; set --config.stages.{i}.name"
            )
        elif stage.name in names[:i]:
            problems.add(f"stages.{i}.name: {stage.name!r} is there twice; set --config.stages.{i}.name")
        with problems.noted():
            buckets_of(stage, config, f"stages.{i}")
        with problems.noted():
            check_augmentation(stage, f"stages.{i}")
    if (
        any(stage.use_pretrained_video_encoder for stage in config.stages)
        and not config.video_training.num_steps
    ):
        name = next(stage.name for stage in config.stages if stage.use_pretrained_video_encoder)
        problems.add(
            f"stage {name!r}: use_pretrained_video_encoder reads the phase video_encoder, which "
            "video_training.num_steps=0 omits; set that above 0, or use_pretrained_video_encoder to false"
        )

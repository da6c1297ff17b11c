"""What the conversions of image towers share: blocks as `transformers` names them, patches, preprocessing."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict
from dualdub_jax.encoders.image_tower import ACTIVATIONS, TowerConfig
from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of arrays

_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def patch_kernel(weight: np.ndarray) -> np.ndarray:
    """[D, 3, P, P] -> [P * P * 3, D]."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]) if weight.ndim == 4 else weight


def take_blocks(state: StateDict, root: str) -> PyTree:
    """Parameters of all `encoders.image_tower.TowerBlock`, by name."""
    params = {}
    for i in itertools.count():
        block = f"{root}.{i}"
        if not state.has_prefix(f"{block}."):
            return params
        params[f"block_{i}"] = {
            "norm_attention": state.norm(f"{block}.layer_norm1"),
            "query": state.linear(f"{block}.self_attn.q_proj"),
            "key": state.linear(f"{block}.self_attn.k_proj"),
            "value": state.linear(f"{block}.self_attn.v_proj"),
            "out": state.linear(f"{block}.self_attn.out_proj"),
            "norm_mlp": state.norm(f"{block}.layer_norm2"),
            "up": state.linear(f"{block}.mlp.fc1"),
            "down": state.linear(f"{block}.mlp.fc2"),
        }


def take_stacked_qkv(state: StateDict, prefix: str) -> PyTree:
    """Query, key and value of torch's MultiheadAttention, which stacks them.

    Raises:
        UserError: tensors are missing so far.
    """
    weight, bias = state.take(f"{prefix}.in_proj_weight"), state.take(f"{prefix}.in_proj_bias")
    state.refuse_missing()
    split = zip(("query", "key", "value"), np.split(weight, 3), np.split(bias, 3), strict=True)
    return {name: {"kernel": w.T, "bias": b} for name, w, b in split}


def preprocessing(settings: Mapping[str, Any], image_size: int, where: str) -> dict[str, Any]:
    """The keys of a tower's config that a `preprocessor_config.json` sets; {} for an empty one.

    Args:
        settings: its content.
        image_size: of the tower, pixels.
        where: the checkpoint, for messages.

    Raises:
        UserError: another filter than bilinear and bicubic, or another image size.
    """
    keys: dict[str, Any] = {}
    if "resample" in settings:
        if settings["resample"] not in _FILTERS:
            raise UserError(
                f"{where}: its preprocessor resamples by filter {settings['resample']!r}, expected one of "
                f"{_FILTERS}"
            )
        keys["filter"] = _FILTERS[settings["resample"]]
    for ours, theirs in (("pixel_mean", "image_mean"), ("pixel_std", "image_std")):
        if theirs in settings:
            keys[ours] = tuple(float(x) for x in settings[theirs])
    size = settings.get("size")
    is_cropped = bool(settings.get("do_center_crop"))
    if is_cropped or (isinstance(size, Mapping) and "height" in size):
        keys["fit"] = "crop" if is_cropped else "stretch"
    sides: set[Any] = set()
    for value in (size, settings.get("crop_size") if is_cropped else None):
        sides |= set(value.values()) if isinstance(value, Mapping) else {value}
    if sides - {None, image_size}:
        raise UserError(
            f"{where}: its preprocessor makes images of {sorted(sides - {None})} pixels, but its positions "
            f"are for {image_size}"
        )
    return keys


def check_tower(config: TowerConfig, where: str) -> None:
    """Checks what no shape tells.

    Raises:
        UserError: an activation or a number of heads that the tower does not take.
    """
    if config.activation not in ACTIVATIONS:
        raise UserError(
            f"{where}: its activation is {config.activation!r}, expected one of {', '.join(ACTIVATIONS)}"
        )
    if config.width % config.num_heads:
        raise UserError(
            f"{where}: its width of {config.width} is not divisible by {config.num_heads} heads; put the "
            "model's config.json beside it"
        )

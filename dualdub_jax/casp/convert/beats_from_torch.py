"""Converts BEATs weights of the public PyTorch code to parameters of `dualdub_jax.casp.beats.Beats`."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dualdub_jax.config import BeatsConfig
from dualdub_jax.convert.names import StateDict
from dualdub_jax.errors import UserError

PyTree = Any  # parameters: nested dictionaries of arrays

_PROJECTIONS = {
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
    "gates": "grep_linear",
}
_BANDS = 128  # of the front end in the public code, for every model size
# Options of the public code with the only value that our module supports.
_FIXED = {
    "deep_norm": True,
    "layer_norm_first": False,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "activation_fn": "gelu",
    "conv_bias": False,
    "finetuned_model": False,
}


def beats_config(
    tensors: Mapping[str, np.ndarray], prefix: str = "", settings: Mapping[str, Any] | None = None
) -> BeatsConfig:
    """Infers an encoder's config from the shapes of its tensors.

    Args:
        tensors: a state dict.
        prefix: of the encoder's names, such as "model.audio_encoder.".
        settings: the "cfg" of a BEATs checkpoint, if any. It defines the maximum relative distance and the
            gradient decay, which shapes do not determine; their defaults are those of BEATs iter3+.

    Raises:
        UserError: required names are missing, or `settings` are not supported.
    """
    settings = settings or {}
    for name, value in _FIXED.items():
        if settings.get(name, value) != value:
            raise UserError(
                f"BEATs checkpoint: its cfg has {name}={settings[name]!r}; only {value!r} is supported"
            )
    layers = {
        int(match[1])
        for name in tensors
        if (match := re.match(re.escape(prefix) + r"encoder\.layers\.(\d+)\.", name))
    }
    try:
        patch = tensors[f"{prefix}patch_embedding.weight"].shape
        mlp_width, width = tensors[f"{prefix}encoder.layers.0.fc1.weight"].shape
        table = tensors[f"{prefix}encoder.layers.0.self_attn.relative_attention_bias.weight"].shape
        _, per_group, taps = tensors[_convolution(tensors, prefix)[1]].shape
    except (KeyError, ValueError):
        raise UserError(
            f"no BEATs encoder found: names such as {prefix}patch_embedding.weight and "
            f"{prefix}encoder.layers.0.fc1.weight are missing; give a BEATs or CASP checkpoint"
        ) from None
    published = BeatsConfig()
    return BeatsConfig(
        num_mels=_BANDS,
        patch_size=patch[-1],
        patch_width=patch[0],
        width=width,
        num_layers=len(layers),
        num_heads=table[1],
        mlp_width=mlp_width,
        conv_kernel_size=taps,
        conv_num_groups=width // per_group,
        num_buckets=table[0],
        max_distance=int(settings.get("max_distance", published.max_distance)),
        gradient_decay=float(settings.get("layer_wise_gradient_decay_ratio", published.gradient_decay)),
    )


def take_beats(state: StateDict, config: BeatsConfig, prefix: str = "") -> PyTree:
    """Converts an encoder's tensors.

    Args:
        state: consumed names are recorded there; call its `finish` at the end.
        config: as inferred by `beats_config`.
        prefix: of the encoder's names.

    Returns:
        Float32 parameters of `Beats`.

    Raises:
        UserError: names are missing, or the layers do not share one table of relative positions.
    """
    patch = state.take(f"{prefix}patch_embedding.weight")
    embedding = {
        "patch": {"kernel": patch.reshape(len(patch), -1).T},  # [patch_size ** 2, patch_width], time first
        "norm": state.norm(f"{prefix}layer_norm"),
    }
    if config.patch_width != config.width:
        embedding["projection"] = state.linear(f"{prefix}post_extract_proj")
    magnitude, direction = (state.take(name) for name in _convolution(state, prefix))
    bias = state.take(f"{prefix}encoder.pos_conv.0.bias")
    layers = [_take_layer(state, f"{prefix}encoder.layers.{i}.") for i in range(config.num_layers)]
    tables = [
        state.take(name)
        for i in range(config.num_layers)
        if (name := f"{prefix}encoder.layers.{i}.self_attn.relative_attention_bias.weight") in state or i == 0
    ]
    state.refuse_missing()
    if any(not np.array_equal(table, tables[0]) for table in tables):
        raise UserError(f"{prefix}encoder: its layers have different relative_attention_bias; expected one")
    # Weight normalisation with one magnitude per tap.
    norm = np.sqrt(np.sum(direction.astype(np.float64) ** 2, axis=(0, 1), keepdims=True))
    kernel = (magnitude * (direction / norm)).astype(np.float32)  # [width, width / groups, taps]
    return {
        "patch_embedding": embedding,
        "positional_convolution": {"convolution": {"kernel": kernel.transpose(2, 1, 0), "bias": bias}},
        "input_norm": state.norm(f"{prefix}encoder.layer_norm"),
        "relative_bias": {"table": tables[0]},
        "layers": jax.tree.map(lambda *leaves: np.stack(leaves), *layers),
    }


def _take_layer(state: StateDict, prefix: str) -> PyTree:
    attention = {ours: state.linear(f"{prefix}self_attn.{theirs}") for ours, theirs in _PROJECTIONS.items()}
    attention["gate_scale"] = state.take(f"{prefix}self_attn.grep_a").reshape(-1)
    return {
        "attention": attention,
        "attention_norm": state.norm(f"{prefix}self_attn_layer_norm"),
        "up": state.linear(f"{prefix}fc1"),
        "down": state.linear(f"{prefix}fc2"),
        "mlp_norm": state.norm(f"{prefix}final_layer_norm"),
    }


def _convolution(names: Any, prefix: str) -> tuple[str, str]:
    """Names of magnitude and direction in torch's older or newer weight normalisation."""
    newer = f"{prefix}encoder.pos_conv.0.parametrizations.weight.original"
    if f"{newer}0" in names:
        return f"{newer}0", f"{newer}1"
    older = f"{prefix}encoder.pos_conv.0.weight_"
    return f"{older}g", f"{older}v"

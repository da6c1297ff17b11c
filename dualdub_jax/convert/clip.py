"""CLIP: the image tower of public state dicts to `ClipConfig` and parameters.

Two layouts are read: OpenAI's (open_clip writes it too) and `transformers`'. The text tower is not used.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict
from dualdub_jax.encoders.clip.tower import ClipConfig
from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of arrays

UNUSED = re.compile(
    r"(text_model|text_projection|transformer|token_embedding|ln_final)(\.|$)"
    r"|(positional_embedding|logit_scale|logit_bias|input_resolution|context_length|vocab_size)$"
    r"|.*\.position_ids$"
)
_HEAD_DIM = 64  # of every published tower but ViT-H and larger, whose config.json has the number of heads


def is_clip(names: Mapping[str, Any]) -> bool:
    """Whether a state dict holds an image tower of CLIP."""
    return "visual.class_embedding" in names or any(
        n.endswith("vision_model.pre_layrnorm.weight") for n in names
    )


def clip_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, config: Mapping[str, Any] | None = None
) -> tuple[ClipConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name, in either layout.
        where: the file, for messages.
        config: the checkpoint's config.json, for what no tensor tells: heads, activation, epsilon.

    Returns:
        Sizes and float32 parameters.

    Raises:
        UserError: names are missing or unexpected (they are listed).
    """
    state = StateDict({n: x for n, x in tensors.items() if not UNUSED.match(n)}, where)
    settings = dict((config or {}).get("vision_config") or config or {})
    params = _openai(state) if "visual.class_embedding" in state else _transformers(state)
    state.finish()
    width, mlp_width = params["block_0"]["up"]["kernel"].shape
    patch_size = round((params["patch"]["kernel"].shape[0] / 3) ** 0.5)
    side = round((len(params["positions"]) - 1) ** 0.5)
    if side**2 + 1 != len(params["positions"]):
        raise UserError(f"{where}: has {len(params['positions'])} positions, expected a square number and 1")
    sizes = ClipConfig(
        width=width,
        num_layers=sum(name.startswith("block_") for name in params),
        num_heads=settings.get("num_attention_heads", max(1, width // _HEAD_DIM)),
        mlp_width=mlp_width,
        patch_size=patch_size,
        image_size=side * patch_size,
        embedding_dim=params["project"]["kernel"].shape[1],
        activation=settings.get("hidden_act", "quick_gelu"),
        norm_epsilon=settings.get("layer_norm_eps", 1e-5),
    )
    if sizes.activation not in ("quick_gelu", "gelu"):
        raise UserError(f"{where}: its activation is {sizes.activation!r}, expected quick_gelu or gelu")
    return sizes, params


def _patches(weight: np.ndarray) -> np.ndarray:
    """[D, 3, P, P] -> [P * P * 3, D]."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]) if weight.ndim == 4 else weight


def _transformers(state: StateDict) -> PyTree:
    root = "vision_model."
    params: dict[str, Any] = {
        "class_token": state.take(f"{root}embeddings.class_embedding"),
        "patch": {"kernel": _patches(state.take(f"{root}embeddings.patch_embedding.weight"))},
        "positions": state.take(f"{root}embeddings.position_embedding.weight"),
        "norm_in": state.norm(f"{root}pre_layrnorm"),
        "norm_out": state.norm(f"{root}post_layernorm"),
        "project": {"kernel": state.take("visual_projection.weight").T},
    }
    for i in itertools.count():
        block = f"{root}encoder.layers.{i}"
        if not state.has_prefix(f"{block}."):
            break
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
    state.refuse_missing()
    return params


def _openai(state: StateDict) -> PyTree:
    params: dict[str, Any] = {
        "class_token": state.take("visual.class_embedding"),
        "patch": {"kernel": _patches(state.take("visual.conv1.weight"))},
        "positions": state.take("visual.positional_embedding"),
        "norm_in": state.norm("visual.ln_pre"),
        "norm_out": state.norm("visual.ln_post"),
        "project": {"kernel": state.take("visual.proj")},
    }
    for i in itertools.count():
        block = f"visual.transformer.resblocks.{i}"
        if not state.has_prefix(f"{block}."):
            break
        weight, bias = state.take(f"{block}.attn.in_proj_weight"), state.take(f"{block}.attn.in_proj_bias")
        state.refuse_missing()
        qkv = {
            name: {"kernel": w.T, "bias": b}
            for name, w, b in zip(
                ("query", "key", "value"), np.split(weight, 3), np.split(bias, 3), strict=True
            )
        }
        params[f"block_{i}"] = qkv | {
            "norm_attention": state.norm(f"{block}.ln_1"),
            "out": state.linear(f"{block}.attn.out_proj"),
            "norm_mlp": state.norm(f"{block}.ln_2"),
            "up": state.linear(f"{block}.mlp.c_fc"),
            "down": state.linear(f"{block}.mlp.c_proj"),
        }
    state.refuse_missing()
    return params

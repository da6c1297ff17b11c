"""CLIP: the image tower of public state dicts to `ClipConfig` and parameters.

Two layouts are read: OpenAI's (open_clip writes it too) and `transformers`', also of its bare image tower,
which has no projection. The text tower is not used.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.image_tower import (
    check_tower,
    patch_kernel,
    preprocessing,
    take_blocks,
    take_stacked_qkv,
)
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
    return "visual.class_embedding" in names or any(n.endswith("pre_layrnorm.weight") for n in names)


def clip_from_torch(
    tensors: Mapping[str, np.ndarray],
    where: str,
    config: Mapping[str, Any] | None = None,
    preprocessor: Mapping[str, Any] | None = None,
) -> tuple[ClipConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name, in either layout.
        where: the file, for messages.
        config: the checkpoint's config.json, for what no tensor tells: heads, activation, epsilon.
        preprocessor: its preprocessor_config.json; None: that of the published models.

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
        embedding_dim=params["project"]["kernel"].shape[1] if "project" in params else 0,
        activation=settings.get("hidden_act", "quick_gelu"),
        norm_epsilon=settings.get("layer_norm_eps", 1e-5),
        **preprocessing(preprocessor or {}, side * patch_size, where),
    )
    check_tower(sizes, where)
    return sizes, params


def _transformers(state: StateDict) -> PyTree:
    root = "vision_model." if "vision_model.pre_layrnorm.weight" in state else ""
    params: dict[str, Any] = {
        "class_token": state.take(f"{root}embeddings.class_embedding"),
        "patch": {"kernel": patch_kernel(state.take(f"{root}embeddings.patch_embedding.weight"))},
        "positions": state.take(f"{root}embeddings.position_embedding.weight"),
        "norm_in": state.norm(f"{root}pre_layrnorm"),
        "norm_out": state.norm(f"{root}post_layernorm"),
    }
    if root or "visual_projection.weight" in state:
        params["project"] = {"kernel": state.take("visual_projection.weight").T}
    params |= take_blocks(state, f"{root}encoder.layers")
    state.refuse_missing()
    return params


def _openai(state: StateDict) -> PyTree:
    params: dict[str, Any] = {
        "class_token": state.take("visual.class_embedding"),
        "patch": {"kernel": patch_kernel(state.take("visual.conv1.weight"))},
        "positions": state.take("visual.positional_embedding"),
        "norm_in": state.norm("visual.ln_pre"),
        "norm_out": state.norm("visual.ln_post"),
        "project": {"kernel": state.take("visual.proj")},
    }
    for i in itertools.count():
        block = f"visual.transformer.resblocks.{i}"
        if not state.has_prefix(f"{block}."):
            break
        qkv = take_stacked_qkv(state, f"{block}.attn")
        params[f"block_{i}"] = qkv | {
            "norm_attention": state.norm(f"{block}.ln_1"),
            "out": state.linear(f"{block}.attn.out_proj"),
            "norm_mlp": state.norm(f"{block}.ln_2"),
            "up": state.linear(f"{block}.mlp.c_fc"),
            "down": state.linear(f"{block}.mlp.c_proj"),
        }
    state.refuse_missing()
    return params

"""SigLIP and SigLIP 2 of a fixed resolution: the tower of `transformers` to `SiglipConfig` and parameters.

The text tower is not used.
"""

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
from dualdub_jax.encoders.siglip import SiglipConfig
from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of arrays

UNUSED = re.compile(r"text_model\.|logit_(scale|bias)$|.*\.position_ids$")
_HEAD_DIM = 64  # of the base and large models; the config.json has that of others


def is_siglip(names: Mapping[str, Any]) -> bool:
    """Whether a state dict holds an image tower of SigLIP."""
    return any(name.endswith("head.probe") for name in names)


def siglip_from_torch(
    tensors: Mapping[str, np.ndarray],
    where: str,
    config: Mapping[str, Any] | None = None,
    preprocessor: Mapping[str, Any] | None = None,
) -> tuple[SiglipConfig, PyTree]:
    """Converts a state dict; arguments as of `clip_from_torch`.

    Returns:
        Sizes and float32 parameters.

    Raises:
        UserError: names are missing or unexpected (they are listed), or a tower of any resolution.
    """
    state = StateDict({n: x for n, x in tensors.items() if not UNUSED.match(n)}, where)
    settings = dict((config or {}).get("vision_config") or config or {})
    root = "vision_model." if "vision_model.head.probe" in state else ""
    kernel = state.take(f"{root}embeddings.patch_embedding.weight")
    params: dict[str, Any] = {
        "patch": {
            "kernel": patch_kernel(kernel),
            "bias": state.take(f"{root}embeddings.patch_embedding.bias"),
        },
        "positions": state.take(f"{root}embeddings.position_embedding.weight"),
        "norm_out": state.norm(f"{root}post_layernorm"),
        "pool": {
            "probe": state.take(f"{root}head.probe").reshape(1, -1),
            "out": state.linear(f"{root}head.attention.out_proj"),
            "norm_mlp": state.norm(f"{root}head.layernorm"),
            "up": state.linear(f"{root}head.mlp.fc1"),
            "down": state.linear(f"{root}head.mlp.fc2"),
        },
    }
    params["pool"] |= take_stacked_qkv(state, f"{root}head.attention")
    params |= take_blocks(state, f"{root}encoder.layers")
    state.finish()
    side = round(len(params["positions"]) ** 0.5)
    if kernel.ndim != 4 or side**2 != len(params["positions"]):
        raise UserError(
            f"{where}: is a tower of any resolution (naflex); convert one of a fixed resolution, such as "
            "siglip2-base-patch16-224"
        )
    width, mlp_width = params["pool"]["up"]["kernel"].shape
    patch_size = kernel.shape[-1]
    sizes = SiglipConfig(
        width=width,
        num_layers=sum(name.startswith("block_") for name in params),
        num_heads=settings.get("num_attention_heads", max(1, width // _HEAD_DIM)),
        mlp_width=mlp_width,
        patch_size=patch_size,
        image_size=side * patch_size,
        activation=settings.get("hidden_act", "gelu_pytorch_tanh"),
        norm_epsilon=settings.get("layer_norm_eps", 1e-6),
        **preprocessing(preprocessor or {}, side * patch_size, where),
    )
    check_tower(sizes, where)
    return sizes, params

"""Mimi in the layout of its authors' package `moshi`, as the tensors that `transformers` saves.

Names differ, the projections of an attention are one tensor, and rotary positions turn neighbouring numbers
of a head instead of its halves.

Source: `moshi.models.MimiModel`; the correspondence is that of `transformers`' conversion script.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from einops import rearrange

UNUSED = re.compile(r".*\._codebook\.(_initialized|inited)$")
_QUANTISER = "quantizer.rvq_first."
_NAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"(\.conv){2,3}\.", ".conv."),
    (r"(\.convtr){2,3}\.", ".conv."),
    (r"^quantizer\.rvq_first\.(vq\.)?", "quantizer.semantic_residual_vector_quantizer."),
    (r"^quantizer\.rvq_rest\.(vq\.)?", "quantizer.acoustic_residual_vector_quantizer."),
    (r"\._codebook\.(embedding_sum|embed_sum|embed_avg)$", ".codebook.embed_sum"),
    (r"\._codebook\.cluster_size$", ".codebook.cluster_usage"),
    (r"\._codebook\.", ".codebook."),
    (r"^(encoder|decoder)_transformer\.transformer\.", r"\1_transformer."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.layer_scale_1\.", ".self_attn_layer_scale."),
    (r"\.layer_scale_2\.", ".mlp_layer_scale."),
    (r"\.linear1\.", ".mlp.fc1."),
    (r"\.linear2\.", ".mlp.fc2."),
    (r"\.self_attn\.out_proj(s\.0)?\.weight$", ".self_attn.o_proj.weight"),
    (r"\.self_attn\.in_proj(s\.0\.|\.|_)weight$", ".self_attn.in_proj.weight"),
)
_JOINT = ".self_attn.in_proj.weight"


def is_authors_layout(names: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of the authors' files."""
    return any(name.startswith(_QUANTISER) for name in names)


def from_authors_layout(tensors: Mapping[str, np.ndarray], head_dim: int) -> dict[str, np.ndarray]:
    """Renames a state dict, and separates and reorders the projections of its attentions.

    Args:
        tensors: by the authors' name, without the unused ones.
        head_dim: of the attentions, which no tensor tells.

    Returns:
        Tensors by their name in `transformers`' files; unknown names are kept.

    Raises:
        ValueError: projections whose size is not a multiple of `head_dim`.
    """
    renamed = {_renamed(name): x for name, x in tensors.items()}
    for name in [name for name in renamed if name.endswith(_JOINT)]:
        root = name.removesuffix(_JOINT)
        output = renamed.get(f"{root}.self_attn.o_proj.weight")
        if output is None:
            continue  # its absence is reported with all others
        joint, width = renamed.pop(name), output.shape[1]
        key, value = np.split(joint[width:], 2)
        renamed |= {
            f"{root}.self_attn.q_proj.weight": _halves(joint[:width], head_dim),
            f"{root}.self_attn.k_proj.weight": _halves(key, head_dim),
            f"{root}.self_attn.v_proj.weight": value,
        }
    return renamed


def _renamed(name: str) -> str:
    for theirs, ours in _NAMES:
        name = re.sub(theirs, ours, name)
    return name


def _halves(weight: np.ndarray, head_dim: int) -> np.ndarray:
    """[N * H, D] with the pairs of a rotation `H / 2` apart instead of side by side."""
    return rearrange(weight, "(n h pair) d -> (n pair h) d", h=head_dim // 2, pair=2)

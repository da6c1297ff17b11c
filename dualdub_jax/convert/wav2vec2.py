"""wav2vec 2.0 and WavLM encoders: the layouts of fairseq and `transformers` to our parameters.

The names of `transformers` are brought to fairseq's first.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict

PyTree = Any  # nested dictionaries of arrays

# Of `transformers`, after its "wavlm." or "wav2vec2.", to fairseq's.
_RENAMED = (
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", r"feature_extractor.conv_layers.\1.2."),
    (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
    (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
    (r"encoder\.pos_conv_embed\.conv\.", "encoder.pos_conv.0."),
    (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_linear\.", r"encoder.layers.\1.self_attn.grep_linear."),
    (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_const", r"encoder.layers.\1.self_attn.grep_a"),
    (
        r"encoder\.layers\.0\.attention\.rel_attn_embed\.",
        "encoder.layers.0.self_attn.relative_attention_bias.",
    ),
    (r"encoder\.layers\.(\d+)\.attention\.", r"encoder.layers.\1.self_attn."),
    (r"encoder\.layers\.(\d+)\.layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
    (r"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.", r"encoder.layers.\1.fc1."),
    (r"encoder\.layers\.(\d+)\.feed_forward\.output_dense\.", r"encoder.layers.\1.fc2."),
)


def fairseq_names(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Renames an encoder's tensors, which begin with `prefix`, to fairseq's names; others keep theirs."""
    renamed = {}
    for name, x in tensors.items():
        rest = name.removeprefix(prefix)
        if rest != name:
            for pattern, replacement in _RENAMED:
                rest, count = re.subn(f"^{pattern}", replacement, rest)
                if count:
                    break
            name = prefix + rest
        renamed[name] = x
    return renamed


def take_encoder(state: StateDict, prefix: str) -> PyTree:
    """Consumes an encoder's tensors in fairseq's names; the parameters of `Wav2Vec2`."""
    convs: dict[str, Any] = {}
    for i in itertools.count():
        name = f"{prefix}feature_extractor.conv_layers.{i}.0"
        if not state.has_prefix(f"{name}."):
            break
        convs[f"conv_{i}"] = state.conv(name, use_bias=f"{name}.bias" in state)
    params: dict[str, Any] = {
        "features": convs | {"conv_norm": state.norm(f"{prefix}feature_extractor.conv_layers.0.2")},
        "features_norm": state.norm(f"{prefix}layer_norm"),
        "project": state.linear(f"{prefix}post_extract_proj"),
        "positions": {"conv": _positions(state, f"{prefix}encoder.pos_conv.0")},
        "norm": state.norm(f"{prefix}encoder.layer_norm"),
    }
    for i in itertools.count():
        block = f"{prefix}encoder.layers.{i}"
        if not state.has_prefix(f"{block}."):
            break
        attention = f"{block}.self_attn"
        params[f"block_{i}"] = {
            "query": state.linear(f"{attention}.q_proj"),
            "key": state.linear(f"{attention}.k_proj"),
            "value": state.linear(f"{attention}.v_proj"),
            "out": state.linear(f"{attention}.out_proj"),
            "attention_norm": state.norm(f"{block}.self_attn_layer_norm"),
            "up": state.linear(f"{block}.fc1"),
            "down": state.linear(f"{block}.fc2"),
            "mlp_norm": state.norm(f"{block}.final_layer_norm"),
        }
        if f"{attention}.grep_a" in state:
            gates = state.linear(f"{attention}.grep_linear")
            params[f"block_{i}"]["gates"] = {
                "linear": gates, "scale": state.take(f"{attention}.grep_a").reshape(-1)
            }  # fmt: skip
    bias = f"{prefix}encoder.layers.0.self_attn.relative_attention_bias.weight"
    if bias in state:
        params["relative_bias"] = state.take(bias)
    return params


def encoder_sizes(params: PyTree) -> dict[str, Any]:
    """The sizes of an encoder that its parameters tell."""
    convs = params["features"]
    kernels = [convs[f"conv_{i}"]["kernel"].shape for i in range(len(convs) - 1)]
    width = params["project"]["kernel"].shape[1]
    taps, per_group, _ = params["positions"]["conv"]["kernel"].shape
    return {
        "conv_widths": tuple(shape[2] for shape in kernels),
        "conv_kernels": tuple(shape[0] for shape in kernels),
        "width": width,
        "num_layers": sum(name.startswith("block_") for name in params),
        "mlp_width": params["block_0"]["up"]["kernel"].shape[1],
        "position_kernel": taps,
        "position_groups": width // per_group,
        "num_buckets": len(params["relative_bias"]) if "relative_bias" in params else 0,
    }


def _positions(state: StateDict, name: str) -> dict[str, np.ndarray]:
    """A convolution with weight norm per tap, as a kernel [taps, in / groups, out] and a bias."""
    if f"{name}.weight_v" in state:
        direction = state.take(f"{name}.weight_v").astype(np.float64)
        length = np.sqrt(np.sum(direction**2, axis=(0, 1), keepdims=True))
        weight = state.take(f"{name}.weight_g") * direction / length
    else:
        weight = state.take(f"{name}.weight")
    kernel = weight.transpose(2, 1, 0) if weight.ndim == 3 else weight
    return {"kernel": kernel, "bias": state.take(f"{name}.bias")}

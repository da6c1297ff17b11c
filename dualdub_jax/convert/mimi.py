"""Mimi: state dicts of `transformers.MimiModel` to `MimiConfig` and the codec's variables.

Three layouts are read: that of `transformers`' files (`encoder_transformer.layers.0…`), that of its class
since version 5 (`encoder.encoder_transformer.layers.0…`), and the authors' (mimi_authors.py). Codebooks are
divided by the usage of their entries.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.codecs.mimi.config import MimiConfig
from dualdub_jax.convert import mimi_authors
from dualdub_jax.convert.names import StateDict
from dualdub_jax.errors import UserError

PyTree = Any  # the codec's variables: nested dictionaries of arrays

UNUSED = re.compile(rf".*\.codebook\.initialized$|{mimi_authors.UNUSED.pattern}")
_PARTS = {"semantic": "semantic_residual_vector_quantizer", "acoustic": "acoustic_residual_vector_quantizer"}
_CLASS = re.compile(r"^(encoder|decoder)\.((encoder|decoder)_transformer|downsample|upsample)\.")
_LEAST_USAGE = 1e-5
_HEAD_DIM = 64  # of the published model
# Settings of config.json that our networks have only one value of.
_FIXED = {
    "use_causal_conv": True,
    "pad_mode": "constant",
    "trim_right_ratio": 1.0,
    "audio_channels": 1,
    "hidden_act": "gelu",
    "attention_bias": False,
}


def is_mimi(names: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of a Mimi."""
    return mimi_authors.is_authors_layout(names) or any(
        name.startswith(f"quantizer.{_PARTS['semantic']}.") for name in names
    )


def mimi_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, config: Mapping[str, Any] | None = None
) -> tuple[MimiConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name, in any of the layouts.
        where: the file, for messages.
        config: the checkpoint's config.json, for what no tensor tells: sample rate, heads, window, dilations.

    Returns:
        The config, and float32 variables.

    Raises:
        UserError: names are missing or unexpected (they are listed), or settings that the port does not have.
    """
    settings = dict(config or {})
    for key, value in _FIXED.items():
        if settings.get(key, value) != value:
            raise UserError(f"{where}: its {key} is {settings[key]!r}, expected {value!r}")
    tensors = {name: x for name, x in tensors.items() if not UNUSED.match(name)}
    if mimi_authors.is_authors_layout(tensors):
        tensors = mimi_authors.from_authors_layout(tensors, settings.get("head_dim") or _HEAD_DIM)
    state = StateDict({_file_name(name): x for name, x in tensors.items()}, where)
    encoder, sizes = _encoder(state)
    variables = {"encoder": encoder, "quantiser": _quantiser(state), "decoder": _decoder(state, sizes)}
    state.finish()
    semantic, acoustic = (variables["quantiser"][name]["codebook"] for name in _PARTS)
    block = encoder["transformer"]["block_0"]
    head_dim = settings.get("head_dim") or _head_dim(settings, block)
    rope = settings.get("rope_parameters") or {}
    return MimiConfig(
        **sizes,
        sample_rate_hz=settings.get("sampling_rate", 24_000),
        dilation_growth=settings.get("dilation_growth_rate", 2),
        num_layers=len(encoder["transformer"]),
        num_heads=block["query"]["kernel"].shape[1] // head_dim,
        num_kv_heads=block["key"]["kernel"].shape[1] // head_dim,
        head_dim=head_dim,
        mlp_width=block["up"]["kernel"].shape[1],
        window=settings.get("sliding_window", 250),
        rope_theta=float(rope.get("rope_theta", settings.get("rope_theta", 10_000.0))),
        norm_epsilon=settings.get("norm_eps", 1e-5),
        num_upsample_groups=sizes["width"] // variables["decoder"]["upsample"]["kernel"].shape[2],
        num_codebooks=len(semantic) + len(acoustic),
        num_semantic_codebooks=len(semantic),
        codebook_size=semantic.shape[1],
        codebook_dim=semantic.shape[2],
    ), variables


def _head_dim(settings: Mapping[str, Any], block: PyTree) -> int:
    heads = settings.get("num_attention_heads")
    return block["query"]["kernel"].shape[1] // heads if heads else _HEAD_DIM


def _file_name(name: str) -> str:
    """The name in files of a name in the class."""
    name = _CLASS.sub(r"\2.", name)
    return re.sub(r"^(encoder|decoder)\.\1_seanet\.", r"\1.", name)


def _residuals(state: StateDict, root: str, position: int, into: PyTree, name: str) -> int:
    """Takes the residual blocks from a position on; returns their number."""
    for j in itertools.count():
        block = f"{root}.{position + j}"
        if not state.has_prefix(f"{block}.block."):
            return j
        into[f"{name}_{j}"] = {
            "conv": state.conv(f"{block}.block.1.conv"),
            "project": state.conv(f"{block}.block.3.conv"),
        }
        if state.has_prefix(f"{block}.shortcut."):
            into[f"{name}_{j}"]["shortcut"] = state.conv(f"{block}.shortcut.conv")
    raise AssertionError


def _encoder(state: StateDict) -> tuple[PyTree, dict[str, Any]]:
    params: dict[str, Any] = {"conv_in": state.conv("encoder.layers.0.conv")}
    position, strides, num_blocks = 1, [], 0
    while state.has_prefix(f"encoder.layers.{position}.block."):
        i = len(strides)
        num_blocks = _residuals(state, "encoder.layers", position, params, f"block_{i}")
        position += num_blocks + 1  # an ELU before the convolution
        params[f"down_{i}"] = state.conv(f"encoder.layers.{position}.conv")
        state.refuse_missing()
        strides.append(len(params[f"down_{i}"]["kernel"]) // 2)
        position += 1
    params["conv_out"] = state.conv(f"encoder.layers.{position + 1}.conv")
    params["transformer"] = _transformer(state, "encoder_transformer.layers")
    params["downsample"] = state.conv("downsample.conv", use_bias=False)
    state.refuse_missing()
    block = params["block_0_0"]
    return params, {
        "strides": tuple(strides),
        "latent_stride": len(params["downsample"]["kernel"]) // 2,
        "num_filters": params["conv_in"]["bias"].size,
        "kernel_size": len(params["conv_in"]["kernel"]),
        "last_kernel_size": len(params["conv_out"]["kernel"]),
        "residual_kernel_size": len(block["conv"]["kernel"]),
        "num_residual_layers": num_blocks,
        "compress": block["conv"]["kernel"].shape[1] // block["conv"]["kernel"].shape[2],
        "use_conv_shortcut": "shortcut" in block,
        "width": params["conv_out"]["bias"].size,
    }


def _decoder(state: StateDict, sizes: Mapping[str, Any]) -> PyTree:
    params: dict[str, Any] = {
        "upsample": state.transposed_conv("upsample.conv", use_bias=False),
        "transformer": _transformer(state, "decoder_transformer.layers"),
        "conv_in": state.conv("decoder.layers.0.conv"),
    }
    position = 2  # an ELU before every convolution
    for i in range(len(sizes["strides"])):
        params[f"up_{i}"] = state.transposed_conv(f"decoder.layers.{position}.conv")
        num_blocks = _residuals(state, "decoder.layers", position + 1, params, f"block_{i}")
        position += num_blocks + 2
    params["conv_out"] = state.conv(f"decoder.layers.{position}.conv")
    state.refuse_missing()
    return params


def _transformer(state: StateDict, root: str) -> PyTree:
    params = {}
    for i in itertools.count():
        layer = f"{root}.{i}"
        if not state.has_prefix(f"{layer}."):
            return params
        params[f"block_{i}"] = {
            "norm_attention": state.norm(f"{layer}.input_layernorm"),
            "norm_mlp": state.norm(f"{layer}.post_attention_layernorm"),
            "scale_attention": state.take(f"{layer}.self_attn_layer_scale.scale"),
            "scale_mlp": state.take(f"{layer}.mlp_layer_scale.scale"),
        } | {
            ours: {"kernel": state.take(f"{layer}.{theirs}.weight").T}
            for ours, theirs in (
                ("query", "self_attn.q_proj"), ("key", "self_attn.k_proj"), ("value", "self_attn.v_proj"),
                ("out", "self_attn.o_proj"), ("up", "mlp.fc1"), ("down", "mlp.fc2"),
            )
        }  # fmt: skip
    raise AssertionError


def _quantiser(state: StateDict) -> PyTree:
    parts = {}
    for name, theirs in _PARTS.items():
        root = f"quantizer.{theirs}"
        part: dict[str, Any] = {
            ours: {"kernel": state.take(f"{root}.{key}.weight")[..., 0].T}
            for ours, key in (("in", "input_proj"), ("out", "output_proj"))
            if f"{root}.{key}.weight" in state
        }
        codebooks = []
        for i in itertools.count():
            if not state.has_prefix(f"{root}.layers.{i}."):
                break
            codebook = f"{root}.layers.{i}.codebook"
            usage, total = state.take(f"{codebook}.cluster_usage"), state.take(f"{codebook}.embed_sum")
            codebooks.append(total / np.maximum(usage, _LEAST_USAGE)[..., None])
        if not codebooks:
            state.take(f"{root}.layers.0.codebook.embed_sum")
        state.refuse_missing()
        parts[name] = part | {"codebook": np.stack(codebooks)}
    return parts

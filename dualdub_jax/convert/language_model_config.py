"""`config.json` of Llama, Qwen2 and Qwen3 models: settings by key of `config.model`, and what is refused."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dualdub_jax.errors import UserError

FAMILIES = ("llama", "qwen2", "qwen3")
_QWEN3_HEAD_DIM = 128  # where config.json has none; in the others, it follows from the width


class Setting(NamedTuple):
    """A setting of a public model.

    Attributes:
        theirs: its name in config.json.
        value: as the key of `config.model` takes it.
        tensor: that shows it, by name below the model; empty: none.
        shown: its value in config.json, where it differs from `value`.
    """

    theirs: str
    value: Any
    tensor: str = ""
    shown: str = ""


def refuse_other_models(config: Mapping[str, Any], where: str) -> None:
    """Refuses what the backbone cannot compute.

    Args:
        config: of config.json.
        where: the key and its folder, for messages.

    Raises:
        UserError: another kind of folder or model, or a setting that the backbone does not support.
    """
    if "format_version" in config:
        raise UserError(f"{where}: is a bundle of DualDub; pass it as --config.model_from")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"{where}: is of the kind {family or config.get('kind')!r}, expected one of "
            f"{', '.join(FAMILIES)}; name another model"
        )
    rope = _rope_group(config)
    found = {**config, "rope_parameters": rope}
    found["partial_rotary_factor"] = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    obstacles = {
        "quantization_config": bool(config.get("quantization_config")),
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        # Also on the output; Qwen2's biases are its architecture, not this key.
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "rope_parameters": _rope_kind(rope) not in ("default", "linear", "llama3"),
        "partial_rotary_factor": found["partial_rotary_factor"] not in (None, 1),
    }
    for key, is_one in obstacles.items():
        if is_one:
            raise UserError(
                f"{where}: its {key} is {json.dumps(found[key])[:100]}, which the backbone does not support; "
                "name another model"
            )


def settings_of(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Settings by key of `config.model`, such as "width"; absent ones have the defaults of `transformers`.

    Args:
        config: of config.json, not refused by `refuse_other_models`.
    """
    family, heads = config["model_type"], config["num_attention_heads"]
    derived = _QWEN3_HEAD_DIM if family == "qwen3" else config["hidden_size"] // heads
    rope, attention = _rope_group(config), "layers.0.self_attn"
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    return {
        "width": Setting("hidden_size", config["hidden_size"], "norm.weight"),
        "num_layers": Setting("num_hidden_layers", config["num_hidden_layers"]),
        "num_heads": Setting("num_attention_heads", heads, f"{attention}.q_proj.weight"),
        "num_kv_heads": Setting(
            "num_key_value_heads", config.get("num_key_value_heads") or heads, f"{attention}.k_proj.weight"
        ),
        "head_dim": Setting("head_dim", config.get("head_dim") or derived, f"{attention}.q_proj.weight"),
        "mlp_width": Setting(
            "intermediate_size", config["intermediate_size"], "layers.0.mlp.gate_proj.weight"
        ),
        "use_qkv_bias": Setting("model_type", family == "qwen2", f"{attention}.q_proj.bias", family),
        "use_qk_norm": Setting("model_type", family == "qwen3", f"{attention}.q_norm.weight", family),
        "rms_norm_eps": Setting("rms_norm_eps", float(config.get("rms_norm_eps", 1e-6))),
        "rope_theta": Setting("rope_theta", float(theta)),
        **{f"rope_scaling.{key}": setting for key, setting in _rope_scaling(config, rope).items()},
    }


def sliding_window(config: Mapping[str, Any]) -> int:
    """Positions that Qwen's attention reaches back; 0: all."""
    return (config.get("sliding_window") or 0) if config.get("use_sliding_window") else 0


def _rope_group(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """transformers 5 writes `rope_parameters`, with the base; versions before, `rope_scaling` without it."""
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _rope_kind(rope: Mapping[str, Any]) -> str:
    return rope.get("rope_type") or rope.get("type") or "default"


def _rope_scaling(config: Mapping[str, Any], rope: Mapping[str, Any]) -> dict[str, Setting]:
    """By key of `config.model.rope_scaling`."""
    kind = _rope_kind(rope)
    if kind == "default":
        return {"kind": Setting("rope_type", "none", shown="default")}
    scaling = {"kind": Setting("rope_type", kind), "factor": Setting("factor", float(rope["factor"]))}
    if kind == "llama3":
        length = rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
        scaling |= {
            "low_frequency_factor": Setting("low_freq_factor", float(rope["low_freq_factor"])),
            "high_frequency_factor": Setting("high_freq_factor", float(rope["high_freq_factor"])),
            "original_length": Setting("original_max_position_embeddings", length),
        }
    return scaling

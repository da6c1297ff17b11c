"""UTMOS: the state dict of its strong learner to `UtmosConfig` and parameters."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict
from dualdub_jax.convert.wav2vec2 import encoder_sizes, take_encoder
from dualdub_jax.encoders.audio.utmos import UtmosConfig
from dualdub_jax.encoders.audio.wav2vec2 import Wav2Vec2Config

PyTree = Any  # nested dictionaries of arrays

UNUSED = re.compile(r"wav2vec2\.mask_emb$")
_GATES = "ifgo"


def is_utmos(names: Mapping[str, Any]) -> bool:
    """Whether a state dict is one of UTMOS' strong learner."""
    return {"judge_emb", "blstm.weight_ih_l0", "projection.2.weight"} <= names.keys()


def utmos_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, config: Mapping[str, Any] | None = None
) -> tuple[UtmosConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name.
        where: the file, for messages.
        config: "num_attention_heads", which no tensor tells; {} or None: that of the published model.

    Returns:
        Sizes and float32 parameters.

    Raises:
        UserError: names are missing or unexpected.
    """
    state = StateDict({n: x for n, x in tensors.items() if not UNUSED.match(n)}, where)
    params = {
        "encoder": take_encoder(state, "wav2vec2."),
        "condition": np.concatenate([state.take(f"{n}_emb").reshape(-1) for n in ("domain", "judge")]),
        "forward_lstm": _lstm(state, "l0"),
        "backward_lstm": _lstm(state, "l0_reverse"),
        "hidden": state.linear("projection.0"),
        "score": state.linear("projection.2"),
    }
    state.finish()
    heads = (config or {}).get("num_attention_heads", Wav2Vec2Config.num_heads)
    sizes = UtmosConfig(
        encoder=Wav2Vec2Config(**encoder_sizes(params["encoder"]), num_heads=heads),
        condition_width=len(params["condition"]),
        lstm_width=params["forward_lstm"]["hi"]["bias"].shape[0],
        hidden_width=params["hidden"]["bias"].shape[0],
    )
    return sizes, params


def _lstm(state: StateDict, suffix: str) -> PyTree:
    """One direction: torch stacks the gates; its two biases are added."""
    inputs, recurrent = (state.take(f"blstm.weight_{kind}_{suffix}") for kind in ("ih", "hh"))
    bias = state.take(f"blstm.bias_ih_{suffix}") + state.take(f"blstm.bias_hh_{suffix}")
    state.refuse_missing()
    cell: dict[str, Any] = {}
    parts = zip(_GATES, np.split(inputs, 4), np.split(recurrent, 4), np.split(bias, 4), strict=True)
    for gate, w, r, b in parts:
        cell[f"i{gate}"] = {"kernel": w.T}
        cell[f"h{gate}"] = {"kernel": r.T, "bias": b}
    return cell

"""Converts the authors' CASP (a Lightning checkpoint) to `CaspConfig` and parameters of `Casp`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.casp.convert.beats_from_torch import beats_config, take_beats
from dualdub_jax.config import CaspConfig
from dualdub_jax.convert.names import StateDict
from dualdub_jax.errors import UserError

PyTree = Any  # parameters: nested dictionaries of arrays

_STEMS = {"speech": "speech", "background": "audio"}  # our name -> theirs


def casp_from_torch(tensors: Mapping[str, np.ndarray], where: str) -> tuple[CaspConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: names begin with "model." (Lightning's) or with "speech_encoder." and so on.
        where: the file, for messages.

    Returns:
        The config inferred from the tensors, with DualBench's windows, and float32 parameters.

    Raises:
        UserError: names are missing or unexpected (they are listed), or the encoders differ in size.
    """
    prefix = "model." if any(name.startswith("model.") for name in tensors) else ""
    encoders = {ours: f"{prefix}{theirs}_encoder." for ours, theirs in _STEMS.items()}
    configs = {stem: beats_config(tensors, name) for stem, name in encoders.items()}
    if configs["speech"] != configs["background"]:
        raise UserError(f"{where}: its two encoders differ in size; CASP has two of one size")
    config = dataclasses.replace(CaspConfig(), encoder=configs["speech"])
    state = StateDict(tensors, where)
    params: dict[str, Any] = {"logit_scale": state.take(f"{prefix}logit_scale")}
    for ours, theirs in _STEMS.items():
        pooling, projection = f"{prefix}{theirs}_pooling.attention", f"{prefix}{theirs}_proj"
        params[ours] = {
            "encoder": take_beats(state, config.encoder, encoders[ours]),
            "pooling": {
                "hidden": state.linear(f"{pooling}.0"),
                "norm": state.norm(f"{pooling}.1"),
                "score": state.linear(f"{pooling}.3"),
            },
            "project_up": state.linear(f"{projection}.0"),
            "project_norm": state.norm(f"{projection}.1"),
            "project_down": state.linear(f"{projection}.3"),
        }
    state.finish()
    return config, params

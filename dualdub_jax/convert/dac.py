"""DAC: public state dicts to `DacConfig` and the codec's variables.

Two layouts are read: the authors' (descript-audio-codec) and `transformers.DacModel`. Weight norm is folded.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.codecs.dac.config import DacConfig
from dualdub_jax.convert.names import StateDict, numbered_layers
from dualdub_jax.convert.snake_blocks import take_snake, take_units

PyTree = Any  # the codec's variables: nested dictionaries of arrays


def is_dac(names: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of a DAC."""
    return any(name.startswith("quantizer.quantizers.0.in_proj.") for name in names)


def dac_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, sample_rate_hz: int | None = None
) -> tuple[DacConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name, in either layout.
        where: the file, for messages.
        sample_rate_hz: of the checkpoint; None: of the published model with these strides.

    Returns:
        The config inferred from the tensors, and float32 variables.

    Raises:
        UserError: names are missing or unexpected (they are listed).
    """
    if any(name.startswith("encoder.block.0.weight") or name == "encoder.block.0.bias" for name in tensors):
        tensors = _renamed(tensors)
    state = StateDict(tensors, where)
    encoder: dict[str, Any] = {"conv_in": state.conv("encoder.conv1")}
    decoder: dict[str, Any] = {"conv_in": state.conv("decoder.conv1")}
    num_blocks = 0
    while state.has_prefix(f"encoder.block.{num_blocks}."):
        for side, params in (("encoder", encoder), ("decoder", decoder)):
            root = f"{side}.block.{num_blocks}"
            params[f"block_{num_blocks}"] = take_units(state, root) | {
                "snake": take_snake(state, f"{root}.snake1")
            }
        root = f"block.{num_blocks}"
        encoder[f"block_{num_blocks}"]["down"] = state.conv(f"encoder.{root}.conv1")
        decoder[f"block_{num_blocks}"]["up"] = state.transposed_conv(f"decoder.{root}.conv_t1")
        num_blocks += 1
    for side, params in (("encoder", encoder), ("decoder", decoder)):
        params["snake_out"] = take_snake(state, f"{side}.snake1")
        params["conv_out"] = state.conv(f"{side}.conv2")
    layers = []
    for i in itertools.count():
        root = f"quantizer.quantizers.{i}"
        if not state.has_prefix(f"{root}."):
            break
        pointwise = {
            ours: {key: x[0] if x.ndim == 3 else x for key, x in state.conv(f"{root}.{theirs}").items()}
            for ours, theirs in (("in", "in_proj"), ("out", "out_proj"))
        }
        layers.append(pointwise | {"codebook": state.take(f"{root}.codebook.weight")})
    state.finish()
    quantiser = {
        "in": {key: np.stack([x["in"][key] for x in layers]) for key in ("kernel", "bias")},
        "out": {key: np.stack([x["out"][key] for x in layers]) for key in ("kernel", "bias")},
        "codebook": np.stack([x["codebook"] for x in layers]),
    }
    strides = tuple(len(encoder[f"block_{i}"]["down"]["kernel"]) // 2 for i in range(num_blocks))
    num_codebooks, codebook_size, codebook_dim = quantiser["codebook"].shape
    config = DacConfig(
        # The published models of 16 and 24 kHz have the strides 2, 4, 5, 8; that of 44.1 kHz 2, 4, 8, 8.
        sample_rate_hz=sample_rate_hz or (44_100 if 5 not in strides else 24_000),
        strides=strides,
        width=encoder["conv_in"]["bias"].size,
        decoder_width=decoder["conv_in"]["bias"].size,
        num_codebooks=num_codebooks,
        codebook_size=codebook_size,
        codebook_dim=codebook_dim,
    )
    return config, {"encoder": encoder, "quantiser": quantiser, "decoder": decoder}


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of the authors, whose layers are numbered, as those of transformers."""
    return numbered_layers(tensors, layers={"encoder": "block", "decoder": "model"}, inner_layers="block")

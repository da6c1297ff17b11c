"""Oobleck: public state dicts to `OobleckConfig` and the parameters of encoder and decoder.

Two layouts are read: `diffusers.AutoencoderOobleck`'s, and stable-audio-tools', alone or inside the
checkpoint of a diffusion model. Weight norm is folded.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict, numbered_layers
from dualdub_jax.convert.snake_blocks import take_snake, take_units
from dualdub_jax.decoders.oobleck.config import OobleckConfig
from dualdub_jax.errors import UserError

PyTree = Any  # {"encoder", "decoder": parameters}

_PREFIXES = ("", "pretransform.model.", "autoencoder.")
UNUSED = re.compile(r"(?!(pretransform\.model\.|autoencoder\.)?(encoder|decoder)\.)")  # of a diffusion model


def is_oobleck(names: Mapping[str, Any]) -> bool:
    """Whether a state dict holds an Oobleck autoencoder."""
    return "decoder.block.0.snake1.beta" in names or _stable_audio_prefix(names) is not None


def _stable_audio_prefix(names: Mapping[str, Any]) -> str | None:
    return next((p for p in _PREFIXES if f"{p}decoder.layers.1.layers.0.beta" in names), None)


def oobleck_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, sample_rate_hz: int = 44_100
) -> tuple[OobleckConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name, in either layout; of a diffusion model only its autoencoder is read.
        where: the file, for messages.
        sample_rate_hz: of the checkpoint; no tensor tells it.

    Returns:
        Sizes and float32 parameters.

    Raises:
        UserError: names are missing or unexpected (they are listed), or sizes are not an Oobleck's.
    """
    prefix = _stable_audio_prefix(tensors)
    if prefix is not None:
        tensors = _renamed({n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)})
    state = StateDict(tensors, where)
    encoder: dict[str, Any] = {"conv_in": state.conv("encoder.conv1")}
    decoder: dict[str, Any] = {"conv_in": state.conv("decoder.conv1")}
    num_blocks = 0
    while state.has_prefix(f"encoder.block.{num_blocks}."):
        root = f"encoder.block.{num_blocks}"
        encoder[f"block_{num_blocks}"] = take_units(state, root) | {
            "snake": take_snake(state, f"{root}.snake1"),
            "down": state.conv(f"{root}.conv1"),
        }
        root = f"decoder.block.{num_blocks}"
        decoder[f"block_{num_blocks}"] = take_units(state, root) | {
            "snake": take_snake(state, f"{root}.snake1"),
            "up": state.transposed_conv(f"{root}.conv_t1"),
        }
        num_blocks += 1
    for side, params in (("encoder", encoder), ("decoder", decoder)):
        params["snake_out"] = take_snake(state, f"{side}.snake1")
        params["conv_out"] = state.conv(f"{side}.conv2", use_bias=side == "encoder")
    state.finish()
    width = encoder["conv_in"]["bias"].size
    downs = [encoder[f"block_{i}"]["down"]["kernel"] for i in range(num_blocks)]
    config = OobleckConfig(
        sample_rate_hz=sample_rate_hz,
        num_channels=encoder["conv_in"]["kernel"].shape[1],
        width=width,
        decoder_width=decoder["conv_out"]["kernel"].shape[1],
        multiples=tuple(kernel.shape[2] // width for kernel in downs),
        strides=tuple(len(kernel) // 2 for kernel in downs),
        latent_dim=decoder["conv_in"]["kernel"].shape[1],
    )
    if any(stride % 2 for stride in config.strides):
        raise UserError(f"{where}: has strides {list(config.strides)}; expected even ones")
    return config, {"encoder": encoder, "decoder": decoder}


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of stable-audio-tools, whose layers are numbered, as those of diffusers."""
    return numbered_layers(tensors, layers={"encoder": "layers", "decoder": "layers"}, inner_layers="layers")

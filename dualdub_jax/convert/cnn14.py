"""Cnn14 of PANNs: the authors' state dict to `Cnn14Config` and parameters; batch norms are folded."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict
from dualdub_jax.encoders.audio.cnn14 import NUM_MELS, Cnn14Config
from dualdub_jax.errors import UserError

PyTree = Any  # nested dictionaries of arrays

# The Fourier transform as a convolution, and counters.
UNUSED = re.compile(r"spectrogram_extractor\.|.*\.num_batches_tracked$")
_EPSILON = 1e-5
# Of the published front ends, by bins of their mel filters: sample rate, Hz, and hop, samples.
_FRONT_ENDS = {257: (16_000, 160), 513: (32_000, 320)}


def is_cnn14(names: Mapping[str, Any]) -> bool:
    """Whether a state dict is one of Cnn14."""
    return "logmel_extractor.melW" in names and "conv_block6.conv2.weight" in names


def cnn14_from_torch(tensors: Mapping[str, np.ndarray], where: str) -> tuple[Cnn14Config, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name.
        where: the file, for messages.

    Returns:
        Sizes, and float32 parameters with the checkpoint's mel filters as `filters`.

    Raises:
        UserError: names are missing or unexpected, or an unknown front end.
    """
    state = StateDict({n: x for n, x in tensors.items() if not UNUSED.match(n)}, where)
    filters = state.take("logmel_extractor.melW")
    scale, shift = _batch_norm(state, "bn0")
    blocks = {}
    for i in itertools.count():
        name = f"conv_block{i + 1}"
        if not state.has_prefix(f"{name}."):
            break
        blocks[f"block_{i}"] = {"conv_in": _conv(state, name, 1), "conv_out": _conv(state, name, 2)}
    network = {
        "scale": scale,
        "shift": shift,
        "embedding": state.linear("fc1"),
        "logits": state.linear("fc_audioset"),
        **blocks,
    }
    state.finish()
    if filters.shape[0] not in _FRONT_ENDS or filters.shape[1:] != (NUM_MELS,):
        raise UserError(
            f"{where}: its mel filters have shape {list(filters.shape)}, expected [257, {NUM_MELS}] (16 kHz) "
            f"or [513, {NUM_MELS}] (32 kHz); name one of the published checkpoints"
        )
    rate, hop = _FRONT_ENDS[filters.shape[0]]
    sizes = Cnn14Config(
        sample_rate_hz=rate,
        n_fft=2 * (filters.shape[0] - 1),
        hop_length=hop,
        widths=tuple(blocks[f"block_{i}"]["conv_out"]["kernel"].shape[-1] for i in range(len(blocks))),
        num_classes=network["logits"]["bias"].shape[0],
    )
    return sizes, {"filters": filters, "network": network}


def _batch_norm(state: StateDict, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a batch norm in evaluation mode, computed in float64."""
    scale, bias, mean, variance = (
        state.take(f"{name}.{part}").astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + _EPSILON)
    return scale, bias - mean * scale


def _conv(state: StateDict, block: str, number: int) -> dict[str, np.ndarray]:
    """A convolution [out, in, 3 (time), 3 (bands)] with its batch norm folded: [3, 3, in, out]."""
    kernel = state.take(f"{block}.conv{number}.weight")
    scale, shift = _batch_norm(state, f"{block}.bn{number}")
    state.refuse_missing()
    return {"kernel": kernel.transpose(2, 3, 1, 0) * scale, "bias": shift}

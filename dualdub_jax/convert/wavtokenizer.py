"""WavTokenizer: public state dicts to `WavTokenizerConfig` and the codec's variables.

Two layouts are read: the authors' Lightning checkpoints and `transformers.WavTokenizerModel`. Weight norm and
the constant condition of the adaptive norms are folded. Sizes are read off the tensors.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.convert.names import StateDict
from dualdub_jax.errors import UserError

PyTree = Any  # the codec's variables: nested dictionaries of arrays

_AUTHORS = {
    "encoder": "feature_extractor.encodec.encoder.model",
    "conv": ".conv.conv",
    "codebook": "feature_extractor.encodec.quantizer.vq.layers.0._codebook",
    "head": "head.out",
}
_TRANSFORMERS = {
    "encoder": "encoder_model.encoder.layers",
    "conv": ".conv",
    "codebook": "encoder_model.quantizer.codebook",
    "head": "head.linear",
}
# Of training only, or present in the authors' files and used by nothing.
UNUSED = re.compile(
    r"(feature_extractor\.encodec\.decoder|multiperioddisc|multiresddisc|dac|dacdiscriminator|melspec_loss)\."
    r"|.*\.(embed_avg|cluster_size|inited)$|head\.istft\.window$"
)


def is_wavtokenizer(names: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of a WavTokenizer."""
    return any(f"{layout['codebook']}.embed" in names for layout in (_AUTHORS, _TRANSFORMERS))


def wavtokenizer_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, sample_rate_hz: int = 24_000, num_groups: int = 32
) -> tuple[WavTokenizerConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name, in either layout.
        where: the file, for messages.
        sample_rate_hz, num_groups: of the checkpoint; no tensor tells them.

    Returns:
        The config inferred from the tensors, and float32 variables.

    Raises:
        UserError: names are missing or unexpected (they are listed), or shapes contradict each other.
    """
    layout = _AUTHORS if f"{_AUTHORS['codebook']}.embed" in tensors else _TRANSFORMERS
    state = StateDict({n: x for n, x in tensors.items() if not UNUSED.match(n)}, where)
    encoder, sizes = _encoder(state, layout)
    decoder, decoder_sizes = _decoder(state, layout)
    codebook = state.take(f"{layout['codebook']}.embed")
    state.finish()
    config = WavTokenizerConfig(
        sample_rate_hz=sample_rate_hz,
        codebook_size=codebook.shape[0],
        latent_dim=codebook.shape[1],
        decoder_num_groups=num_groups,
        **sizes,
        **decoder_sizes,
    )
    num_bins = decoder["head"]["bias"].shape[0]
    if num_bins != 4 * config.samples_per_frame + 2:
        raise UserError(
            f"{where}: its encoder has {config.samples_per_frame} samples a token, its head {num_bins} "
            "outputs; expected 4 times as many, and 2; is the file complete?"
        )
    return config, {"encoder": encoder, "codebook": codebook, "decoder": decoder}


def _encoder(state: StateDict, layout: Mapping[str, str]) -> tuple[PyTree, dict[str, Any]]:
    """Layers are numbered: conv, (residual blocks, ELU, strided conv) per stride, LSTM, ELU, conv."""
    root, conv = layout["encoder"], layout["conv"]
    params = {"conv_in": state.conv(f"{root}.0{conv}")}
    sizes: dict[str, Any] = {
        "num_filters": params["conv_in"]["bias"].size,
        "kernel_size": len(params["conv_in"]["kernel"]),
    }
    position, strides, growth = 1, [], []
    while f"{root}.{position}.lstm.weight_ih_l0" not in state:
        block = 0
        while state.has_prefix(f"{root}.{position}.block.1{conv}."):
            params[f"block_{len(strides)}_{block}"] = {
                "conv": state.conv(f"{root}.{position}.block.1{conv}"),
                "project": state.conv(f"{root}.{position}.block.3{conv}"),
                "shortcut": state.conv(f"{root}.{position}.shortcut{conv}"),
            }
            position, block = position + 1, block + 1
        growth.append(block)
        down = state.conv(f"{root}.{position + 1}{conv}")
        state.refuse_missing()
        params[f"down_{len(strides)}"] = down
        strides.append(len(down["kernel"]) // 2)
        position += 2
    lstm = f"{root}.{position}.lstm"
    for i in itertools.count():
        if f"{lstm}.weight_ih_l{i}" not in state:
            break
        params[f"lstm_{i}"] = {
            "kernel": state.take(f"{lstm}.weight_ih_l{i}").T,
            "recurrent_kernel": state.take(f"{lstm}.weight_hh_l{i}").T,
            "bias": state.take(f"{lstm}.bias_ih_l{i}") + state.take(f"{lstm}.bias_hh_l{i}"),
        }
    params["conv_out"] = state.conv(f"{root}.{position + 2}{conv}")
    state.refuse_missing()
    block = params["block_0_0"]["conv"]
    return params, sizes | {
        "strides": tuple(strides),
        "num_lstm_layers": i,
        "num_residual_layers": growth[0],
        "residual_kernel_size": len(block["kernel"]),
        "compress": block["kernel"].shape[1] // block["kernel"].shape[2],
    }


def _decoder(state: StateDict, layout: Mapping[str, str]) -> tuple[PyTree, dict[str, Any]]:
    params: dict[str, Any] = {"embed": state.conv("backbone.embed")}
    for i in (0, 1, 3, 4):
        root = f"backbone.pos_net.{i}"
        params[f"residual_{i}"] = {
            f"{part}_{j}": getattr(state, part)(f"{root}.{part}{j + 1}")
            for j in range(2)
            for part in ("norm", "conv")
        }
    root = "backbone.pos_net.2"
    names = {"query": "q", "key": "k", "value": "v", "out": "proj_out"}
    params["attention"] = {"norm": state.norm(f"{root}.norm")} | {
        ours: {name: x[0] if x.ndim == 3 else x for name, x in state.conv(f"{root}.{theirs}").items()}
        for ours, theirs in names.items()
    }
    params["group_norm"] = state.norm("backbone.pos_net.5")
    params["norm"] = _folded_norm(state, "backbone.norm")
    for i in itertools.count():
        root = f"backbone.convnext.{i}"
        if f"{root}.gamma" not in state:
            break
        conv = state.conv(f"{root}.dwconv")
        params[f"block_{i}"] = {
            "conv": {"kernel": conv["kernel"][:, 0]},
            "conv_bias": conv["bias"],
            "norm": _folded_norm(state, f"{root}.norm"),
            "up": state.linear(f"{root}.pwconv1"),
            "down": state.linear(f"{root}.pwconv2"),
            "gamma": state.take(f"{root}.gamma"),
        }
    params["norm_out"] = state.norm("backbone.final_layer_norm")
    params["head"] = state.linear(layout["head"])
    state.refuse_missing()
    width, mlp_width = params["block_0"]["up"]["kernel"].shape
    return params, {"decoder_width": width, "decoder_mlp_width": mlp_width, "decoder_num_blocks": i}


def _folded_norm(state: StateDict, prefix: str) -> dict[str, np.ndarray]:
    """The adaptive norm with its condition 0, the only one that inference uses."""
    return {ours: np.atleast_2d(state.take(f"{prefix}.{theirs}.weight"))[0]
            for ours, theirs in (("scale", "scale"), ("bias", "shift"))}  # fmt: skip

"""WavLM for speaker verification: the layout of `transformers` to `WavlmSvConfig` and parameters."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict
from dualdub_jax.convert.wav2vec2 import encoder_sizes, fairseq_names, take_encoder
from dualdub_jax.encoders.audio.wav2vec2 import Wav2Vec2Config
from dualdub_jax.encoders.audio.wavlm_sv import WavlmSvConfig

PyTree = Any  # nested dictionaries of arrays

UNUSED = re.compile(r"classifier\.|objective\.|wavlm\.masked_spec_embed$")


def is_wavlm_sv(names: Mapping[str, Any]) -> bool:
    """Whether a state dict is a WavLM with an x-vector head."""
    return "tdnn.0.kernel.weight" in names and any(n.startswith("wavlm.") for n in names)


def wavlm_sv_from_torch(
    tensors: Mapping[str, np.ndarray], where: str, config: Mapping[str, Any] | None = None
) -> tuple[WavlmSvConfig, PyTree]:
    """Converts a state dict.

    Args:
        tensors: by name.
        where: the file, for messages.
        config: the checkpoint's config.json, for what no tensor tells: heads, kernels, dilations.

    Returns:
        Sizes and float32 parameters.

    Raises:
        UserError: names are missing or unexpected.
    """
    settings, default = dict(config or {}), WavlmSvConfig()
    renamed = fairseq_names(tensors, "wavlm.")
    state = StateDict({n: x for n, x in renamed.items() if not UNUSED.match(n)}, where)
    params: dict[str, Any] = {
        "encoder": take_encoder(state, "wavlm."),
        "project": state.linear("projector"),
        "embed": state.linear("feature_extractor"),
    }
    kernels = tuple(settings.get("tdnn_kernel", default.tdnn_kernels))
    for i in itertools.count():
        if not state.has_prefix(f"tdnn.{i}."):
            break
        weight, bias = state.take(f"tdnn.{i}.kernel.weight"), state.take(f"tdnn.{i}.kernel.bias")
        state.refuse_missing()
        # [out, kernel * in] with the taps slowest
        taps = weight.reshape(weight.shape[0], kernels[i], -1)
        params[f"tdnn_{i}"] = {"kernel": taps.transpose(1, 2, 0), "bias": bias}
    if "layer_weights" in state:
        params["layer_weights"] = state.take("layer_weights")
    state.finish()
    encoder = Wav2Vec2Config(
        **encoder_sizes(params["encoder"]),
        num_heads=settings.get("num_attention_heads", default.encoder.num_heads),
        max_distance=settings.get("max_bucket_distance", default.encoder.max_distance),
        norm_epsilon=settings.get("layer_norm_eps", default.encoder.norm_epsilon),
    )
    sizes = WavlmSvConfig(
        encoder=encoder,
        tdnn_widths=tuple(params[f"tdnn_{i}"]["bias"].shape[0] for i in range(len(kernels))),
        tdnn_kernels=kernels,
        tdnn_dilations=tuple(settings.get("tdnn_dilation", default.tdnn_dilations)),
        embedding_dim=params["embed"]["bias"].shape[0],
        is_weighted_sum="layer_weights" in params,
        is_normalised=bool(settings.get("do_normalize", False)),
    )
    return sizes, params

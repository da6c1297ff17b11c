"""VGGish to `VggishConfig` and parameters.

Two layouts are read: the state dict of torchvggish, and the arrays of the TensorFlow checkpoint by their
names (`vggish/conv1/weights` ...), saved with `numpy.savez`. The PCA of the released features is not used.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict
from dualdub_jax.encoders.audio.vggish import VggishConfig

PyTree = Any  # nested dictionaries of arrays

UNUSED = re.compile(r"pproc\.|pca_|vggish/(?!conv|fc)|global_step$")
_TORCH_CONVS = (0, 3, 6, 8, 11, 13)
_TORCH_DENSE = (0, 2, 4)
_TF_CONVS = ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2")
_TF_DENSE = ("fc1/fc1_1", "fc1/fc1_2", "fc2")


def is_vggish(names: Mapping[str, Any]) -> bool:
    """Whether tensors with these names are VGGish's."""
    return {"features.13.weight", "embeddings.4.weight"} <= names.keys() or "vggish/fc2/weights" in names


def vggish_from_torch(tensors: Mapping[str, np.ndarray], where: str) -> tuple[VggishConfig, PyTree]:
    """Converts either layout.

    Args:
        tensors: by name.
        where: the file, for messages.

    Returns:
        Sizes and float32 parameters.

    Raises:
        UserError: names are missing or unexpected.
    """
    state = StateDict({n: x for n, x in tensors.items() if not UNUSED.match(n)}, where)
    params: dict[str, Any] = {}
    if "vggish/fc2/weights" in state:
        names = [f"conv_{i}" for i in range(len(_TF_CONVS))] + [f"dense_{i}" for i in range(len(_TF_DENSE))]
        for name, theirs in zip(names, (*_TF_CONVS, *_TF_DENSE), strict=True):
            params[name] = {
                "kernel": state.take(f"vggish/{theirs}/weights"),
                "bias": state.take(f"vggish/{theirs}/biases"),
            }
    else:
        for i, number in enumerate(_TORCH_CONVS):
            kernel = state.take(f"features.{number}.weight")
            params[f"conv_{i}"] = {
                "kernel": kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel,
                "bias": state.take(f"features.{number}.bias"),
            }
        for i, number in enumerate(_TORCH_DENSE):
            params[f"dense_{i}"] = state.linear(f"embeddings.{number}")
    state.finish()
    sizes = VggishConfig(
        conv_widths=tuple(params[f"conv_{i}"]["bias"].shape[0] for i in range(len(_TF_CONVS))),
        dense_widths=tuple(params[f"dense_{i}"]["bias"].shape[0] for i in range(len(_TF_DENSE))),
    )
    return sizes, params

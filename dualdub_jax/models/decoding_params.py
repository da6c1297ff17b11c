"""The layout of the parameters that generation reads.

Training stacks the parameters of like layers, which are scanned. A decoding step on the CPU has little to
compute and is bound by memory: there, a slice of a stacked array is copied before it is multiplied, in every
step. On accelerators the compiler fuses the slice into the product, and the stacked layout keeps compile time
independent of depth.
"""

from typing import Any

from dualdub_jax.layers.fused_attention import platform
from dualdub_jax.models.dualdub import DualDub
from dualdub_jax.types import STREAMS

PyTree = Any  # the model's parameters: nested dictionaries of arrays


def decoding_params(model: DualDub, params: PyTree) -> PyTree:
    """The parameters in the layout in which generation reads them fastest on this platform.

    Args:
        model: the module, which accepts either layout.
        params: its parameters as they are trained and stored.

    Returns:
        On the CPU, the parameters of the backbone and of the heads as their `unstacked` returns them, copies;
        elsewhere `params`.
    """
    if platform() != "cpu":
        return params
    bound = model.bind({"params": params})
    parts = {"backbone": bound.backbone} | {f"{stream}_head": bound.head(stream) for stream in STREAMS}
    return params | {
        name: part.unstacked(params[name]) for name, part in parts.items() if hasattr(part, "unstacked")
    }

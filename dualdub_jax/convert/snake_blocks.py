"""Residual units of snake blocks, as DAC and Oobleck name them."""

from typing import Any

import numpy as np

from dualdub_jax.convert.names import StateDict

PyTree = Any  # nested dictionaries of arrays


def take_units(state: StateDict, root: str) -> PyTree:
    """Parameters of three `layers.conv1d.SnakeResidual`."""
    return {
        f"unit_{dilation}": {
            "snake_in": take_snake(state, f"{root}.res_unit{i}.snake1"),
            "conv": state.conv(f"{root}.res_unit{i}.conv1"),
            "snake_out": take_snake(state, f"{root}.res_unit{i}.snake2"),
            "project": state.conv(f"{root}.res_unit{i}.conv2"),
        }
        for i, dilation in enumerate((1, 3, 9), start=1)
    }


def take_snake(state: StateDict, root: str) -> dict[str, np.ndarray]:
    """Parameters of a `layers.conv1d.Snake`: with a beta if the public one has it."""
    names = ("alpha", "beta") if f"{root}.beta" in state else ("alpha",)
    return {name: state.take(f"{root}.{name}").reshape(-1) for name in names}

"""ONNX Runtime on the CPU in one thread."""

import pathlib
from typing import Any


def open_session(model: str | pathlib.Path) -> Any:
    """Opens a model in one thread: more would gain little in so small networks, and change their rounding.

    Returns:
        An `onnxruntime.InferenceSession`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

"""ONNX Runtime on the CPU, with the number of threads that other libraries obey."""

import os
import pathlib
from typing import Any


def open_session(model: str | pathlib.Path) -> Any:
    """Opens a model.

    ONNX Runtime does not read `OMP_NUM_THREADS`, by which an evaluation shares the cores among processes; its
    own default is one thread a core.

    Returns:
        An `onnxruntime.InferenceSession`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(limit) if limit.isdigit() else 0
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

"""Examples to a batch of host arrays."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.types import STREAMS


def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stacks the arrays of examples; ids, stems, frames of features and bad records become lists."""
    batch: dict[str, Any] = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        if name == "stems":
            batch[name] = {stream: [stems[stream] for stems in values] for stream in STREAMS}
        elif name in ("example_ids", "feature_frames"):
            batch[name] = values
        elif name == "bad_records":
            batch[name] = list(itertools.chain(*values))
        else:
            batch[name] = np.stack(values)
    return batch

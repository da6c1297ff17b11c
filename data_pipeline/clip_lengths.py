"""The lengths of all clips of a dataset's split, read once and then kept beside the records.

    DATASET/lengths/FINGERPRINT.npy    float64[N], seconds, in the order of the records; NaN: unreadable

The fingerprint is of the split's files: lengths of other files are never used.
"""

import concurrent.futures
import contextlib
import io

import numpy as np
import rich.console

from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.mixture import Source
from dualdub_jax.data_pipeline.progress import Progress
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import write_whole
from dualdub_jax.stores.failures import store_errors

_NUM_THREADS = 8
_BLOCK = 256  # records


def clip_lengths(source: Source) -> np.ndarray:
    """The length of each clip.

    Where they cannot be kept, as on a disk without write permission, they are read again at each start.

    Args:
        source: an opened dataset, with its fingerprint.

    Returns:
        float64[N], seconds; NaN for records that cannot be read.
    """
    path = source.folder / "lengths" / f"{source.fingerprint}.npy"
    with store_errors(path):
        if path.is_file():
            with contextlib.suppress(ValueError, EOFError):  # damaged: read again
                lengths = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
                if lengths.shape == (len(source.records),):
                    return lengths
    lengths = _read(source)
    with contextlib.suppress(OSError), store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        np.save(file, lengths)
        write_whole(path, file.getvalue())
    return lengths


def _read(source: Source) -> np.ndarray:
    def block(first: int) -> list[float]:
        return [_length(source, index) for index in range(first, min(first + _BLOCK, len(source.records)))]

    lengths: list[float] = []
    console = rich.console.Console(stderr=True)
    with (
        concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool,
        Progress(console, f"{source.name}: lengths", len(source.records), "clips") as progress,
    ):
        for found in pool.map(block, range(0, len(source.records), _BLOCK)):
            lengths += found
            progress.advance(len(found))
    return np.array(lengths, np.float64)


def _length(source: Source, index: int) -> float:
    try:
        record = source.records[index]
        return record_lib.duration_s(record, record_lib.clip_id(source.name, record))
    except UserError:
        return float("nan")

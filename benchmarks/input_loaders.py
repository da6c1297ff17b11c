"""Our loader beside torch's, on the same clips: rates, CPU time, memory, time to the first batch.

See `input_pipeline.py`.
"""

import argparse
import contextlib
import importlib.util
import itertools
import multiprocessing
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from input_decoders import Decode, Files, PlainDecode

from dualdub_jax.config import Config, SourceConfig
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator, NumberedBatches
from dualdub_jax.data_pipeline.mixed_examples import mix_examples, take_share
from dualdub_jax.data_pipeline.mixture import open_mixture
from dualdub_jax.data_pipeline.record import Record

_ROWS = {
    "threads": "ours, threads (the default)",
    "processes": "ours, processes",
    "torch_plain": "torch, plain",
    "torch_same_function": "torch, same function",
}


def compare_with_torch(data_dir: str, args: argparse.Namespace) -> dict[str, float]:
    """The loaders one after the other, and the functions that they apply to a clip alone."""
    if missing := [name for name in ("torch", "psutil") if importlib.util.find_spec(name) is None]:
        print(f"{missing[0]} is not installed: the comparison is left out")
        return {}
    import torch.utils.data

    config = Config(data_dir=data_dir)
    torch.set_num_threads(1)  # as in its workers
    (source,) = open_mixture(config.data_dir, (SourceConfig(args.source),), "train", "benchmark")
    size, workers = args.batch_size, args.num_workers
    clips = [source.records[i] for i in range(min(len(source.records), 64))]
    ours_of_clip, plain_of_clip = Decode(config), PlainDecode(config)
    for decode in (ours_of_clip, plain_of_clip):  # libraries that load late do not count for the first loader
        decode(clips[0])

    def ours(num_processes: int) -> Iterator[Any]:
        mixed = mix_examples([source], lambda _: ours_of_clip, seed=[0], repeat=True, shuffle=True)
        batches = take_share(mixed, size, 0, 1, "benchmark")
        made = BatchIterator(NumberedBatches(batches), lambda batch: batch, num_processes, {})
        with contextlib.closing(made):
            yield from made

    def theirs(decode: Callable[[Record], dict[str, Any]]) -> Iterator[Any]:
        files = Files(folder, list(source.records), decode)
        batches = torch.utils.data.DataLoader(
            files, size, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True
        )
        while True:
            yield from batches

    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        loads = {
            "threads": (ours(0), ours_of_clip),
            "processes": (ours(workers), ours_of_clip),
            "torch_same_function": (theirs(ours_of_clip), ours_of_clip),
            "torch_plain": (theirs(plain_of_clip), plain_of_clip),
        }
        for label, (batches, decode) in loads.items():
            figures |= {f"{key}_{label}": value for key, value in _measured(batches, args).items()}
            # Beside the loader that it is compared with: the load of the machine changes.
            figures[f"cpu_ms_function_{label}"] = alone = _ms_alone(decode, clips, workers)
            figures[f"share_function_{label}"] = alone / figures[f"cpu_ms_per_clip_{label}"]
    theirs_ms, alone_ms = (figures[f"cpu_ms_{of}_torch_same_function"] for of in ("per_clip", "function"))
    figures["most_ratio_cpu_to_torch_same_function"] = theirs_ms / alone_ms
    for label, other in itertools.product(("threads", "processes"), ("torch_same_function", "torch_plain")):
        faster = figures[f"clips_per_s_{label}"] / figures[f"clips_per_s_{other}"]
        lighter = figures[f"cpu_ms_per_clip_{other}"] / figures[f"cpu_ms_per_clip_{label}"]
        figures |= {f"ratio_clips_per_s_{label}_to_{other}": faster, f"ratio_cpu_{label}_to_{other}": lighter}
    return figures


def as_rows(figures: Mapping[str, float]) -> list[str]:
    """The rows of docs/data.md."""
    rows = []
    for label, name in _ROWS.items():
        cells = [
            f"{figures[f'clips_per_s_{label}']:.0f}",
            f"{figures[f'cpu_ms_per_clip_{label}']:.1f}",
            f"{figures[f'share_function_{label}']:.0%}",
            f"{figures[f'peak_mib_{label}']:.0f}",
            f"{figures[f's_to_first_batch_{label}']:.1f}",
        ]
        for unit in ("clips_per_s", "cpu"):
            ratio = figures.get(f"ratio_{unit}_threads_to_{label}")
            cells.append("" if ratio is None else f"{ratio:.2f}")
        rows.append(f"| {' | '.join([name, *cells])} |")
    return rows


def _ms_alone(
    decode: Callable[[Record], dict[str, Any]], clips: Sequence[Record], num_processes: int
) -> float:
    """CPU milliseconds a clip of a function without a loader, in as many processes as a loader has.

    Two threads of one core take more CPU time than one of them alone, so that it is not timed alone.
    """
    with multiprocessing.get_context("fork").Pool(num_processes, _remember, (decode, clips)) as pool:
        return statistics.median(pool.map(_time_round, range(4 * num_processes), chunksize=1))


_WORK: tuple[Callable[[Record], dict[str, Any]], Sequence[Record]] | None = None  # of a forked process


def _remember(decode: Callable[[Record], dict[str, Any]], clips: Sequence[Record]) -> None:
    global _WORK
    _WORK = (decode, clips)


def _time_round(_: int) -> float:
    decode, clips = _WORK
    start = time.process_time()
    for clip in clips:
        decode(clip)
    return 1000 * (time.process_time() - start) / len(clips)


def _measured(batches: Iterator[Any], args: argparse.Namespace) -> dict[str, float]:
    """Of a loader that has not started."""
    before = _peak_mib([])
    start = time.perf_counter()
    next(batches)
    first_s = time.perf_counter() - start
    for _ in range(2 * args.num_workers):
        next(batches)
    start, cpu_s = time.perf_counter(), _cpu_s()
    for _ in range(args.num_batches):
        next(batches)
    wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - cpu_s
    peaks = [0.0]
    for _ in range(4 * args.num_workers):  # afterwards: workers would go on while memory is counted
        next(batches)
        _peak_mib(peaks)
    batches.close()
    num_clips = args.num_batches * args.batch_size
    return {
        "clips_per_s": num_clips / wall_s,
        "cpu_ms_per_clip": 1000 * cpu_s / num_clips,
        "peak_mib": peaks[0] - before,
        "s_to_first_batch": first_s,
    }


def _processes() -> list[Any]:
    """This process and those that it has started."""
    import psutil

    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def _cpu_s() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _processes())


def _peak_mib(peaks: list[float]) -> float:
    """Memory of all processes, shared pages once; also raises the peak."""
    held = sum(process.memory_full_info().pss for process in _processes()) / 2**20
    peaks[:] = [max(held, *peaks)] if peaks else []
    return held

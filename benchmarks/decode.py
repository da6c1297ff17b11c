"""Compares generation of a window with the same model in PyTorch, and with the bound of memory bandwidth.

    pip install -e '.[bench]'                                     # without a GPU, torch's CPU build first
    python benchmarks/decode.py                                   # everything; about 8 minutes on two cores
    python benchmarks/decode.py --sizes puppet --batch-sizes 1 --parts whole
    python benchmarks/decode.py --parts stream                    # ours alone: the time to the first sound

`whole` is the whole model: ours is `generate_tokens` as `dualdub dub` runs it, the other an eager loop with
static caches (`torch_decode.py`). `backbone` is the backbone alone as a language model with a vocabulary of
1024: ours a scan over positions, the other `generate` of Hugging Face's Llama or Qwen3 class with a static
cache. All run in float32, without guidance, on the same random parameters; greedy tokens of the first 25
frames must be equal, otherwise the exit status is 1. Times are then taken with sampling at the config's
temperatures (the backbone: greedy), after compilation and a first run: ours of a whole window, the other of
its first 100 frames.

Each contestant runs in a process of its own, pinned to the same `--threads` cores, in turns. Frames a second
are those of all clips of the batch. The first frame includes the encoders and the prefix; the frames after
it are timed by the difference. The bound is the time in which the weights that a frame needs, and the keys
and values of the cache, can be read once, at the bandwidth that is measured in the same processes: the best
of a sum and of matrix-vector products over 256 MB. A model that fits the processor's cache may exceed it.
Memory is the peak resident set of the process after compilation. CPU ms are those of all threads for a step
of all clips, and do not depend on other load. `stream` is the time from the call of `model.stream`, of the
bundled model and a film of 8 s, to its first chunk. Rows have medians over the repeats; the last line is
JSON.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from decode_work import BANDWIDTH_BYTES, Work
from train_step import SIZES, clock, forget_peak_memory, peak_memory

_ROOT = pathlib.Path(__file__).parent.parent
_PARTS = ("whole", "backbone", "stream")
_NEEDS = {"whole": "torch", "backbone": "transformers"}
_HEADER = (
    "| | clips | frames/s ours, other | ratio | CPU ms ours, other | ratio | first frame, ms | of the bound "
    "| peak GB | GB/s |\n" + "|---" * 10 + "|"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--sizes", default="puppet,50m", help=f"comma-separated, of {', '.join(SIZES)}")
    parser.add_argument("--batch-sizes", default="1,8", help="clips at a time")
    parser.add_argument("--parts", default=",".join(_PARTS))
    parser.add_argument("--threads", type=int, default=min(2, cores))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes, parts = args.sizes.split(","), args.parts.split(",")
    if unknown := {*sizes} - {*SIZES} | {*parts} - {*_PARTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; --sizes are {', '.join(SIZES)}, "
                     f"--parts {', '.join(_PARTS)}")  # fmt: skip
    if not 1 <= args.threads <= cores:
        parser.error(f"--threads {args.threads}: choose 1 to {cores}, the available cores")
    if args.worker:
        serve(args)
        return 0
    for part in parts:
        if part in _NEEDS and importlib.util.find_spec(_NEEDS[part]) is None:
            parser.error(f"{_NEEDS[part]} is not installed; pip install -e '.[bench]'")
    figures: dict[str, float] = {"threads": args.threads, "repeats": args.repeats}
    compared = [part for part in parts if part in _NEEDS]
    if compared:
        print(_HEADER, flush=True)
    for size in sizes:
        for part in compared:
            for batch_size in map(int, args.batch_sizes.split(",")):
                figures |= compare(size, part, batch_size, args)
    if "stream" in parts:
        figures |= time_stream(args)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    return 0


def compare(size: str, part: str, batch_size: int, args: argparse.Namespace) -> dict[str, float]:
    """Runs both contestants in turns, prints their row, and returns the figures."""
    with tempfile.TemporaryDirectory() as folder:
        # Ours first: it writes the parameters and the tokens that the other must generate.
        workers = {who: Worker(who, size, part, batch_size, folder, args) for who in ("ours", "other")}
        turns: dict[str, list[dict[str, float]]] = {who: [] for who in workers}
        for _ in range(args.repeats):
            for who, worker in workers.items():
                turns[who].append(worker.ask())
        for worker in workers.values():
            worker.close()
    bandwidth = max(turn["bytes_per_s"] for of_one in turns.values() for turn in of_one)
    of = {who: summary(of_one, batch_size, bandwidth) for who, of_one in turns.items()}
    ours, other = of["ours"], of["other"]
    ratios = {
        "frames_per_s": ours["frames_per_s"] / other["frames_per_s"],
        "cpu_s_per_frame": other["cpu_s_per_frame"] / ours["cpu_s_per_frame"],
        "first_frame_s": other["first_frame_s"] / ours["first_frame_s"],
    }
    both = lambda name, form, scale=1.0: ", ".join(form.format(scale * x[name]) for x in (ours, other))  # noqa: E731
    cells = [
        f"{size}, {part}", str(batch_size),
        both("frames_per_s", "{:.0f}"), f"{ratios['frames_per_s']:.1f}",
        both("cpu_s_per_frame", "{:.1f}", 1e3), f"{ratios['cpu_s_per_frame']:.1f}",
        both("first_frame_s", "{:.0f}", 1e3), both("share_of_bound", "{:.1%}"),
        both("peak_gb", "{:.1f}"), f"{bandwidth / 1e9:.0f}",
    ]  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)
    key = f"{size}_{part}_{batch_size}"
    figures = {f"{name}_{key}_{who}": value for who, values in of.items() for name, value in values.items()}
    figures |= {f"ratio_{name}_{key}": value for name, value in ratios.items()}
    return figures | {f"bandwidth_gb_per_s_{key}": bandwidth / 1e9}


def summary(turns: list[dict[str, float]], batch_size: int, bandwidth: float) -> dict[str, float]:
    """The figures of one contestant."""
    middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    return {
        "frames_per_s": batch_size / middle["frame_s"],
        "cpu_s_per_frame": middle["frame_cpu_s"],
        "first_frame_s": middle["first_s"],
        "share_of_bound": middle["frame_bytes"] / bandwidth / middle["frame_s"],
        "peak_gb": max(turn["peak_bytes"] for turn in turns) / 1e9,
    }


def time_stream(args: argparse.Namespace) -> dict[str, float]:
    """Times the first chunk of `model.stream`, prints it, and returns the figures."""
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker("ours", args.sizes.split(",")[0], "stream", 1, folder, args)
        turns = [worker.ask() for _ in range(args.repeats)]
        worker.close()
    middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    print(
        f"\nmodel.stream: {middle['first_sound_s']:.2f} s ({middle['first_sound_cpu_s']:.2f} CPU s) to the "
        f"first {middle['chunk_s']:.2f} s of sound; the film of {middle['film_s']:.0f} s in "
        f"{middle['stream_s']:.2f} s"
    )
    return {f"{name}_stream": value for name, value in middle.items()}


class Worker:
    """A process of one contestant; `ask` takes one turn."""

    def __init__(self, who: str, size: str, part: str, batch_size: int, folder: str, args: Any) -> None:
        command = [sys.executable, __file__, "--worker", who, "--sizes", size, "--parts", part]
        command += ["--batch-sizes", str(batch_size), "--folder", folder, "--threads", str(args.threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "JAX_PLATFORMS": "cpu"}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def ask(self) -> dict[str, float]:
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            # The worker has printed its error to stderr.
            sys.exit(self._process.wait() or 1)
        return json.loads(line)


def serve(args: argparse.Namespace) -> None:
    """In a worker's process: prepares its work and takes a turn for each line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    if args.parts == "stream":
        from decode_stream import stream_turns

        turn = stream_turns(args.folder)
    else:
        import decode_backbone
        import decode_whole

        make = {("ours", "whole"): decode_whole.our_whole,
                ("other", "whole"): decode_whole.torch_whole,
                ("ours", "backbone"): decode_backbone.our_backbone,
                ("other", "backbone"): decode_backbone.torch_backbone}[args.worker, args.parts]  # fmt: skip
        work = make(args.sizes, int(args.batch_sizes), args.folder, args.threads)
        # The comparison of tokens has run the other's code once, and it has nothing to compile.
        compiles = args.worker == "ours"
        for function in (*((work.window, work.first) if compiles else ()), *work.read):
            function()
        turn = lambda: time_work(work)  # noqa: E731
    forget_peak_memory()
    print(json.dumps({"ready": 1}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


def time_work(work: Work) -> dict[str, float]:
    """One turn of a contestant."""
    whole_s, whole_cpu_s = clock(work.window, 1)
    peak_bytes = peak_memory()
    first_s, first_cpu_s = clock(work.first, 1)
    if first_s < 1:
        first_s, first_cpu_s = min(clock(work.first, 1) for _ in range(3))
    read_s = min(clock(read, 1)[0] for read in work.read for _ in range(4))
    return {
        "frame_s": (whole_s - first_s) / (work.num_frames - 1),
        "frame_cpu_s": (whole_cpu_s - first_cpu_s) / (work.num_frames - 1),
        "first_s": first_s,
        "frame_bytes": work.frame_bytes,
        "bytes_per_s": BANDWIDTH_BYTES / read_s,
        "peak_bytes": peak_bytes,
    }


if __name__ == "__main__":
    sys.exit(main())

"""Compilation of a train step with an empty and with a filled program cache, in one process and in several.

    dualdub data build folder --source films --out data
    python benchmarks/compile_cache.py --data-dir data --dataset films --processes 2

The same command, `dualdub train --config puppet:finetune` for two steps, is run twice for each number of
processes, first with an empty cache. `compile_s` is the wall time of the step's compilation or of its reading
from the cache, CPU seconds are of all processes from start to end. The results of both runs are compared: the
cached program is the same. The last line is the same as JSON.
"""

import argparse
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="puppet:finetune")
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--dataset", required=True, help="name of a dataset in it")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    found: dict[str, float] = {}
    print(f"{'processes':>9} {'cache':>7} {'compile s':>10} {'CPU s':>8}")
    for num_processes in sorted({1, args.processes}):
        losses = []
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("empty", "filled"):
                workdir = pathlib.Path(folder) / cache
                cpu_s = run(args, pathlib.Path(folder) / "cache", workdir, num_processes)
                lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
                compile_s = next(line["compile_s"] for line in lines if "compile_s" in line)
                losses.append([line["loss"] for line in lines])
                print(f"{num_processes:>9} {cache:>7} {compile_s:>10.1f} {cpu_s:>8.1f}", flush=True)
                found |= {
                    f"compile_s_{cache}_{num_processes}": compile_s,
                    f"cpu_s_{cache}_{num_processes}": cpu_s,
                }
        if losses[0] != losses[1]:
            print(f"losses differ: {losses}", file=sys.stderr)
            return 1
    print(json.dumps(found))
    return 0


def run(args: argparse.Namespace, cache: pathlib.Path, workdir: pathlib.Path, num_processes: int) -> float:
    """Trains for two steps; returns the CPU seconds of all processes."""
    values = {
        "data_dir": str(args.data_dir),
        "stages.0.mixture": json.dumps([{"name": args.dataset, "weight": 1}]),
        "stages.0.num_steps": 2,
        "stages.0.batch_size": 4,
        "log_every_steps": 1,
    }
    command = [sys.executable, "-m", "dualdub_jax.apps.cli", "train", "--config", args.config]
    command += ["--workdir", str(workdir), *(f"--config.{key}={value}" for key, value in values.items())]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = ["--distributed", "--coordinator", address, "--num-processes", str(num_processes)]
    before_s = _children_s()
    processes = [
        subprocess.Popen(
            command + ([*together, "--process-id", str(i)] if num_processes > 1 else []),
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
        )
        for i in range(num_processes)
    ]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise SystemExit(f"dualdub train: exit statuses {statuses}")
    return _children_s() - before_s


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())

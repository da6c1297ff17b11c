"""Breakdown of the CPU time of our train step by part of the model, kind of kernel, and kernel.

    python benchmarks/step_profile.py                          # the puppet model, one core
    python benchmarks/step_profile.py --size 50m --top 40
    python benchmarks/step_profile.py --without-films --set model.remat_policy=full

The step and its sizes are those of `train_step.py`; freed memory is kept as by `dualdub train`.
`jax.profiler` measures the wall time of each kernel of XLA's CPU backend. To be robust to other load, each
kernel's share of the total kernel time is multiplied by the CPU seconds of a step. The last line is JSON.

A part is a module of the model and a pass: "forward", "backward", or "again" for rematerialisation in the
backward pass. The optimizer, its norms and the moving average are "optimizer".
"""

import argparse
import collections
import json
import os
import pathlib
import re
import statistics
import tempfile
from collections.abc import Mapping

import jax
import train_step

from dualdub_jax.training.kept_pages import keep_pages

# These contain other kernels, which are counted separately.
_CONTAINERS = re.compile(r"(while|conditional|cond|call)([.\d]*)$")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\S+) .*?(?:op_name=\"([^\"]*)\"|$)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(train_step.SIZES), default="puppet")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides the config"
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--top", type=int, default=20, help="number of listed kernels")
    parser.add_argument("--threads", type=int, default=1, help="number of cores to pin the process to")
    parser.add_argument("--without-films", action="store_true", help="use a batch without films")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    jax.config.update("jax_platforms", "cpu")
    keep_pages()
    path, overrides, batch_size = train_step.SIZES[args.size]
    train_step.SIZES[args.size] = (path, (*overrides, *args.set), batch_size)
    step, state, batch = train_step.compiled_step(args.size, batch_size, args.without_films)
    key = jax.random.key(1)

    def train() -> None:
        nonlocal state
        state, metrics = step(state, batch, key)
        jax.block_until_ready((state, metrics))

    train()
    cpu_s = statistics.median(train_step.clock(train, 1)[1] for _ in range(args.steps))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(args.steps):
                train()
        (trace,) = pathlib.Path(folder).rglob("*.xplane.pb")
        seconds = kernel_seconds(trace)
    scale = cpu_s / sum(seconds.values())
    cpu_seconds = {name: value * scale for name, value in seconds.items()}
    instructions = {
        found[1]: (found[2], found[3] or "") for found in map(_INSTRUCTION.match, lines(step)) if found
    }
    parts, kinds = collections.Counter(), collections.Counter()
    for name, value in cpu_seconds.items():
        path = instructions.get(name, ("", ""))[1]
        parts[part_of(path)] += value
        kinds[kind_of(name, path)] += value
    print(f"{args.size}: {cpu_s:.2f} CPU s a step (median of {args.steps})")
    table("parts", parts, args.top)
    table("kinds of kernels", kinds, args.top)
    heaviest = collections.Counter(
        {
            f"{kernel:<32} {' '.join(instructions.get(kernel, ('', '')))}": s
            for kernel, s in cpu_seconds.items()
        }
    )
    table("kernels, their result shapes and operations", heaviest, args.top)
    print(
        json.dumps(
            {"cpu_s": round(cpu_s, 3), **{name: round(value, 4) for name, value in parts.most_common()}}
        )
    )


def lines(step: jax.stages.Compiled) -> list[str]:
    """Lines of the compiled program's text."""
    return step.as_text().splitlines()


def kernel_seconds(trace: pathlib.Path) -> dict[str, float]:
    """Instruction name -> seconds over the whole trace."""
    seconds = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                is_kernel = any(key == "hlo_op" for key, _ in event.stats)
                if is_kernel and not _CONTAINERS.match(event.name):
                    seconds[event.name] += event.duration_ns / 1e9
    return dict(seconds)


def part_of(path: str) -> str:
    """The part of an instruction's op_name.

    "jit(step)/transpose(jvp(DualDub))/backbone/…" gives "backbone, backward".
    """
    if "jvp" not in path:
        return "optimizer"
    turn = "again" if "rematted" in path else "backward" if "transpose(jvp" in path else "forward"
    modules = [name for name in re.split(r"[/()]", path) if name in _MODULES]
    # The innermost module: "pixels" is part of the video encoder.
    return f"{modules[-1] if modules else 'loss'}, {turn}"


_MODULES = {
    "pixels",
    "temporal",
    "video_encoder",
    "noncausal",
    "causal",
    "speaker_encoder",
    "script_encoder",
    "backbone",
    "speech_head",
    "background_head",
    "speech_embedding",
    "background_embedding",
}


def kind_of(kernel: str, path: str) -> str:
    """XLA's name of the kernel; fusions that end in a matrix product are "matrix products"."""
    is_product = path.endswith("dot_general") and kernel.startswith(("ynn_fusion", "dot"))
    return "matrix products" if is_product else re.sub(r"[.\d]+$", "", kernel)


def table(title: str, cpu_seconds: Mapping[str, float], top: int) -> None:
    """Prints the largest entries with their shares."""
    whole = sum(cpu_seconds.values())
    print(f"\n{'CPU s':>7} {'share':>6}  {title}")
    for name, value in collections.Counter(cpu_seconds).most_common(top):
        print(f"{value:7.3f} {value / whole:6.1%}  {name}")


if __name__ == "__main__":
    main()

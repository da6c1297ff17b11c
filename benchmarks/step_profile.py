"""Where the CPU seconds of our train step go: parts of the model, kinds of kernels, and the heaviest kernels.

    python benchmarks/step_profile.py                          # the puppet model, one core
    python benchmarks/step_profile.py --size 50m --top 40
    python benchmarks/step_profile.py --without-films --set model.remat_policy=full

The step is that of `train_step.py`, with its sizes, and keeps freed memory as `dualdub train` does.
`jax.profiler` clocks each kernel that XLA's CPU backend made; on a busy machine that includes the time in
which others ran, so what is printed are shares of the time that all kernels took, multiplied by the CPU
seconds of a step. The last line is JSON.

A part is a module of the model and a pass: "forward", "backward", or "again" for what the backward pass
computes a second time. The optimizer, its norms and the moving average are "optimizer".
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

# These run other kernels, which are counted on their own.
_CONTAINERS = re.compile(r"(while|conditional|cond|call)([.\d]*)$")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\S+) .*?(?:op_name=\"([^\"]*)\"|$)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(train_step.SIZES), default="puppet")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes the config")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--top", type=int, default=20, help="kernels that are listed")
    parser.add_argument("--threads", type=int, default=1, help="cores that the process is pinned to")
    parser.add_argument("--without-films", action="store_true", help="no clip of the batch has a film")
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
    table("kernels, their results and what they are of", heaviest, args.top)
    print(
        json.dumps(
            {"cpu_s": round(cpu_s, 3), **{name: round(value, 4) for name, value in parts.most_common()}}
        )
    )


def lines(step: jax.stages.Compiled) -> list[str]:
    """Of the compiled program."""
    return step.as_text().splitlines()


def kernel_seconds(trace: pathlib.Path) -> dict[str, float]:
    """Seconds by the name of the kernel's instruction, over the whole trace."""
    seconds = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                is_kernel = any(key == "hlo_op" for key, _ in event.stats)
                if is_kernel and not _CONTAINERS.match(event.name):
                    seconds[event.name] += event.duration_ns / 1e9
    return dict(seconds)


def part_of(path: str) -> str:
    """The part that an instruction's op_name belongs to.

    "jit(step)/transpose(jvp(DualDub))/backbone/…" is "backbone, backward".
    """
    if "jvp" not in path:
        return "optimizer"
    turn = "again" if "rematted" in path else "backward" if "transpose(jvp" in path else "forward"
    modules = [name for name in re.split(r"[/()]", path) if name in _MODULES]
    # The innermost: "pixels" is a part of the video encoder.
    return f"{modules[-1] if modules else 'loss'}, {turn}"


_MODULES = {
    "pixels",
    "temporal",
    "video_encoder",
    "video_aligner",
    "stream_aligner",
    "speaker_encoder",
    "script_encoder",
    "backbone",
    "speech_head",
    "background_head",
    "speech_embedding",
    "background_embedding",
}


def kind_of(kernel: str, path: str) -> str:
    """What XLA called the kernel; those that end in a matrix product are all "matrix products"."""
    is_product = path.endswith("dot_general") and kernel.startswith(("ynn_fusion", "dot"))
    return "matrix products" if is_product else re.sub(r"[.\d]+$", "", kernel)


def table(title: str, cpu_seconds: Mapping[str, float], top: int) -> None:
    """Prints the largest ones."""
    whole = sum(cpu_seconds.values())
    print(f"\n{'CPU s':>7} {'share':>6}  {title}")
    for name, value in collections.Counter(cpu_seconds).most_common(top):
        print(f"{value:7.3f} {value / whole:6.1%}  {name}")


if __name__ == "__main__":
    main()

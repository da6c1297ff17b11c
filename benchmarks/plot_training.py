"""Plots the losses of a run, one panel per phase.

    python benchmarks/plot_training.py runs/puppet/metrics.jsonl --out training.svg
    python benchmarks/plot_training.py runs/puppet/metrics.jsonl --log docs/training_log.jsonl --out …

If a phase was restarted or resumed from an earlier checkpoint, the final course is drawn; `--log` writes its
lines. The duration of each phase is printed. Requires matplotlib: pip install -e '.[bench]'.
"""

import argparse
import itertools
import json
import pathlib
import sys
from typing import Any

_NUM_COLUMNS = 3
_LONGEST_GAP_S = 600.0  # longer gaps between two lines of a phase count as pauses
Line = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("metrics", type=pathlib.Path, help="metrics.jsonl of a run")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="image file: .svg or .png")
    parser.add_argument("--log", type=pathlib.Path, help="file for the plotted lines")
    args = parser.parse_args()
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        print("matplotlib is not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    phases = read_phases(args.metrics)
    if args.log:
        lines = sorted((line for lines in phases.values() for line in lines), key=lambda line: line["time"])
        args.log.write_text("".join(json.dumps(rounded(line)) + "\n" for line in lines), encoding="utf-8")
    num_rows = -(-len(phases) // _NUM_COLUMNS)
    figure, axes = plt.subplots(
        num_rows,
        _NUM_COLUMNS,
        figsize=(4 * _NUM_COLUMNS, 2.6 * num_rows),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(phases) :]:
        axis.remove()
    for axis, (phase, lines) in zip(axes.flat, phases.items(), strict=False):
        print(f"{phase:28s} {lines[-1]['step']:6d} steps, {worked_s(lines) / 60:6.1f} min")
        for name in losses(lines):
            points = [(line["step"], line[name]) for line in lines if line.get(name)]
            axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axis.set_title(phase, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    print(f"{'all':28s} {'':6s}        {sum(map(worked_s, phases.values())) / 60:6.1f} min")
    figure.savefig(args.out)
    print(f"wrote {args.out}")
    return 0


def read_phases(path: pathlib.Path) -> dict[str, list[Line]]:
    """Lines by phase in the order of first appearance; for a repeated step, the later line."""
    phases: dict[str, list[Line]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        lines = phases.setdefault(line["phase"], [])
        while lines and lines[-1]["step"] >= line["step"]:
            lines.pop()
        lines.append(line)
    return phases


def rounded(line: Line) -> Line:
    """The line with values rounded to five digits, except time and step."""
    return {
        name: float(f"{value:.5g}") if isinstance(value, float) and name != "time" else value
        for name, value in line.items()
    }


def worked_s(lines: list[Line]) -> float:
    """Wall-clock seconds from the first to the last line, without pauses."""
    times = [line["time"] for line in lines]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return sum(gap for gap in gaps if gap <= _LONGEST_GAP_S)


def losses(lines: list[Line]) -> list[str]:
    """Names of the plotted losses: those of the two streams if present, otherwise the total."""
    names = [name for name in ("loss_speech", "loss_background") if any(line.get(name) for line in lines)]
    return names or ["loss"]


if __name__ == "__main__":
    sys.exit(main())

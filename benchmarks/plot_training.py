"""The losses of a run, a panel a phase, as a picture.

    python benchmarks/plot_training.py runs/puppet/metrics.jsonl --out training.svg
    python benchmarks/plot_training.py runs/puppet/metrics.jsonl --log docs/training_log.jsonl --out …

A phase that was begun anew, or that went back to a checkpoint, is drawn as it went on in the end; `--log`
writes those lines. Printed is how long each phase took. Needs matplotlib: pip install -e '.[bench]'.
"""

import argparse
import itertools
import json
import pathlib
import sys
from typing import Any

_NUM_COLUMNS = 3
_LONGEST_GAP_S = 600.0  # between two lines of one phase; more than that is a pause
Line = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("metrics", type=pathlib.Path, help="metrics.jsonl of a run")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the picture: .svg or .png")
    parser.add_argument("--log", type=pathlib.Path, help="where the lines go that are drawn")
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
    """Lines by phase, in the order of their first appearance; of a step that came twice, the later line."""
    phases: dict[str, list[Line]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        lines = phases.setdefault(line["phase"], [])
        while lines and lines[-1]["step"] >= line["step"]:
            lines.pop()
        lines.append(line)
    return phases


def rounded(line: Line) -> Line:
    """With five digits, but for the clock and the step."""
    return {
        name: float(f"{value:.5g}") if isinstance(value, float) and name != "time" else value
        for name, value in line.items()
    }


def worked_s(lines: list[Line]) -> float:
    """Wall time from the first to the last line, without pauses."""
    times = [line["time"] for line in lines]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return sum(gap for gap in gaps if gap <= _LONGEST_GAP_S)


def losses(lines: list[Line]) -> list[str]:
    """What is drawn: the two streams where there are such, else the loss."""
    names = [name for name in ("loss_speech", "loss_background") if any(line.get(name) for line in lines)]
    return names or ["loss"]


if __name__ == "__main__":
    sys.exit(main())

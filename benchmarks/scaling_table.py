"""Estimates the step time of the size ladder on TPU slices, and its weak scaling, without hardware.

    python benchmarks/scaling_table.py                        # base, dualdub, large, xl: many minutes each
    python benchmarks/scaling_table.py --weak-scaling base    # constant work a chip on 16, 64 and 256 chips
    python benchmarks/scaling_table.py --only xl --keep docs/estimated/scaling.json

Requires libtpu (pip install 'libtpu==0.0.42.*') but no TPU. docs/scaling.md explains the figures; a test
compares it with `docs/estimated/scaling.json`, which holds a report for each row. The last line is the table
as JSON.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

if __name__ == "__main__":  # before JAX is imported
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

from dualdub_jax.config import Config, MeshConfig, load_config
from dualdub_jax.tools.aot import estimate
from dualdub_jax.tools.topology import Topology, parse_topology

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
_LADDER = (
    ("base", "v5e:4x4"),
    ("dualdub", "v5p:2x2x2"),
    ("dualdub", "v5e:4x4"),
    ("large", "v5e:8x8"),
    ("xl", "v5p:4x4x4"),
)
_WEAK_SCALING = ("v5e:4x4", "v5e:8x8", "v5e:16x16")
_COLUMNS = (
    "config",
    "slice, mesh",
    "clips",
    "GiB a chip",
    "TFLOP a chip, model / compiled",
    "HBM alone",
    "interconnect alone / exposed",
    "step",
    "MFU",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="NAME", help="one size of the ladder")
    parser.add_argument("--weak-scaling", metavar="NAME", help="one size on increasing numbers of v5e chips")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FILE", help="adds or replaces the reports here")
    args = parser.parse_args()
    if args.weak_scaling:
        config = load_config(str(_CONFIGS / f"{args.weak_scaling}.py"))
        cases = [(grown(config, parse_topology(name)), name) for name in _WEAK_SCALING]
    else:
        cases = [
            (load_config(str(_CONFIGS / f"{size}.py")), name)
            for size, name in _LADDER
            if args.only in (None, size)
        ]
    print(f"| {' | '.join(_COLUMNS)} |")
    print("|---" * len(_COLUMNS) + "|")
    reports = []
    for config, name in cases:
        reports.append(estimate(config, parse_topology(name)))
        if args.keep:
            keep(reports[-1], args.keep)
        print(as_row(reports[-1]), flush=True)
    figures = {f"{r['config']}_{r['topology']}_step_s": round(r["predicted_step_s"], 4) for r in reports}
    if args.weak_scaling:
        first, *_, last = reports
        figures["ratio_weak_scaling"] = round(first["predicted_step_s"] / last["predicted_step_s"], 3)
    print(json.dumps(figures))
    return 0


def keep(report: dict, path: pathlib.Path) -> None:
    """Adds a report to the file, or replaces the one of the same config and slice."""
    others = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    where = ("config", "topology")
    others = [each for each in others if [each[k] for k in where] != [report[k] for k in where]]
    reports = sorted([*others, report], key=lambda each: (each["parameters"], each["global_batch_size"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")


def grown(config: Config, topology: Topology) -> Config:
    """The config for a larger slice of the same kind of chip: equal clips a chip, a larger "data" axis."""
    smallest = parse_topology(_WEAK_SCALING[0]).num_devices
    times = topology.num_devices // smallest
    stages = tuple(dataclasses.replace(s, batch_size=s.batch_size * times) for s in config.stages)
    mesh = MeshConfig(data=-1, fsdp=config.mesh.fsdp)
    return dataclasses.replace(config, stages=stages, mesh=mesh)


def as_row(report: dict) -> str:
    """One row of the Markdown table for a report of `dualdub aot`."""
    mesh = " ".join(f"{axis}={size}" for axis, size in report["mesh"].items() if size > 1)
    flops, roofline = report["flops_per_device"], report["roofline"]
    moved, exposed = 1e3 * roofline["interconnect_s"], 1e3 * roofline["exposed_interconnect_s"]
    cells = (
        report["config"],
        f"{report['topology']}, {mesh}",
        str(report["global_batch_size"]),
        f"{report['bytes_per_device']['total'] / 2**30:.1f} of {report['hbm_bytes'] / 2**30:.0f}",
        f"{flops['model'] / 1e12:.1f} / {flops['with_recomputation'] / 1e12:.1f} "
        f"({flops['in_tiles'] / 1e12:.1f} in tiles)",
        f"{1e3 * roofline['hbm_s']:.0f} ms",
        f"{moved:.0f} / {exposed:.0f} ms",
        f"{report['predicted_step_s'] * 1e3:.0f} ms",
        f"{100 * report['mfu']:.0f}%",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())

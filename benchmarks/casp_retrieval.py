"""Retrieval accuracy of CASP on the true stems of held-out Puppet Stage clips.

    dualdub data build puppet_stage --out data
    python benchmarks/casp_retrieval.py --data data [--weights DIR] [--json OUT.json]

Prints, for seen and unseen voices, the mean cosine of matched pairs, its margin over mismatched pairs, and
the top-1 retrieval accuracy among 32 candidates (both directions, chance 3.1%) with its bootstrap 95%
interval.
"""

import argparse
import json
import pathlib

from dualdub_jax.data_pipeline.mixture import open_dataset
from dualdub_jax.data_pipeline.record import clip_id, decode_stem
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.metrics.casp import CaspMetric
from dualdub_jax.evaluation.statistics.bootstrap import estimate

SPLITS = ("test_seen", "test_unseen")


def read_clips(data_dir: str, split: str) -> list[Clip]:
    """Reads the true stems of a split; clips without speech have no score and are excluded."""
    clips = []
    for record in open_dataset(data_dir, "puppet_stage/soundtrack", split):
        clip = clip_id("soundtrack", record)
        speech, background = (
            decode_stem(record[stream], clip, float(record["duration_s"]), SAMPLE_RATE_HZ)
            for stream in ("speech", "background")
        )
        if speech.any():
            clips.append(Clip(clip, len(speech), speech=speech, background=background))
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data", help="output folder of `dualdub data build`")
    parser.add_argument("--weights", type=pathlib.Path, help="CASP weights (default: the bundled ones)")
    parser.add_argument("--json", type=pathlib.Path, help="also write the last line to this file")
    args = parser.parse_args()
    metric = CaspMetric(args.weights)
    values = {split: metric.score(read_clips(args.data, split)) for split in SPLITS}
    both = {name: [v for split in SPLITS for v in values[split][name]] for name in values[SPLITS[0]]}
    out: dict[str, object] = {"weights_sha256": metric.weights_sha256}
    print(f"{'split':<12}{'clips':>6}{'matched':>9}{'margin':>8}{'top-1 of 32':>13}  95% interval")
    for split, found in (*values.items(), ("both", both)):
        by_name = {figure.name: estimate(found[figure.name], figure) for figure in metric.figures}
        top1 = by_name["casp_retrieval_top1"]
        print(
            f"{split:<12}{top1.n:>6}{by_name['casp'].value:>9.3f}{by_name['casp_margin'].value:>8.3f}"
            f"{top1.value:>13.1%}  {top1.low:.1%} to {top1.high:.1%}"
        )
        out |= {f"{name}_{split}": round(e.value, 4) for name, e in by_name.items()}
        out |= {f"top1_low_{split}": round(top1.low, 4), f"top1_high_{split}": round(top1.high, 4)}
    out["num_clips"] = len(both["casp"])
    line = json.dumps(out)
    print(line)
    if args.json:
        args.json.write_text(line + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Time of every metric of `dualdub evaluate`, without generation.

    python benchmarks/evaluate.py --num-clips 12

Puppet Stage clips of split test_seen. Two rows are scored: the soundtracks of the next clip, as the
shuffled row has them, which analyses the truth too; and the same with the opposite sign, beside a truth
that is known by then. A metric's models are loaded before. CPU seconds of this process; the first line
names the processor. `clips_per_hour` is for four rows (ours, truth, codec, shuffled) at the time of one new
soundtrack each. The last line is JSON; `ratio_known_truth` is the time of rows that each analyse the truth
over that of rows that share it. Needs the extras "data" and "eval".
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import platform
import tempfile
import time
from collections.abc import Sequence

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.contracts.registry import all_metrics
from dualdub_jax.evaluation.run.scoring import missing_requirement
from dualdub_jax.evaluation.suites.puppet import PuppetSuite

NUM_ROWS = 4


def cpu_name() -> str:
    """The processor's name where Linux tells it."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def shuffled(clips: Sequence[Clip]) -> list[Clip]:
    """The clips with the soundtracks of the next ones, trimmed or not to their own length."""
    following = [*clips[1:], clips[0]]
    return [
        dataclasses.replace(clip, speech=other.speech, background=other.background)
        for clip, other in zip(clips, following, strict=True)
    ]


def cpu_seconds(metric: Metric, clips: Sequence[Clip]) -> float:
    """CPU seconds of scoring, all threads of the process."""
    start = time.process_time()
    for clip in clips:
        metric.score([clip])
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-clips", type=int, default=12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = PuppetSuite(pathlib.Path(folder), limit=2 * args.num_clips + 8, split="test_seen")
        made = (suite.load(clip_id).clip for clip_id in suite.ids)
        spoken = (with_truth(clip) for clip in made if clip.text)
        measure(list(itertools.islice(spoken, args.num_clips + 1)))


def with_truth(clip: Clip) -> Clip:
    """The clip with its own stems as the soundtrack."""
    return dataclasses.replace(clip, speech=clip.true_speech, background=clip.true_background)


def measure(clips: Sequence[Clip]) -> None:
    """Times all metrics and prints the table; the first clip is for loading models only."""
    warm, clips = clips[:1], clips[1:]
    others = shuffled(clips)
    # Another soundtrack beside the same truth, which by then is known.
    again = [dataclasses.replace(a, speech=-a.speech, background=-a.background) for a in others]
    mean_s = sum(clip.duration_s for clip in clips) / len(clips)
    print(f"{len(clips)} clips, mean {mean_s:.2f} s; {cpu_name()}")
    print(f"{'CPU s a clip':<16}{'first row':>12}{'next row':>12}{'clips/hour, 4 rows':>20}")
    totals = {"first": 0.0, "next": 0.0}
    for metric in all_metrics():
        if reason := missing_requirement(metric):
            print(f"{metric.name:<18}{reason}")
            continue
        metric.score(shuffled(warm + clips[:1])[:1])
        seconds = {"first": cpu_seconds(metric, others), "next": cpu_seconds(metric, again)}
        a_clip = {row: value / len(clips) for row, value in seconds.items()}
        four = a_clip["first"] + (NUM_ROWS - 1) * a_clip["next"]
        row_times = f"{a_clip['first']:>12.3f}{a_clip['next']:>12.3f}"
        print(f"{metric.name:<16}{row_times}{3600 / max(four, 1e-3):>20,.0f}")
        for row, value in a_clip.items():
            totals[row] += value
    four = totals["first"] + (NUM_ROWS - 1) * totals["next"]
    print(f"{'all':<16}{totals['first']:>12.3f}{totals['next']:>12.3f}{3600 / four:>20,.0f}")
    result = {
        "num_clips": len(clips),
        "cpu_s_a_clip_four_rows": round(four, 3),
        "clips_per_hour": round(3600 / four),
        "ratio_known_truth": round(NUM_ROWS * totals["first"] / four, 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Time of `dualdub evaluate`: of every metric, of the command with one process and by default, of intervals.

    python benchmarks/evaluate.py --num-clips 12

Puppet Stage clips of split test_seen; the first line names the processor. Needs the extras "data" and "eval".

1. Metrics, in CPU seconds of this process. Two rows are scored: the soundtracks of the next clip, as the
   shuffled row has them, which analyses the truth too; and the same with the opposite sign, beside a truth
   that is known by then. A metric's models are loaded before. `clips_per_hour` is for four rows (ours,
   truth, codec, shuffled) at the time of one new soundtrack each. `ratio_known_truth` is the time of rows
   that each analyse the truth over that of rows that share it.
2. The command with the bundled model, `--jobs 1 --batch-size 1` and by default, in wall-clock and CPU
   seconds of all its processes, start and loading of models included; compiled programs are cached before.
   `ratio_whole_…` and `ratio_scoring_…` are one process over the default: of the whole, and with
   soundtracks that are there.
3. Bootstrap intervals of the Fréchet distance of random embeddings, in CPU seconds:
   `ratio_frechet_intervals` is that of `Figure.summarise` on every draw, by QR and SVD, over that of
   `Figure.draws`.

The last line is JSON. On a machine that others use, CPU seconds are still right; wall-clock ratios are not.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Metric
from dualdub_jax.evaluation.contracts.registry import all_metrics
from dualdub_jax.evaluation.metrics.tagger import Tagger
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
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        suite = PuppetSuite(folder, limit=2 * args.num_clips + 8, split="test_seen")
        made = (suite.load(clip_id).clip for clip_id in suite.ids)
        spoken = (with_truth(clip) for clip in made if clip.text)
        result = measure_metrics(list(itertools.islice(spoken, args.num_clips + 1)))
        result |= measure_command(folder, args.num_clips)
    result |= measure_intervals()
    print(json.dumps(result))


def with_truth(clip: Clip) -> Clip:
    """The clip with its own stems as the soundtrack."""
    return dataclasses.replace(clip, speech=clip.true_speech, background=clip.true_background)


def measure_metrics(clips: Sequence[Clip]) -> dict[str, float]:
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
    return {
        "num_clips": len(clips),
        "cpu_s_a_clip_four_rows": round(four, 3),
        "clips_per_hour": round(3600 / four),
        "ratio_known_truth": round(NUM_ROWS * totals["first"] / four, 3),
    }


def measure_command(workdir: pathlib.Path, num_clips: int) -> dict[str, float]:
    """Times the command and prints a table.

    Args:
        workdir: of the evaluations.
        num_clips: evaluated.
    """
    one = ("--jobs", "1", "--batch-size", "1")
    run_command(workdir, 1, one)
    print(f"{'wall s, CPU s':<24}{'one process':>20}{'default':>20}")
    found = {}
    # Without soundtracks, then with those of the run before.
    for part, forgotten in (("whole", ("stems", "scores.sqlite*")), ("scoring", ("scores.sqlite*",))):
        times = []
        for options in (one, ()):
            for path in (path for pattern in forgotten for path in workdir.glob(pattern)):
                path.rename(workdir / f"old-{part}-{len(times)}-{path.name}")
            times.append(run_command(workdir, num_clips, options))
        texts = [f"{wall_s:.1f}, {cpu_s:.1f}" for wall_s, cpu_s in times]
        print(f"{part:<24}{texts[0]:>20}{texts[1]:>20}")
        for place, unit in enumerate(("wall", "cpu")):
            found[f"ratio_{part}_{unit}"] = round(times[0][place] / times[1][place], 3)
    return found


def run_command(workdir: pathlib.Path, num_clips: int, options: Sequence[str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of an evaluation, of all its processes."""
    command = [sys.executable, "-m", "dualdub_jax.apps.cli", "evaluate", "--suite", "puppet", "--split",
               "test_seen", "--limit", str(num_clips), "--workdir", str(workdir), *options]  # fmt: skip
    before, start = cpu_of_children(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, cpu_of_children() - before


def cpu_of_children() -> float:
    """CPU seconds of the processes that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_intervals(num_clips: int = 400, num_draws: int = 5) -> dict[str, float]:
    """Times draws of the Fréchet distance, with embeddings as wide and as many a clip as YAMNet's."""
    fad = next(figure for figure in Tagger.figures if figure.name == "fad")
    rng = np.random.default_rng(0)
    clips = list(rng.normal(size=(num_clips, 8, 2, 1024)))
    draws = rng.integers(num_clips, size=(num_draws, num_clips))
    start = time.process_time()
    slow = [fad.summarise([clips[i] for i in draw]) for draw in draws]
    middle = time.process_time()
    fast = fad.draws(clips, draws)
    end = time.process_time()
    np.testing.assert_allclose(fast, slow, rtol=1e-6)
    print(f"Fréchet interval, CPU s a draw: {(middle - start) / num_draws:.2f} by QR and SVD, "
          f"{(end - middle) / num_draws:.2f} by weights")  # fmt: skip
    return {"ratio_frechet_intervals": round((middle - start) / (end - middle), 3)}


if __name__ == "__main__":
    main()

"""The cost of checkpoints: equal runs without checkpoints, with asynchronous and with blocking ones.

    python benchmarks/goodput.py                                  # the puppet model, random batches
    python benchmarks/goodput.py --config configs/puppet.py:tiny --steps 250 --save-every 100 --batch-size 16

The three modes alternate, in a different order in each repeat. Measurement starts with step 2 and ends with
the last step, which excludes compilation and the final save; leave enough steps after the last periodic save
for it to finish. Wall time and processor time of all threads are reported: other programs on the same cores
affect mainly the first; on fully loaded cores both agree.

The table has medians over repeats; the last line is the same as JSON. `overhead_async` is the relative
increase of wall time with asynchronous checkpoints, `overhead_cpu_async` that of processor time, and
`cpu_s_a_save_async` the processor seconds of one save, to be divided by the save interval of a real run.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile
import time

import jax
import numpy as np

from dualdub_jax.config import CheckpointConfig, Config, StageConfig, load_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.models.batch import example_batch
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.kept_pages import keep_pages
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter

WAYS = ("none", "async", "blocking")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/puppet.py", help="a config file")
    parser.add_argument("--steps", type=int, default=130, help="of each run")
    parser.add_argument("--save-every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config = load_config(args.config)
    keep_pages()  # as `dualdub train`
    with tempfile.TemporaryDirectory() as folder:
        # The same program in every run: compiled once.
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(folder) / "compiled"))
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for repeat in range(args.repeats):
            for way in WAYS[repeat % len(WAYS) :] + WAYS[: repeat % len(WAYS)]:
                workdir = pathlib.Path(folder) / f"{way}_{repeat}"
                runs[way].append(run(config, args, way, workdir))
    print(f"{'checkpoints':<12} {'wall s':>8} {'added':>8} {'CPU s':>8} {'added':>8} {'blocked s/save':>15}")
    figures: dict[str, float] = {"steps": args.steps, "save_every": args.save_every, "repeats": args.repeats}
    num_saves = (args.steps - 1) // args.save_every
    medians = {
        way: {name: statistics.median(each[name] for each in runs[way]) for name in runs[way][0]}
        for way in WAYS
    }
    for way, of_way in medians.items():
        wall_added, cpu_added = (of_way[name] / medians["none"][name] - 1 for name in ("wall_s", "cpu_s"))
        still_s = of_way["checkpoint_s"] * (args.steps - 1) / num_saves if way != "none" else 0.0
        print(
            f"{way:<12} {of_way['wall_s']:8.2f} {wall_added:8.1%} {of_way['cpu_s']:8.2f} {cpu_added:8.1%} "
            f"{still_s:15.3f}"
        )
        figures |= {f"{name}_{way}": round(of_way[name], 3) for name in ("wall_s", "cpu_s")}
        if way != "none":
            figures |= {f"overhead_{way}": round(wall_added, 4), f"overhead_cpu_{way}": round(cpu_added, 4)}
            added_s = (of_way["cpu_s"] - medians["none"]["cpu_s"]) / num_saves
            figures |= {f"cpu_s_a_save_{way}": round(added_s, 3), f"still_s_a_save_{way}": round(still_s, 3)}
    print(json.dumps(figures))


def run(config: Config, args: argparse.Namespace, way: str, workdir: pathlib.Path) -> dict[str, float]:
    """Runs one mode: wall and processor seconds from step 2 to the last, and mean `checkpoint_s`."""
    checkpoint = CheckpointConfig(
        save_every_steps=args.steps + 1 if way == "none" else args.save_every, use_async=way == "async"
    )
    config = dataclasses.replace(config, checkpoint=checkpoint, log_every_steps=args.steps)
    stage = StageConfig(name="stage", num_steps=args.steps, batch_size=args.batch_size)
    batches = RandomBatches(config, args.batch_size)
    phase = stage_phase(config, stage, lambda: batches)
    writer = MetricWriter(workdir)
    run_phase(phase, config, make_mesh(config.mesh), workdir, writer)
    writer.close()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    (first_wall, first_cpu), *_, (last_wall, last_cpu) = batches.clock[1:]
    return {
        "wall_s": last_wall - first_wall,
        "cpu_s": last_cpu - first_cpu,
        "checkpoint_s": lines[-1]["checkpoint_s"],
    }


class RandomBatches:
    """Repeats one random batch, so that input costs nothing.

    Attributes:
        clock: wall and processor time in seconds at each request of a batch, the start of a step.
    """

    def __init__(self, config: Config, batch_size: int):
        rng = np.random.default_rng(0)
        shapes = jax.tree.map(np.asarray, example_batch(config, batch_size))
        batch = shapes.replace(
            video=rng.integers(0, 256, shapes.video.shape, np.uint8),
            speech_tokens=rng.integers(
                0, config.streams["speech"].codec.codebook_size, shapes.speech_tokens.shape, np.int32
            ),
            background_tokens=rng.integers(
                0, config.streams["background"].codec.codebook_size, shapes.background_tokens.shape, np.int32
            ),
        )
        self._fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        self.clock: list[tuple[float, float]] = []
        self._ids = [f"random:{i}" for i in range(batch_size)]

    def __next__(self) -> dict:
        self.clock.append((time.monotonic(), time.process_time()))
        return self._fields | {"example_ids": self._ids}

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main()

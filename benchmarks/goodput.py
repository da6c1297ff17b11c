"""What checkpoints cost a run: the same steps with none, with ones in the background, with blocking ones.

    python benchmarks/goodput.py                                  # the puppet model, random batches
    python benchmarks/goodput.py --steps 60 --save-every 30 --batch-size 8 --repeats 3

Each way of saving is run in turn, in another order each time. Time is counted from the end of step 1
to the end of the last one, so that compiling and the save at the end do not count. The table has the median
over repeats; the last line is the same as JSON: `overhead_async` is the share that async checkpoints add.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile

import jax
import numpy as np

from dualdub_jax.config import CheckpointConfig, Config, StageConfig, load_config
from dualdub_jax.models.dualdub import example_batch
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.training.step import stage_phase

WAYS = ("none", "async", "blocking")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/puppet.py", help="a config file")
    parser.add_argument("--steps", type=int, default=41, help="of each run")
    parser.add_argument("--save-every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config = load_config(args.config)
    with tempfile.TemporaryDirectory() as folder:
        # The same program nine times: compiled once.
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(folder) / "compiled"))
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for repeat in range(args.repeats):
            for way in WAYS[repeat % len(WAYS) :] + WAYS[: repeat % len(WAYS)]:
                workdir = pathlib.Path(folder) / f"{way}_{repeat}"
                runs[way].append(run(config, args, way, workdir))
    print(
        f"{'checkpoints':<12} {'s a run':>10} {'added':>8} {'standing still s a step':>24} {'data wait':>10}"
    )
    figures: dict[str, float] = {"steps": args.steps, "save_every": args.save_every}
    alone_s = statistics.median(each["seconds"] for each in runs["none"])
    for way in WAYS:
        seconds = statistics.median(each["seconds"] for each in runs[way])
        still = statistics.median(each["checkpoint_s"] for each in runs[way])
        wait = statistics.median(each["data_wait_s"] for each in runs[way])
        added = seconds / alone_s - 1
        print(f"{way:<12} {seconds:10.2f} {added:8.1%} {still:24.4f} {wait:10.4f}")
        figures |= {f"seconds_{way}": round(seconds, 3), f"checkpoint_s_{way}": round(still, 4)}
        if way != "none":
            figures[f"overhead_{way}"] = round(added, 4)
    print(json.dumps(figures))


def run(config: Config, args: argparse.Namespace, way: str, workdir: pathlib.Path) -> dict[str, float]:
    """One run, from its metrics: seconds from step 1 to the last, and means a step."""
    checkpoint = CheckpointConfig(
        save_every_steps=args.steps + 1 if way == "none" else args.save_every, use_async=way == "async"
    )
    config = dataclasses.replace(config, checkpoint=checkpoint, log_every_steps=args.steps)
    stage = StageConfig(name="stage", num_steps=args.steps, batch_size=args.batch_size)
    phase = stage_phase(config, stage, lambda: RandomBatches(config, args.batch_size))
    writer = MetricWriter(workdir)
    run_phase(phase, config, make_mesh(config.mesh), workdir, writer)
    writer.close()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = lines[-1]
    return {"seconds": last["time"] - lines[0]["time"]} | {
        name: last[name] for name in ("checkpoint_s", "data_wait_s")
    }


class RandomBatches:
    """One random batch, again and again: the input costs nothing."""

    def __init__(self, config: Config, batch_size: int):
        rng = np.random.default_rng(0)
        shapes = jax.tree.map(np.asarray, example_batch(config, batch_size))
        batch = shapes.replace(
            video=rng.integers(0, 256, shapes.video.shape, np.uint8),
            speech_tokens=rng.integers(
                0, config.speech_codec.codebook_size, shapes.speech_tokens.shape, np.int32
            ),
            background_tokens=rng.integers(
                0, config.background_codec.codebook_size, shapes.background_tokens.shape, np.int32
            ),
        )
        self._fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        self._ids = [f"random:{i}" for i in range(batch_size)]

    def __next__(self) -> dict:
        return self._fields | {"example_ids": self._ids}

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main()

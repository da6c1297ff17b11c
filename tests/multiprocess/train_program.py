"""One process of a tiny run: `python -m tests.multiprocess.train_program WORKDIR JSON`.

The JSON has the config's changes under "config", "num_steps", "mesh", perhaps "cluster" (coordinator, number
of processes, id), "held_out" to evaluate, "buckets" for batches of several lengths, and perhaps what is to go
wrong. Batches are made from their number and the rows wanted alone. Prints a line for each step that is sent,
so that a test can kill it anywhere, and "done" with a digest of the parameters at the end. Leaves as `dualdub
train` does.
"""

import dataclasses
import functools
import json
import resource
import sys
import time
import zlib

import grain
import jax
import numpy as np

from dualdub_jax.apps.cli import _status_of
from dualdub_jax.config import MeshConfig, OptimizerConfig, StageConfig, from_dict
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.data_pipeline.length_buckets import (
    BucketBatches,
    BucketPlan,
    buckets_of,
    with_num_frames,
)
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import batch_share, make_mesh
from dualdub_jax.parallel.simulated_devices import give_threads
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.training.held_out import HeldOutSet, HeldOutSets
from dualdub_jax.training.loop import TrainingDivergedError, TrainingStoppedError, run_phase
from dualdub_jax.training.metrics import MetricWriter
from tests.tiny import random_batch, tiny_config

BATCH_SIZE = 8


class NumberedBatches:
    """Batch k is made from k alone, and this process takes its share of the rows."""

    def __init__(self, config, share, options):
        self._config, (self._index, self._count) = config, share
        self._options, self._next = options, options.get("first", 0)

    def __next__(self):
        k, self._next = self._next, self._next + 1
        if "first" not in self._options:
            print(f"batch {k}", flush=True)
        time.sleep(self._options.get("step_s", 0.0))
        if k == self._options.get("fails_at"):
            raise OSError("this process has lost its data")
        batch = random_batch(self._config, BATCH_SIZE, seed=k)
        size = BATCH_SIZE // self._count
        rows = slice(self._index * size, (self._index + 1) * size)
        fields = {name: value[rows] for name, value in vars(batch).items() if value is not None}
        return fields | {"example_ids": [f"data:{k}-{row}" for row in range(BATCH_SIZE)[rows]]}

    def held_out(self, num_clips):
        """One set of two batches, if the options have "held_out"."""
        if "held_out" not in self._options:
            return HeldOutSets([], [])
        numbers = range(1000, 1002)
        rows = [NumberedBatches(self._config, (self._index, self._count), {"first": k}) for k in numbers]
        return HeldOutSets([HeldOutSet("numbered", 1.0, HeldOutBatches([next(each) for each in rows]))], [])

    def get_state(self):
        return {"next": self._next}

    def set_state(self, state):
        self._next = state["next"]

    def close(self):
        pass


class BucketedBatches(NumberedBatches):
    """Batches of the lengths in the options and of the window's, planned and shared as those of a stage."""

    def __init__(self, config, share, options):
        super().__init__(config, share, options)
        stage = StageConfig(name="stage", batch_size=BATCH_SIZE, buckets=tuple(options["buckets"]))
        buckets = buckets_of(stage, config, "stage")
        plan = BucketPlan(
            lambda example: example % 3 % len(buckets), [bucket.batch_size for bucket in buckets]
        )
        numbers = grain.MapDataset.range(10**6)
        examples = [
            numbers.map(functools.partial(_row, with_num_frames(config, bucket.num_frames)))
            for bucket in buckets
        ]
        self._iterator = BatchIterator(
            BucketBatches(plan, examples, share), lambda batch: batch, 0, {"name": "rows"}
        )

    def __next__(self):
        print(f"batch {self._iterator.get_state()['next_batch']}", flush=True)
        time.sleep(self._options.get("step_s", 0.0))
        if self._iterator.get_state()["next_batch"] == self._options.get("fails_at"):
            raise OSError("this process has lost its data")
        return next(self._iterator)

    def get_state(self):
        return self._iterator.get_state()

    def set_state(self, state):
        self._iterator.set_state(state)

    def close(self):
        self._iterator.close()


def _row(config, number):
    """One example of batches."""
    fields = vars(random_batch(config, 1, seed=number))
    fields = {name: value[0] for name, value in fields.items() if value is not None}
    return fields | {"example_ids": f"data:{number}", "bad_records": []}


class HeldOutBatches:
    """Batches that are there, again and again."""

    def __init__(self, batches):
        self._batches = batches

    def __iter__(self):
        return iter(self._batches)

    def get_state(self):
        return {"stream": {}}

    def set_state(self, state):
        pass

    def close(self):
        pass


def main() -> int:
    give_threads()
    workdir, options = as_path(sys.argv[1]), json.loads(sys.argv[2])
    if "cluster" in options:
        distributed.initialize(*options["cluster"])
    if "largest_file" in options:
        # A disk that takes no more: the same error to whoever writes, and no rights needed.
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["largest_file"],) * 2)
    status = _status_of(lambda: status_of_training(workdir, options))
    if "cluster" in options:
        distributed.leave(status, together=status in (0, 130))
    return status


def status_of_training(workdir: StorePath, options) -> int:
    """The exit status that `dualdub train` has for each end of a run."""
    try:
        train(workdir, options)
    except TrainingStoppedError as stopped:
        print(stopped)
        return 130
    except (TrainingDivergedError, distributed.PeerLostError) as failed:
        print(failed)
        return 1
    return 0


def train(workdir: StorePath, options) -> None:
    config = tiny_config(log_every_steps=1, mesh=from_dict(options.get("mesh", {}), MeshConfig))
    config = dataclasses.replace(config, **{
        name: from_dict(values, type(getattr(config, name))) if isinstance(values, dict) else values
        for name, values in options.get("config", {}).items()
    })  # fmt: skip
    stage = StageConfig(
        name="stage",
        num_steps=options["num_steps"],
        batch_size=BATCH_SIZE,
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=1),
    )
    mesh = make_mesh(config.mesh)
    batches = BucketedBatches if "buckets" in options else NumberedBatches
    phase = stage_phase(config, stage, lambda: batches(config, batch_share(mesh), options))
    writer = MetricWriter(workdir)
    params = run_phase(phase, config, mesh, workdir, writer)
    writer.close()
    whole = jax.tree.leaves(distributed.local_copy(params))
    print("done", zlib.crc32(b"".join(np.asarray(x).tobytes() for x in whole)), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""The count of bad records: its limit by dataset, its state, and what a run writes of it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.config import BadRecordConfig, CheckpointConfig, Config, MeshConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.bad_records import BadRecord, BadRecords, allowed
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import TrainState


def bad(number, dataset="films", num_records=100):
    return BadRecord(dataset, num_records, f"{dataset}:{number}", "its video cannot be decoded")


@pytest.mark.parametrize(
    ("share", "num_records", "expected"),
    [(0.0, 1000, 0), (0.01, 10, 1), (0.01, 250, 2), (0.5, 10, 5), (1.0, 7, 7)],
)
def test_a_share_above_zero_accepts_at_least_one(share, num_records, expected):
    assert allowed(num_records, BadRecordConfig(share)) == expected


def test_each_record_counts_once_and_each_dataset_by_itself():
    records = BadRecords(BadRecordConfig(0.02), None)
    records.add([bad(1), bad(1), bad(2), bad(1, "other"), bad(2, "other")])
    assert [record.id for record in records.settle()] == ["films:1", "films:2", "other:1", "other:2"]
    records.add([bad(1), bad(2)])
    assert records.settle() == [] and records.total == 4
    records.add([bad(3)])
    message = r"films: 3 of its 100 records cannot be used.*accepts 2: films:1: its video.*films:3"
    with pytest.raises(UserError, match=message):
        records.settle()


def test_a_resumed_run_knows_them_and_stops_at_the_same_one():
    first = BadRecords(BadRecordConfig(0.01), None)
    first.add([bad(1)])
    first.settle()
    resumed = BadRecords(BadRecordConfig(0.01), json.loads(json.dumps(first.state())))
    assert resumed.total == 1
    resumed.add([bad(1)])
    assert resumed.settle() == []
    resumed.add([bad(2)])
    with pytest.raises(UserError, match="2 of its 100 records"):
        resumed.settle()


class _Batches:
    """Batch k replaces the bad records that are given for k."""

    def __init__(self, reports):
        self._reports, self._next = reports, 0

    def __next__(self):
        self.bad_records = self._reports.get(self._next, [])
        self._next += 1
        return {"x": np.ones((2, 1), np.float32), "example_ids": ["a", "b"]}

    def get_state(self):
        return {"next": self._next}

    def set_state(self, state):
        self._next = state["next"]

    def close(self):
        pass


def _run(workdir, reports, num_steps, share=0.02):
    config = Config(
        bad_records=BadRecordConfig(share), checkpoint=CheckpointConfig(save_every_steps=2), log_every_steps=1
    )

    def step(state, batch, rng, frozen):
        return state.replace(step=state.step + 1), {"loss": jnp.mean(batch["x"])}

    phase = Phase(
        name="phase",
        num_steps=num_steps,
        settings=settings_of(seed=0),
        init=lambda rng, initial: TrainState(jnp.int32(0), {"w": jnp.zeros(1)}, None, None),
        initial=None,
        step=step,
        make_batches=lambda: _Batches(reports),
        prepare=lambda batch: batch,
        parameters=lambda state: state.params,
    )
    writer = MetricWriter(workdir)
    try:
        run_phase(phase, config, make_mesh(MeshConfig(), None), workdir, writer)
    finally:
        writer.close()
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_logs_counts_and_stops(tmp_path, capsys):
    reports = {1: [bad(1)], 2: [bad(1)], 5: [bad(2)], 6: [bad(3)]}
    lines = _run(tmp_path, reports, 4)
    assert [line.get("bad_records", 0) for line in lines] == [0, 1, 1, 1]
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert event["event"] == "bad_record" and event["step"] == 2
    assert event["id"] == "films:1" and event["reason"] == "its video cannot be decoded"
    assert "films:1" in capsys.readouterr().out
    # Resumed, the known ones still count, and the third is one too many.
    with pytest.raises(UserError, match=r"films: 3 of its 100 records.*films:3"):
        _run(tmp_path, reports, 8)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["bad_records"] for line in lines[4:]] == [1, 2]

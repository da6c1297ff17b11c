"""The held-out loss: it leaves training as it is, and its lowest value marks a step that is kept."""

import dataclasses

import jax
import numpy as np
import pytest

from dualdub_jax.config import CheckpointConfig, HeldOutConfig
from dualdub_jax.training.checkpoint import best_mark
from dualdub_jax.training.held_out import loss_of_step
from tests.training.toy_phase import (
    CONFIG,
    STAGE,
    ToyBatches,
    events_of,
    interrupt_toy,
    metrics_of,
    rows,
    run_toy,
    toy_loss,
    toy_phase,
    with_optimizer,
)

SETS = {"films": 1.0, "plays": 3.0}
NUM_CLIPS = 4
EVALUATED = dataclasses.replace(CONFIG, held_out=HeldOutConfig(every_steps=2, num_clips=NUM_CLIPS))
# The loss grows from the second step on.
DIVERGING = with_optimizer(STAGE, learning_rate=3.0, clip_norm=1e9)


def _steps(workdir):
    return sorted(int(path.name) for path in (workdir / "toy").iterdir() if path.name.isdigit())


def _evaluated(workdir):
    return {line["step"]: line for line in metrics_of(workdir) if "eval/loss" in line}


def test_training_with_and_without_it_gives_the_same_bits(tmp_path):
    without, seen_without = run_toy(tmp_path / "without", config=CONFIG)
    kernel, seen = run_toy(tmp_path / "with", config=EVALUATED, held_out=SETS)
    np.testing.assert_array_equal(kernel, without)
    assert seen == seen_without
    losses = [[line["loss"] for line in metrics_of(tmp_path / name)] for name in ("with", "without")]
    assert losses[0] == losses[1]


def test_it_is_measured_at_its_interval_and_at_the_end_by_task(tmp_path, capsys):
    stage = dataclasses.replace(STAGE, num_steps=5)
    kernel, _ = run_toy(tmp_path, stage, EVALUATED, held_out=SETS)
    found = _evaluated(tmp_path)
    assert list(found) == [2, 4, 5]
    of_task = {
        name: np.mean([toy_loss(kernel, rows(seed, NUM_CLIPS)) for seed in seeds])
        for name, seeds in {"films": (100, 101), "plays": (200, 201)}.items()
    }
    for name, value in of_task.items():
        assert found[5][f"eval/{name}/loss"] == pytest.approx(value, rel=1e-5)
    mean = 0.25 * of_task["films"] + 0.75 * of_task["plays"]
    assert found[5]["eval/loss"] == pytest.approx(mean, rel=1e-5)
    assert found[5]["evaluation_s"] > 0
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("toy 5/5")]
    assert "eval/loss" in shown and "eval/films" not in shown
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"toy/eval/plays/loss" in events.read_bytes()


def test_datasets_without_a_split_are_named_once_and_an_interval_of_zero_is_silent(tmp_path, capsys):
    run_toy(tmp_path / "some", config=EVALUATED, held_out={"plays": 1.0})
    said = capsys.readouterr().out
    assert said.count("toy: no held-out loss of films, without a split") == 1 and "held_out_split" in said
    off = dataclasses.replace(CONFIG, held_out=HeldOutConfig(every_steps=0))
    run_toy(tmp_path / "off", config=off, held_out=SETS)
    assert "held" not in capsys.readouterr().out and not _evaluated(tmp_path / "off")


def test_the_best_step_is_saved_marked_and_kept(tmp_path):
    config = dataclasses.replace(
        EVALUATED,
        held_out=HeldOutConfig(every_steps=1, num_clips=NUM_CLIPS),
        checkpoint=CheckpointConfig(save_every_steps=4, keep_last=1, use_async=False),
    )
    stage = dataclasses.replace(DIVERGING, num_steps=12)
    run_toy(tmp_path / "whole", stage, config, held_out=SETS)
    losses = {step: line["eval/loss"] for step, line in _evaluated(tmp_path / "whole").items()}
    best = min(losses, key=losses.get)
    assert best not in (4, 8, 12)
    mark = best_mark(tmp_path / "whole" / "toy")
    assert (mark.step, mark.loss) == (best, losses[best])
    assert _steps(tmp_path / "whole") == [best, 12]
    assert _evaluated(tmp_path / "whole")[12]["eval/best_step"] == best
    assert events_of(tmp_path / "whole")[-1] == {
        "phase": "toy", "step": 12, "event": "best", "best_step": best, "loss": losses[best],
    }  # fmt: skip
    # The same with an interruption after it.
    interrupt_toy(tmp_path / "broken", 10, stage=stage, config=config, held_out=SETS)
    run_toy(tmp_path / "broken", stage, config, held_out=SETS)
    assert best_mark(tmp_path / "broken" / "toy") == mark
    assert _steps(tmp_path / "broken") == [best, 12]


def test_losses_on_other_clips_are_not_compared(tmp_path):
    run_toy(tmp_path, DIVERGING, EVALUATED, held_out=SETS)
    before = best_mark(tmp_path / "toy")
    longer = dataclasses.replace(DIVERGING, num_steps=8)
    run_toy(tmp_path, longer, EVALUATED, extend=True, held_out={"plays": 1.0})
    after = best_mark(tmp_path / "toy")
    assert after.set != before.set and after.step == 8


def test_a_phase_without_a_measure_of_its_own_reports_the_metrics_of_its_step_averaged():
    phase = toy_phase(STAGE, ToyBatches())
    state = phase.init(jax.random.key(0), None)
    average = {"kernel": np.ones((3, 1), np.float32)}
    loss = loss_of_step(phase)
    batch = {"x": rows(1, NUM_CLIPS)}
    sums = loss.measure(state.replace(ema_params=average), batch, jax.random.key(1), None)
    assert set(sums) == {"loss"} and not loss.marks_best
    wanted = phase.step(state.replace(params=average), batch, jax.random.key(1), None)[1]["loss"]
    assert loss.summarise({name: np.asarray(each) for name, each in sums.items()})["loss"] == pytest.approx(
        float(wanted)
    )

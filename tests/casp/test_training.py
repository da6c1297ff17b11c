"""CASP's phase, and `dualdub train` with a CASP config from its command to its folder."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.casp import bundle
from dualdub_jax.casp.model import MAX_LOG_SCALE, contrastive_loss
from dualdub_jax.casp.training import casp_phase, make_casp_optimizer
from dualdub_jax.config import BeatsConfig, CaspConfig, CaspTrainingConfig, Config, OptimizerConfig
from dualdub_jax.errors import UserError
from tests import tiny_dataset

ENCODER = BeatsConfig(
    num_mels=32, patch_width=8, width=16, num_layers=1, num_heads=2, mlp_width=8, conv_num_groups=2,
    conv_kernel_size=4, gradient_decay=1.0,
)  # fmt: skip
CONFIG = Config(
    casp=CaspConfig(encoder=ENCODER, train_crop_samples=6000, train_window_samples=6100),
    casp_training=CaspTrainingConfig(
        num_steps=200,
        optimizer=OptimizerConfig(
            learning_rate=3e-3, warmup_steps=5, final_learning_rate_ratio=0.0, b2=0.99, clip_norm=0.0
        ),
    ),
)


def _pairs(count: int) -> dict[str, np.ndarray]:
    """Noise of a brightness that both stems of a pair share."""
    rng = np.random.default_rng(0)
    stems = rng.normal(size=(2, count, 6000)).astype(np.float32)
    for i in range(count):
        stems[:, i, 1:] += (2 * i / (count - 1) - 1) * stems[:, i, :-1]
    return {"speech": stems[0], "background": stems[1], "has_both": np.ones(count, bool)}


def _phase(config: Config = CONFIG, audio_encoder=None):
    return casp_phase(config, lambda: None, audio_encoder)


def _start(phase):
    return jax.jit(lambda rng, initial: nn.unbox(phase.init(rng, initial)))(jax.random.key(0), phase.initial)


@pytest.fixture(scope="module")
def phase():
    return _phase()


@pytest.fixture(scope="module")
def step(phase):
    return jax.jit(phase.step)


def test_learns_which_stems_belong_together(phase, step):
    state, batch = _start(phase), _pairs(2)
    state, first = step(state, batch, jax.random.key(0))
    for _ in range(40):
        state, last = step(state, batch, jax.random.key(0))
    assert float(first["loss"]) == pytest.approx(np.log(2), abs=0.3)
    assert float(last["loss"]) < 0.1
    assert float(last["top1"]) == 1.0


@pytest.mark.parametrize("start", [7.0, -7.0])
def test_the_temperature_is_clamped_after_each_step(phase, step, start):
    state = _start(phase)
    state = state.replace(params=state.params | {"logit_scale": np.float32(start)})
    state, _ = step(state, _pairs(4), jax.random.key(0))
    assert float(state.params["logit_scale"]) == pytest.approx(np.sign(start) * MAX_LOG_SCALE)


def test_level_silence_and_padding_do_no_harm(phase, step):
    batch = _pairs(4)
    batch["speech"][1] = 0.0
    batch["has_both"][1] = False
    state, metrics = step(_start(phase), batch, jax.random.key(0))
    assert np.isfinite(float(metrics["loss"]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    louder = batch | {"speech": 0.1 * batch["speech"], "background": batch["background"] + 0.1}
    _, again = step(_start(phase), louder, jax.random.key(0))
    assert float(again["loss"]) == pytest.approx(float(metrics["loss"]), abs=1e-4)


def test_pairs_that_do_not_count_are_no_wrong_answers():
    logits = jax.random.normal(jax.random.key(0), (5, 5))
    is_pair = np.array([True, True, False, True, False])
    loss, accuracy = contrastive_loss(logits, is_pair)
    kept = np.asarray(logits)[np.ix_(is_pair, is_pair)]
    expected = np.mean(
        [optax.softmax_cross_entropy_with_integer_labels(x, np.arange(3)).mean() for x in (kept, kept.T)]
    )
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    assert 0 <= float(accuracy) <= 1
    assert float(contrastive_loss(logits, np.zeros(5, bool))[0]) == 0.0


def test_decay_touches_everything_as_in_the_authors_code():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, clip_norm=0.0)
    optimizer = make_casp_optimizer(config, num_steps=100)
    params = {"kernel": np.ones((2, 2)), "scale": np.ones(2), "logit_scale": np.float64(1.0)}
    state, still = optimizer.init(params), jax.tree.map(np.zeros_like, params)
    for _ in range(2):  # the first has a learning rate of zero
        updates, state = optimizer.update(still, state, params)
    for update in jax.tree.leaves(updates):
        np.testing.assert_allclose(update, -0.05, rtol=1e-3)


def test_the_background_encoder_starts_from_given_weights():
    given = _start(_phase()).params["speech"]["encoder"]
    params = _start(_phase(audio_encoder=given)).params
    jax.tree.map(np.testing.assert_array_equal, params["background"]["encoder"], given)
    assert not np.array_equal(
        params["background"]["pooling"]["hidden"]["kernel"], params["speech"]["pooling"]["hidden"]["kernel"]
    )


def test_windows_that_do_not_fit_are_refused():
    casp = dataclasses.replace(CONFIG.casp, train_crop_samples=7000)
    with pytest.raises(
        UserError, match=r"train_crop_samples=7000 does not fit casp\.train_window_samples=6100"
    ):
        _phase(dataclasses.replace(CONFIG, casp=casp))


@pytest.fixture(scope="module")
def command(tiny_data_dir):
    return [
        "train", "--config", "configs/casp_puppet.py:tiny", f"--config.data_dir={tiny_data_dir}",
        "--config.casp_training.mixture.0.name=tiny_films/soundtrack",
        "--config.casp.train_crop_samples=4000", "--config.casp.train_window_samples=4000",
    ]  # fmt: skip


def test_trains_and_leaves_weights_that_load(tmp_path, command, capsys):
    workdir = tmp_path / "run"
    assert main([*command, "--workdir", str(workdir)]) == 0
    assert f"wrote {workdir}/bundle" in capsys.readouterr().out
    config, params = bundle.load(workdir / "bundle", "casp")
    assert config.encoder.width == 16
    assert params["speech"]["encoder"]["layers"]["up"]["kernel"].shape == (2, 16, 24)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert main([*command, "--workdir", str(workdir)]) == 0  # all is done: nothing is trained
    assert (workdir / "metrics.jsonl").read_text().splitlines() == lines


def test_more_steps_on_other_clips_from_the_command_line(tmp_path, command, capsys, monkeypatch):
    workdir, data_dir = tmp_path / "run", tmp_path / "data"
    command = [*command, "--workdir", str(workdir), "--config.held_out.every_steps=2"]
    assert main(command) == 0
    monkeypatch.setattr(tiny_dataset, "NUM_TRAIN_CLIPS", tiny_dataset.NUM_TRAIN_CLIPS - 1)
    tiny_dataset.write_tiny_datasets(data_dir)
    command.append(f"--config.data_dir={data_dir}")
    capsys.readouterr()
    # Finished, it is kept.
    assert main(command) == 0
    assert (
        "finished at step 6 and kept, although tiny_films/soundtrack had 7 clips" in capsys.readouterr().out
    )
    before = (workdir / "run_config.json").read_text()
    command.append("--config.casp_training.num_steps=8")
    for flag, named in (
        (None, "was started with --config.casp_training.num_steps=6, but this run has"),
        (
            "--extend",
            f"{workdir}/casp: the data have changed since step 6: tiny_films/soundtrack had 7 clips (",
        ),
    ):
        command += [flag] if flag else []
        assert main(command) == 2
        assert named in capsys.readouterr().err
    assert (workdir / "run_config.json").read_text() == before
    assert main([*command, "--config.accept_changed_data=true"]) == 0
    history = json.loads((workdir / "run_config.json").read_text())["history"]
    assert [(line["event"], line["step"]) for line in history] == [
        ("setting_changed", 6),
        ("data_changed", 6),
    ]
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 8
    assert {"eval/loss", "eval/top1", "eval/tiny_films/soundtrack/loss", "eval/best_step"} <= set(last)


def test_what_is_missing_is_named(tmp_path, command, capsys):
    missing = tmp_path / "beats"
    arguments = [*command, "--workdir", str(tmp_path / "run")]
    assert main([*arguments, f"--config.casp_training.audio_encoder={missing}"]) == 2
    assert f"{missing}: no BEATS weights there" in capsys.readouterr().err
    assert main([*arguments, "--config.task=clap"]) == 2
    assert "config.task: 'clap' is none of soundtrack, casp" in capsys.readouterr().err

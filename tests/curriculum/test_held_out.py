"""The held-out loss of a stage: that of its whole batches, without dropout, in parts that the tasks share."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from dualdub_jax.config import LossConfig, StageConfig
from dualdub_jax.curriculum.losses import stream_loss
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.types import STREAMS
from tests.tiny import random_batch, tiny_config

# Dropout of conditions and of the past would change the loss from key to key.
CONFIG = tiny_config(loss=LossConfig(condition_dropout_rate=0.5, past_dropout_rate=0.5, codebook_decay=0.5))
STAGE = StageConfig(name="stage", batch_size=4)


def _batch(seed):
    batch = random_batch(CONFIG, 4, seed=seed)
    lengths = np.array([12, 3, 12, 9])
    return batch.replace(
        frame_mask=np.arange(CONFIG.grid.num_frames) < lengths[:, None],
        has_speech=np.array([True, False, True, False]),
    )


@pytest.fixture(scope="module")
def measured():
    """Metrics of two batches, by number of microbatches; the state."""
    found = {}
    init = stage_phase(CONFIG, STAGE, None).init
    state = jax.jit(lambda rng: nn.unbox(init(rng, None)))(jax.random.key(0))
    for num_parts in (1, 2):
        phase = stage_phase(dataclasses.replace(CONFIG, gradient_accumulation_steps=num_parts), STAGE, None)
        measure = jax.jit(phase.held_out.measure)
        sums = [measure(state, _batch(seed), jax.random.key(seed), None) for seed in (0, 1)]
        sums = jax.tree.map(lambda *each: sum(np.asarray(x, np.float64) for x in each), *sums)
        found[num_parts] = phase.held_out.summarise(sums)
    return found, state


def test_batches_and_microbatches_add_up_to_the_loss_of_all_clips(measured):
    found, state = measured
    assert found[1] == pytest.approx(found[2], rel=1e-5)
    model = make_model(CONFIG)
    batches = [_batch(seed) for seed in (0, 1)]
    logits = [jax.jit(model.apply)({"params": state.ema_params}, batch).logits for batch in batches]
    for stream in STREAMS:
        tokens = [getattr(batch, f"{stream}_tokens") for batch in batches]
        masks = [batch.frame_mask & getattr(batch, f"has_{stream}")[:, None] for batch in batches]
        for codebooks, name in ((slice(None, 1), "first"), (slice(1, None), "rest")):
            parts = [
                stream_loss(x[stream][:, :, codebooks], codes[:, :, codebooks], mask)
                for x, codes, mask in zip(logits, tokens, masks, strict=True)
            ]
            wanted = sum(part.loss.sum() for part in parts) / sum(part.weight.sum() for part in parts)
            assert found[1][f"loss_{stream}_{name}"] == pytest.approx(float(wanted), rel=1e-5)
        parts = [
            stream_loss(x[stream], codes, mask, codebook_decay=CONFIG.loss.codebook_decay)
            for x, codes, mask in zip(logits, tokens, masks, strict=True)
        ]
        wanted = sum(part.loss.sum() for part in parts) / sum(part.weight.sum() for part in parts)
        assert found[1][f"loss_{stream}"] == pytest.approx(float(wanted), rel=1e-5)
    weights = {"speech": 1.0, "background": 1.0, "alignment": 0.3, "acoustics": 0.1}
    total = sum(weight * found[1][f"loss_{name}"] for name, weight in weights.items())
    assert found[1]["loss"] == pytest.approx(total, rel=1e-6)


def test_a_task_has_no_loss_of_a_stream_that_its_clips_lack():
    phase = stage_phase(CONFIG, STAGE, None)
    state = jax.eval_shape(lambda rng: nn.unbox(phase.init(rng, None)), jax.random.key(0))
    shapes = jax.eval_shape(phase.held_out.measure, state, _batch(0), jax.random.key(0), None)
    losses, codebooks = jax.tree.map(lambda x: np.ones(x.shape), shapes)
    for name in ("speech", "alignment", "acoustics"):
        losses[name] = losses[name]._replace(weight=np.float64(0))
    codebooks["speech"] = (codebooks["speech"][0], np.float64(0))
    found = phase.held_out.summarise((losses, codebooks))
    assert {name for name in found if name.startswith("loss")} == {
        "loss", "loss_background", "loss_background_first", "loss_background_rest",
    }  # fmt: skip
    assert phase.held_out.summarise((
        {name: each._replace(weight=np.float64(0)) for name, each in losses.items()},
        {name: (sums, np.float64(0)) for name, (sums, _) in codebooks.items()},
    )) == {}  # fmt: skip

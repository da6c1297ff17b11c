"""The loop on batches of several lengths: one program a bucket, padding logged, exact resumption."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.config import (
    CheckpointConfig,
    GridConfig,
    HeldOutConfig,
    MeshConfig,
    OptimizerConfig,
    SourceConfig,
    StageConfig,
)
from dualdub_jax.curriculum.batches import stage_batches
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.training.optimizer import make_optimizer
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import settings_of
from dualdub_jax.training.state import first_state, next_state
from tests.tiny import CODEC, tiny_config

# Clips have 10 to 16 frames.
STAGE = StageConfig(
    name="stage",
    mixture=(SourceConfig("tiny_films/soundtrack"),),
    num_steps=8,
    batch_size=2,
    buckets=(12, 24),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=1),
)


class SilentCodec:
    """Every token is 0."""

    def __init__(self, num_codebooks: int) -> None:
        self.spec = CodecSpec(16_000, Fraction(25), num_codebooks, CODEC.codebook_size)

    def encode(self, waveform: np.ndarray, frame_mask: np.ndarray | None = None) -> np.ndarray:
        return np.zeros((len(waveform), waveform.shape[1] // 640, self.spec.num_codebooks), np.int32)


CONFIG = tiny_config(
    grid=GridConfig(num_frames=48, frame_size=16, num_script_tokens=16, num_voice_frames=4),
    log_every_steps=1,
    checkpoint=CheckpointConfig(save_every_steps=4, use_async=False),
    held_out=HeldOutConfig(every_steps=0),
)


class Counting:
    """Batches, and the number of compilations before each."""

    def __init__(self, batches: Any, events: list[str]) -> None:
        self._batches, self._events = batches, events
        self.counts: list[int] = []

    def __next__(self) -> Any:
        self.counts.append(len(self._events))
        return next(self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


def _phase(make_batches: Callable[[], Any]) -> Phase:
    """Learns the mean colour of each clip, and compiles in a moment."""
    optimizer = make_optimizer(STAGE.optimizer, STAGE.num_steps)

    def init(rng: jax.Array, initial: None) -> Any:
        return first_state({"colour": jnp.zeros(3)}, optimizer)

    def step(state: Any, batch: Any, rng: jax.Array, frozen: None) -> Any:
        def loss_fn(params: Any) -> jax.Array:
            errors = batch["video"] / 255.0 - params["colour"]
            return (errors.mean((2, 3)) ** 2 * batch["frame_mask"][..., None]).mean()

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        state, _ = next_state(state, grads, optimizer, 0.0)
        mask = batch["frame_mask"]
        return state, {"loss": loss, "frames": mask.sum() * 1.0, "frame_slots": jnp.float32(mask.size)}

    return Phase(
        name="stage",
        num_steps=STAGE.num_steps,
        settings=settings_of(stage=STAGE),
        init=init,
        initial=None,
        step=step,
        make_batches=make_batches,
        prepare=lambda fields: {name: fields[name] for name in ("video", "frame_mask")},
        parameters=lambda state: state.params,
    )


def _train(data_dir: str, workdir: pathlib.Path, events: list[str]) -> tuple[Any, list[int]]:
    """The parameters, and the number of compilations before each batch."""
    config = dataclasses.replace(CONFIG, data_dir=data_dir)
    codecs = {"speech": SilentCodec(3), "background": SilentCodec(2)}
    made = Counting(stage_batches(config, codecs, {}, (0, 1), STAGE), events)
    writer = MetricWriter(workdir)
    try:
        params = run_phase(_phase(lambda: made), config, make_mesh(MeshConfig()), workdir, writer)
    finally:
        writer.close()
    return params, made.counts


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """An entry for each program that is compiled."""
    events: list[str] = []

    def listen(name: str, seconds: float, **details: Any) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            events.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_program_a_bucket_its_padding_and_an_exact_resume(
    tiny_data_dir: str, tmp_path: pathlib.Path, compilations: list[str]
) -> None:
    whole, counts = _train(tiny_data_dir, tmp_path / "whole", compilations)
    lines = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    compiling = [line["step"] for line in lines if "compile_s" in line]
    assert len(compiling) == 2  # no clip is in the third bucket
    assert compiling[-1] < len(counts) - 2
    assert counts[compiling[-1] + 1] == counts[-1]  # nothing is compiled any more
    # 10 to 12 frames of 12, or 13 to 16 of 24.
    for line in lines:
        assert line["padding"] <= 2 / 12 or 8 / 24 <= line["padding"] <= 11 / 24
    assert len({line["padding"] > 0.3 for line in lines}) == 2

    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts/stage/8")
    resumed, counts = _train(tiny_data_dir, tmp_path / "parts", compilations)
    assert len(counts) == 4  # from the checkpoint of step 4 on
    for left, right in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(left, right)

"""The acoustics renderer: the examples that it is trained on, and that it alone is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq.training.acoustics import acoustics_phase, augment_acoustics
from dualdub_jax.config import Config, OptimizerConfig
from tests.codecs.mel_rvq.test_codec import TINY, make_codec
from tests.phases import run_steps
from tests.tiny import with_codec, with_training

RATE = 16_000
NUM_FRAMES = 25


def _clicks(num_clips: int, num_frames: int = NUM_FRAMES) -> np.ndarray:
    """Short bursts, each after silence: float32[B, S]."""
    rng = np.random.default_rng(0)
    sounds = np.zeros((num_clips, num_frames * 640), np.float32)
    sounds[:, 800:1000] = 0.5 * rng.standard_normal((num_clips, 200))
    return sounds


def _rt60_s(sound: np.ndarray) -> float:
    """By the slope of the energy that is left (Schroeder), over the tail's first 25 dB."""
    left_db = 10 * np.log10(np.cumsum(sound[1300:][::-1] ** 2)[::-1] + 1e-12)
    until = int(np.argmax(left_db < left_db[0] - 25))
    slope_db = np.polyfit(np.arange(until) / RATE, left_db[:until], 1)[0]
    return -60 / slope_db


@pytest.mark.parametrize("stream", ["speech", "background"])
def test_the_target_has_the_acoustics_of_the_condition(stream):
    clicks = _clicks(64, num_frames=40)
    acoustics = np.full((64, 2), [0.05, -50.0], np.float32)
    augmented, target, labels = map(
        np.asarray, augment_acoustics(clicks, acoustics, jax.random.key(0), stream, RATE)
    )
    is_longer = labels[:, 0] != acoustics[:, 0]
    assert 0.3 < is_longer.mean() < 0.7 and (labels[:, 1] == -50.0).all()
    np.testing.assert_array_equal(target[~is_longer], clicks[~is_longer])
    measured = np.array([_rt60_s(sound) for sound in target[is_longer]])
    np.testing.assert_allclose(measured, labels[is_longer, 0], rtol=0.25)
    # Inputs have the target acoustics, less, or more reverberation, and some have added noise.
    same = np.array([np.array_equal(a, b) for a, b in zip(augmented, target, strict=True)])
    drier = np.array([np.array_equal(a, b) for a, b in zip(augmented, clicks, strict=True)])
    assert same.any() and (drier & is_longer).any() and (~same & ~drier & ~is_longer).any()
    is_noisy = np.std(augmented[:, :700], axis=1) > 1e-5
    assert 0.1 < is_noisy.mean() < 0.5 and np.std(target[:, :700], axis=1).max() < 1e-5


def test_unknown_acoustics_stay_unknown_and_the_target_unchanged():
    clicks, acoustics = _clicks(8), np.full((8, 2), np.nan, np.float32)
    _, target, labels = augment_acoustics(clicks, acoustics, jax.random.key(0), "speech", RATE)
    np.testing.assert_array_equal(target, clicks)
    assert np.isnan(labels).all()


def test_the_phase_trains_the_renderer_and_nothing_else():
    codec = dataclasses.replace(TINY, acoustics_num_blocks=1, acoustics_width=16, n_mels=16, n_fft=512)
    optimizer = OptimizerConfig(learning_rate=5e-3, warmup_steps=1, ema_decay=0.9)
    config = with_codec(Config(), "background", **vars(codec))
    config = with_training(config, "background", acoustics_num_steps=40, acoustics_optimizer=optimizer)
    variables = make_codec(**vars(codec)).variables
    renderer = variables.pop("acoustics_renderer")
    del variables["vocoder"]
    acoustics = np.full((8, 2), [0.05, -50.0], np.float32)
    acoustics[0] = np.nan

    def batches():
        while True:
            yield {"waveform": _clicks(8), "acoustics": acoustics}

    phase = acoustics_phase(config, "background", variables, batches)
    state, history = run_steps(phase, 40)
    assert all(np.isfinite(list(metrics.values())).all() for metrics in history)
    first, last = (np.mean([metrics["loss"] for metrics in part]) for part in (history[:8], history[-8:]))
    assert last < 0.9 * first
    assert phase.frozen is variables  # an argument of the step, and no part of the state
    trained = phase.parameters(state)
    assert jax.tree.map(jnp.shape, trained) == jax.tree.map(jnp.shape, renderer)

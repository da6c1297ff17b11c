"""The physics of the acoustics renderer, before any training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq import acoustics
from dualdub_jax.codecs.mel_rvq.acoustics import MAX_DENSE_HOPS, AcousticsRenderer
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.dsp.mel import LOG_FLOOR, log_mel

CONFIG = MelRVQConfig(n_mels=20, acoustics_num_blocks=2, acoustics_width=16, acoustics_kernel_size=3)
HOP_S = CONFIG.hop_length / CONFIG.sample_rate_hz
RENDERER = AcousticsRenderer(CONFIG)
MASK = np.ones((1, 60), bool)


@pytest.fixture(scope="module")
def render():
    click = np.full((1, 120, CONFIG.n_mels), np.log(LOG_FLOOR), np.float32)
    click[:, 10] = 0.0
    params = nn.unbox(RENDERER.init(jax.random.key(0), click, MASK, jnp.ones((1, 2))))
    # Nothing is taken away, so that what is added stands alone.
    params["params"]["gain_out"] = jax.tree.map(jnp.zeros_like, params["params"]["gain_out"])

    def of(rt60_s: float, noise_dbfs: float, mel: np.ndarray = click) -> np.ndarray:
        return np.asarray(RENDERER.apply(params, mel, MASK, np.float32([[rt60_s, noise_dbfs]])))

    return of


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.9])
def test_a_tail_falls_by_60_db_in_the_reverberation_time(render, rt60_s):
    tail_db = render(rt60_s, -80.0)[0, 11:21].mean(axis=1) * 20 / np.log(10)
    slopes = np.diff(tail_db)[tail_db[1:] > -60]
    np.testing.assert_allclose(slopes, -60 * HOP_S / rt60_s, rtol=0.02)


def test_a_tail_comes_after_its_sound_and_only_so_long(render):
    rung = render(0.9, -80.0)[0]
    quiet = render(0.9, -80.0, np.full((1, 120, CONFIG.n_mels), np.log(LOG_FLOOR), np.float32))[0]
    np.testing.assert_allclose(rung[:10], quiet[:10], atol=1e-5)
    np.testing.assert_allclose(rung[62:], quiet[62:], atol=1e-5)
    assert (rung[11:40] > quiet[11:40] + 0.1).all()


def test_silence_becomes_noise_of_the_given_level(render):
    noise = 10 ** (-40 / 20) * np.random.default_rng(0).standard_normal((1, 38_400)).astype(np.float32)
    true = log_mel(noise, CONFIG.sample_rate_hz, CONFIG.n_fft, CONFIG.hop_length, CONFIG.n_mels)
    silence = np.full((1, 120, CONFIG.n_mels), np.log(LOG_FLOOR), np.float32)
    made = render(0.3, -40.0, silence)
    np.testing.assert_allclose(made.mean(), np.mean(true), atol=0.3)


def test_what_is_not_known_is_not_rendered(render):
    mel = np.random.default_rng(0).normal(-4, 2, (1, 120, CONFIG.n_mels)).astype(np.float32)
    np.testing.assert_array_equal(render(np.nan, -40.0, mel), mel)


@pytest.mark.parametrize("num_hops", [64, 96, 118])
def test_a_long_track_rings_as_a_short_one(monkeypatch, num_hops):
    mel = np.random.default_rng(1).normal(-4, 2, (2, num_hops, CONFIG.n_mels)).astype(np.float32)
    mask, rooms = np.ones((2, num_hops // 2), bool), np.float32([[0.3, -50.0], [2.0, -30.0]])
    params = RENDERER.init(jax.random.key(0), mel, mask, rooms)
    expected = RENDERER.apply(params, mel, mask, rooms)
    monkeypatch.setattr(acoustics, "MAX_DENSE_HOPS", 40)
    monkeypatch.setattr(acoustics, "_CHUNK_HOPS", 32)
    np.testing.assert_allclose(RENDERER.apply(params, mel, mask, rooms), expected, atol=1e-5)


def test_memory_grows_with_the_length_and_not_with_its_square():
    def temporary_bytes(num_hops: int) -> int:
        shapes = [(1, num_hops, CONFIG.n_mels), (1, num_hops // 2), (1, 2)]
        dtypes = [jnp.float32, bool, jnp.float32]
        inputs = [jax.ShapeDtypeStruct(*pair) for pair in zip(shapes, dtypes, strict=True)]
        params = jax.eval_shape(RENDERER.init, jax.random.key(0), *inputs)
        compiled = jax.jit(RENDERER.apply).lower(params, *inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    once, twice = temporary_bytes(4 * MAX_DENSE_HOPS), temporary_bytes(8 * MAX_DENSE_HOPS)
    assert twice < 2.2 * once < (4 * MAX_DENSE_HOPS) ** 2

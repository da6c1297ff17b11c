"""The loss is a masked cross entropy whose sums and weights add up."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dualdub_jax.config import LossConfig
from dualdub_jax.curriculum.losses import StreamLoss, alignment_loss, scored_codes, stream_loss, total_loss
from dualdub_jax.curriculum.stage import drop_conditions, mask_past
from dualdub_jax.types import STREAMS
from tests.tiny import random_batch, tiny_config


def _random(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 5, 2, 7)).astype(np.float32), rng.integers(0, 7, (3, 5, 2))


def test_matches_the_textbook_cross_entropy():
    logits, codes = _random()
    parts = stream_loss(logits, codes, np.ones((3, 5), bool))
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, codes).sum((1, 2))
    np.testing.assert_allclose(parts.loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(parts.weight, [10, 10, 10])
    np.testing.assert_array_equal(parts.correct, (logits.argmax(-1) == codes).sum((1, 2)))


def test_masked_frames_count_nothing_whatever_they_hold():
    logits, codes = _random()
    mask = np.array([[True] * 3 + [False] * 2] * 3)
    clean = stream_loss(logits, codes, mask)
    logits[:, 3:], codes[:, 3:] = np.nan, -5
    jax.tree.map(np.testing.assert_array_equal, clean, stream_loss(logits, codes, mask))
    np.testing.assert_array_equal(clean.weight, [6, 6, 6])


def test_sums_over_two_halves_make_the_whole():
    logits, codes = _random()
    mask = np.random.default_rng(1).random((3, 5)) < 0.7
    whole = stream_loss(logits, codes, mask)
    halves = [stream_loss(logits[i], codes[i], mask[i]) for i in (slice(0, 1), slice(1, 3))]
    for name in StreamLoss._fields:
        np.testing.assert_allclose(
            jnp.concatenate([getattr(half, name) for half in halves]), getattr(whole, name), rtol=1e-6
        )


def test_a_stream_without_targets_adds_nothing():
    logits, codes = _random()
    scored = stream_loss(logits, codes, np.ones((3, 5), bool))
    absent = stream_loss(logits, codes, np.zeros((3, 5), bool))
    total, metrics = total_loss({"speech": scored, "background": absent}, LossConfig())
    np.testing.assert_allclose(total, scored.loss.sum() / scored.weight.sum(), rtol=1e-6)
    assert metrics["loss_background"] == 0.0


def test_conditions_are_dropped_independently_and_targets_never():
    config = tiny_config()
    batch = random_batch(config, 256)
    dropped = drop_conditions(batch, jax.random.key(0), 0.25)
    names = ("has_video", "has_script", "has_voice", "has_acoustics")
    kept = {name: np.asarray(getattr(dropped, name)) for name in names}
    for flags in kept.values():
        assert 0.65 < flags.mean() < 0.85
    assert 0.45 < (kept["has_video"] & kept["has_script"]).mean() < 0.68
    assert dropped.has_speech.all() and dropped.has_background.all()
    absent = dataclasses.replace(batch, has_video=np.zeros(256, bool))
    assert not drop_conditions(absent, jax.random.key(0), 0.25).has_video.any()


def test_codebooks_can_be_weighted_and_the_mean_weight_is_one():
    logits, codes = _random()
    logits[..., 1, :] = 0.0  # the second codebook is not predicted at all
    even = stream_loss(logits, codes, np.ones((3, 5), bool))
    first = stream_loss(logits, codes, np.ones((3, 5), bool), codebook_decay=0.25)
    of_second = 5 * np.log(7.0)
    np.testing.assert_allclose(first.loss, 1.6 * (even.loss - of_second) + 0.4 * of_second, rtol=1e-5)
    np.testing.assert_array_equal(first.weight, even.weight)


def test_the_past_is_hidden_in_some_examples_in_part():
    batch = random_batch(tiny_config(), 64)
    assert mask_past(batch, jax.random.key(0), 0.0) is batch
    hidden = mask_past(batch, jax.random.key(0), 0.5)
    shares = {stream: 1.0 - np.asarray(getattr(hidden, f"{stream}_is_known")).mean(1) for stream in STREAMS}
    for share in shares.values():
        assert 0.3 < (share == 0).mean() < 0.75
        assert share.max() > 0.7
    assert not np.array_equal(shares["speech"], shares["background"])
    again = mask_past(batch, jax.random.key(0), 0.5)
    np.testing.assert_array_equal(again.speech_is_known, hidden.speech_is_known)


def test_reading_is_scored_where_it_is_known():
    config = tiny_config()
    log_weights = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 8))))
    batch = random_batch(config, 2)
    places = np.full((2, 12), -1, np.int32)
    unknown = alignment_loss(log_weights, batch.replace(script_alignment=places))
    np.testing.assert_array_equal(unknown.weight, 0)
    places[0, :5] = [0, 0, 1, 2, 7]
    places[1, :2] = [3, 4]
    batch = batch.replace(script_alignment=places, frame_mask=np.arange(12) < np.array([[4], [12]]))
    parts = alignment_loss(log_weights, batch)
    np.testing.assert_array_equal(parts.weight, [4, 2])
    expected = -log_weights[0, [0, 1, 2, 3], [0, 0, 1, 2]].sum()
    np.testing.assert_allclose(parts.loss[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(scored_codes(batch)["alignment"], 6)
    for absent in ("has_speech", "has_script"):
        silent = batch.replace(**{absent: np.array([True, False])})
        np.testing.assert_array_equal(alignment_loss(log_weights, silent).weight, [4, 0])

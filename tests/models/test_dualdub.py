"""The properties that the model's masks and caches must have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.bundles.bundle import abstract_params
from dualdub_jax.curriculum.losses import batch_losses
from dualdub_jax.models.dualdub import make_model, prefix_causal_mask
from dualdub_jax.types import STREAMS
from tests.tiny import random_batch, random_params, tiny_config

CONFIG = tiny_config()
MODEL = make_model(CONFIG)


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def forward(params):
    return jax.jit(lambda batch: MODEL.apply({"params": params}, batch).logits)


def _first_changed_frame(before, after) -> int:
    """Index of the first frame whose logits differ; T if none does."""
    changed = np.abs(np.asarray(before) - np.asarray(after)).max((0, 2, 3)) > 1e-6
    return int(np.argmax(changed)) if changed.any() else len(changed)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_frame_of_either_stream_changes_only_later_frames(forward, stream):
    batch = random_batch(CONFIG, 1)
    tokens = getattr(batch, f"{stream}_tokens").copy()
    frame = 5
    tokens[:, frame] = (tokens[:, frame] + 1) % 16
    before, after = forward(batch), forward(batch.replace(**{f"{stream}_tokens": tokens}))
    for out in STREAMS:
        if out == stream:
            # Within the frame, codebook q sees codebooks before q, and none sees itself.
            np.testing.assert_allclose(before[out][:, frame, 0], after[out][:, frame, 0], atol=1e-6)
            np.testing.assert_allclose(before[out][:, :frame], after[out][:, :frame], atol=1e-6)
        else:
            assert _first_changed_frame(before[out], after[out]) == frame + 1
    assert np.abs(before[stream][:, frame + 1] - after[stream][:, frame + 1]).max() > 1e-4


def test_a_later_codebook_does_not_reach_an_earlier_one_of_its_frame(forward):
    batch = random_batch(CONFIG, 1)
    tokens = batch.speech_tokens.copy()
    tokens[:, 5, 1] = (tokens[:, 5, 1] + 1) % 16
    before, after = forward(batch)["speech"], forward(batch.replace(speech_tokens=tokens))["speech"]
    np.testing.assert_allclose(before[:, 5, :2], after[:, 5, :2], atol=1e-6)
    assert np.abs(before[:, 5, 2] - after[:, 5, 2]).max() > 1e-4


def test_a_future_video_frame_changes_earlier_audio_frames(forward):
    batch = random_batch(CONFIG, 1)
    video = batch.video.copy()
    video[:, 9] = 255 - video[:, 9]
    before, after = forward(batch), forward(batch.replace(video=video))
    for stream in STREAMS:
        assert _first_changed_frame(before[stream], after[stream]) == 0


def test_padding_changes_nothing_whatever_it_holds(params):
    batch = random_batch(CONFIG, 2)
    num_frames, num_tokens, num_voice = 7, 5, 2
    frame_mask = np.broadcast_to(np.arange(12) < num_frames, (2, 12))
    script_mask = np.broadcast_to(np.arange(8) < num_tokens, (2, 8))
    voice_mask = np.broadcast_to(np.arange(4) < num_voice, (2, 4))
    clean = batch.replace(frame_mask=frame_mask, script_mask=script_mask, voice_mask=voice_mask)
    video, speech, script = batch.video.copy(), batch.speech_tokens.copy(), batch.script_tokens.copy()
    background, voice = batch.background_tokens.copy(), batch.voice.copy()
    video[:, num_frames:] = 77
    speech[:, num_frames:] = 10_000  # out of range: an embedding lookup would give NaN
    background[:, num_frames:] = -10_000
    script[:, num_tokens:] = 10_000
    voice[:, num_voice * 640 :] = np.nan
    dirty = clean.replace(
        video=video, speech_tokens=speech, background_tokens=background, script_tokens=script, voice=voice
    )

    def loss(p, b):
        parts = batch_losses(MODEL.apply({"params": p}, b).logits, b, CONFIG.loss)
        return sum(part.loss.sum() for part in parts.values()), parts

    value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, clean_parts), clean_grads = value_and_grad(params, clean)
    (_, dirty_parts), dirty_grads = value_and_grad(params, dirty)
    assert np.isfinite(clean_parts["speech"].loss).all()
    jax.tree.map(np.testing.assert_array_equal, clean_parts, dirty_parts)
    jax.tree.map(np.testing.assert_array_equal, clean_grads, dirty_grads)


def test_shorter_clip_is_the_same_alone_and_padded(params):
    batch = random_batch(CONFIG, 1)
    num_frames = 7
    padded = batch.replace(frame_mask=np.arange(12)[None] < num_frames)
    alone = batch.replace(
        video=batch.video[:, :num_frames],
        frame_mask=batch.frame_mask[:, :num_frames],
        speech_tokens=batch.speech_tokens[:, :num_frames],
        background_tokens=batch.background_tokens[:, :num_frames],
    )
    apply = jax.jit(lambda b: MODEL.apply({"params": params}, b).logits)
    long, short = apply(padded), apply(alone)
    for stream in STREAMS:
        np.testing.assert_allclose(long[stream][:, :num_frames], short[stream], atol=2e-5)


def test_a_mixed_batch_gives_each_example_the_loss_it_has_alone(params):
    batch = random_batch(CONFIG, 4)
    # text–speech, video–audio, soundtrack, soundtrack with nothing but its targets
    mixed = batch.replace(
        has_video=np.array([False, True, True, False]),
        has_script=np.array([True, False, True, False]),
        has_voice=np.array([True, False, True, False]),
        has_speech=np.array([True, False, True, True]),
        has_background=np.array([False, True, True, True]),
    )
    apply = jax.jit(lambda b: batch_losses(MODEL.apply({"params": params}, b).logits, b, CONFIG.loss))
    together = apply(mixed)
    assert list(together["speech"].weight > 0) == [True, False, True, True]
    assert list(together["background"].weight > 0) == [False, True, True, True]
    for i in range(4):
        alone = apply(jax.tree.map(lambda x, i=i: x[i : i + 1], mixed))
        for stream in STREAMS:
            np.testing.assert_allclose(alone[stream].loss[0], together[stream].loss[i], rtol=2e-5)


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("has_video", "video"),
        ("has_script", "script_tokens"),
        ("has_voice", "voice"),
        ("has_acoustics", "acoustics"),
    ],
)
def test_an_absent_condition_is_not_looked_at(forward, flag, field):
    present, other = random_batch(CONFIG, 1), random_batch(CONFIG, 1, seed=1)
    swapped = present.replace(**{field: getattr(other, field)})
    assert np.abs(forward(present)["speech"] - forward(swapped)["speech"]).max() > 1e-4
    absent = {flag: np.zeros(1, bool)}
    np.testing.assert_array_equal(
        forward(present.replace(**absent))["speech"], forward(swapped.replace(**absent))["speech"]
    )


def test_a_model_without_acoustics_has_no_part_for_them():
    config = tiny_config()
    without = dataclasses.replace(config, model=dataclasses.replace(config.model, num_acoustics_bins=0))
    names = [set(abstract_params(each)["model"]) for each in (config, without)]
    assert names[0] - names[1] == {"acoustics_encoder", "acoustics_head"}


def test_an_absent_stream_does_not_affect_the_other(forward):
    batch = random_batch(CONFIG, 1).replace(has_speech=np.zeros(1, bool))
    other = batch.replace(speech_tokens=random_batch(CONFIG, 1, seed=1).speech_tokens)
    np.testing.assert_array_equal(forward(batch)["background"], forward(other)["background"])


def test_an_empty_script_is_not_an_unknown_script(forward):
    batch = random_batch(CONFIG, 1)
    empty = batch.replace(script_mask=np.arange(8)[None] < 2)
    unknown = empty.replace(has_script=np.zeros(1, bool))
    assert np.abs(forward(empty)["speech"] - forward(unknown)["speech"]).max() > 1e-4


@pytest.mark.parametrize("causal_prefix", [False, True])
def test_cached_decoding_equals_the_forward_pass(params, causal_prefix):
    model = make_model(
        dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, causal_prefix=causal_prefix))
    )
    batch = random_batch(CONFIG, 2)
    batch = batch.replace(script_mask=np.arange(8) < np.array([[5], [7]]))
    variables = {"params": params}
    output = jax.jit(model.apply)(variables, batch)
    if causal_prefix:
        assert np.abs(output.state - jax.jit(MODEL.apply)(variables, batch).state).max() > 1e-3
    conditions = jax.jit(lambda b: model.apply(variables, b, method="encode"))(batch)
    cache = jax.jit(lambda c: model.apply(variables, c, method="start"))(conditions)
    advance = jax.jit(lambda *args: model.apply(variables, *args, method="advance"))
    for t in range(12):
        previous = max(t - 1, 0)
        codes = {stream: getattr(batch, f"{stream}_tokens")[:, previous] for stream in STREAMS}
        state, cache = advance(conditions, cache, jnp.int32(t), codes)
        np.testing.assert_allclose(state, output.state[:, t], atol=2e-5)


def test_a_causal_prefix_attends_to_what_is_before_it_and_never_to_padding():
    valid = np.array([[True, True, False, True]])  # a padded script of two tokens, and a voice
    bidirectional, causal = (np.asarray(prefix_causal_mask(valid, 2, flag)[0]) for flag in (False, True))
    np.testing.assert_array_equal(causal, np.tril(np.ones((6, 6), bool)) & [1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(bidirectional[4:], causal[4:])
    np.testing.assert_array_equal(bidirectional[:4], np.tile([1, 1, 0, 1, 0, 0], (4, 1)))


def test_the_named_outputs_have_their_shapes(params):
    output = jax.eval_shape(lambda b: MODEL.apply({"params": params}, b), random_batch(CONFIG, 2))
    assert output.logits["speech"].shape == (2, 12, 3, 16)
    assert output.logits["background"].shape == (2, 12, 2, 16)
    assert output.prefix.shape == (2, 8 + 2, 32)
    assert output.state.shape == (2, 12, 32)
    assert output.script.log_weights.shape == (2, 12, 8)
    assert output.acoustics_logits.shape == (2, 2, 5)


def test_acoustics_from_the_video_are_those_of_the_forward_pass(params):
    batch = random_batch(CONFIG, 2)
    whole = MODEL.apply({"params": params}, batch).acoustics_logits
    alone = MODEL.apply({"params": params}, batch, method="acoustics_logits")
    np.testing.assert_allclose(alone, whole, atol=1e-5)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_hidden_frame_is_not_looked_at(forward, stream):
    batch = random_batch(CONFIG, 1)
    is_known = np.ones(batch.frame_mask.shape, bool)
    is_known[:, 6] = False  # frame 6 is predicted without frame 5, and so is everything later
    known = {f"{each}_is_known": is_known if each == stream else np.ones_like(is_known) for each in STREAMS}
    hidden = batch.replace(**known)
    tokens = getattr(batch, f"{stream}_tokens").copy()
    tokens[:, 5] = (tokens[:, 5] + 1) % 16
    other = hidden.replace(**{f"{stream}_tokens": tokens})
    before, after = forward(hidden), forward(other)
    for out in STREAMS:
        np.testing.assert_allclose(before[out][:, 6:], after[out][:, 6:], atol=1e-6)
    assert np.abs(forward(batch)[stream][:, 6:] - before[stream][:, 6:]).max() > 1e-4

"""The codec's two phases on a few sines: small enough for seconds, enough to be a codec of sines."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig, MelRVQTrainingConfig
from dualdub_jax.codecs.mel_rvq.networks import CodecModules
from dualdub_jax.codecs.mel_rvq.training.tokens import tokens_phase
from dualdub_jax.codecs.mel_rvq.training.vocoder import vocoder_phase
from dualdub_jax.config import Config, OptimizerConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.sharding import RULES
from tests.phases import run_steps
from tests.tiny import with_codec

RATE = 16_000
SINES_HZ = (300.0, 700.0, 1500.0, 3100.0)
HARMONICS = [round(hz * 6400 / RATE) for hz in SINES_HZ]  # bins of a spectrum of 6,400 samples
CODEC = MelRVQConfig(
    num_codebooks=2,
    codebook_size=32,
    width=48,
    num_blocks=1,
    kernel_size=3,
    latent_dim=16,
    num_unquantised_steps=60,
    vocoder_width=32,
    vocoder_num_blocks=1,
    vocoder_kernel_size=3,
    tonal_source="grid",
)
OPTIMIZER = OptimizerConfig(learning_rate=5e-3, warmup_steps=20, ema_decay=0.9)
TRAINING = MelRVQTrainingConfig(
    crop_frames=10,
    batch_size=8,
    num_steps=400,
    vocoder_num_steps=300,
    vocoder_batch_size=4,
    optimizer=OPTIMIZER,
    vocoder_optimizer=OPTIMIZER,
)
CONFIG = with_codec(Config(), "background", **vars(CODEC) | {"training": TRAINING})


def _sine(hz: float, num_frames: int, start_s: float = 0.0) -> np.ndarray:
    time_s = start_s + np.arange(num_frames * 640) / RATE
    return (0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def _batches(batch_size: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    while True:
        rows = [_sine(rng.choice(SINES_HZ), TRAINING.crop_frames, rng.random()) for _ in range(batch_size)]
        yield {"waveform": np.stack(rows)}


@pytest.fixture(scope="module")
def trained():
    """(variables, metrics of the tokens phase, metrics of the vocoder phase)."""
    tokens = tokens_phase(CONFIG, "background", lambda: _batches(TRAINING.batch_size))
    state, tokens_history = run_steps(tokens, TRAINING.num_steps)
    vocoder = vocoder_phase(
        CONFIG, "background", tokens.parameters(state), lambda: _batches(TRAINING.vocoder_batch_size)
    )
    state, vocoder_history = run_steps(vocoder, TRAINING.vocoder_num_steps)
    variables = {**vocoder.frozen, "vocoder": vocoder.parameters(state)}
    return variables, tokens_history, vocoder_history


def test_both_losses_fall(trained):
    _, tokens_history, vocoder_history = trained
    mel_l1 = [metrics["mel_l1"] for metrics in tokens_history]
    assert np.mean(mel_l1[-20:]) < 0.25 * np.mean(mel_l1[:20])
    loss = [metrics["loss"] for metrics in vocoder_history]
    assert np.mean(loss[-10:]) < 0.9 * np.mean(loss[:10])
    assert all(np.isfinite(list(metrics.values())).all() for metrics in tokens_history + vocoder_history)


@pytest.mark.parametrize("hz", SINES_HZ)
def test_a_sine_comes_back(trained, hz):
    """Mean log-mel error below 0.6 nats, frequency within 25 Hz (the grid of tones), level within 6 dB."""
    codec = MelRVQCodec(CODEC, trained[0])
    sine = _sine(hz, 25)[None]
    tokens = codec.encode(sine)
    mask = jnp.ones(tokens.shape[:2], bool)
    decoded, _ = codec.modules.decode_tokens(codec.variables, tokens, mask)
    inside = slice(4, -4)
    assert np.mean(np.abs(decoded - codec.modules.log_mel(sine))[:, inside]) < 0.6
    decoded = np.asarray(codec.decode(tokens))[0, 3200:-3200]
    loudest_hz = np.argmax(np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))) * RATE / len(decoded)
    assert abs(loudest_hz - hz) <= 25.0 + RATE / len(decoded)
    assert abs(20 * np.log10(np.std(decoded) / np.std(sine))) < 6.0


def test_silence_stays_silent(trained):
    codec = MelRVQCodec(CODEC, trained[0])
    assert np.abs(codec.decode(codec.encode(np.zeros((1, 16_000), np.float32)))).max() < 1e-3


def test_codebooks_begin_when_they_should_and_not_before():
    training = dataclasses.replace(TRAINING, num_steps=6, batch_size=4)
    codec = dataclasses.replace(CODEC, num_unquantised_steps=4)
    config = with_codec(CONFIG, "background", **vars(codec) | {"training": training})
    phase = tokens_phase(config, "background", lambda: _batches(4))
    before, _ = run_steps(phase, 4)
    after, _ = run_steps(phase, 5)
    assert float(jnp.max(jnp.abs(before.extra["rvq"].codebooks))) == 0.0
    assert float(jnp.min(jnp.std(after.extra["rvq"].codebooks[0], axis=0))) > 0.0


def test_the_vocoder_phase_trains_the_vocoder_and_nothing_else(trained):
    variables, _, _ = trained
    tokens = {name: variables[name] for name in ("encoder", "decoder", "codebooks")}
    phase = vocoder_phase(CONFIG, "background", tokens, lambda: _batches(4))
    state, _ = run_steps(phase, 2)
    assert phase.frozen is tokens  # an argument of the step, and no part of the state
    for part in (state.params, state.ema_params, phase.parameters(state)):
        assert jax.tree.map(jnp.shape, part) == jax.tree.map(jnp.shape, variables["vocoder"])
    sizes = sum(x.size for x in jax.tree.leaves(variables["vocoder"]))
    assert sum(x.size for x in jax.tree.leaves(state.opt_state)) < 2 * sizes + 10


def test_a_step_is_a_function_of_its_arguments():
    phase = tokens_phase(CONFIG, "background", lambda: _batches(TRAINING.batch_size))
    first, second = (run_steps(phase, 3)[0] for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_tokens_carry_the_pitch_of_a_voice():
    codec = dataclasses.replace(CODEC, tonal_source="pitch", num_unquantised_steps=40)
    training = dataclasses.replace(TRAINING, num_steps=150, vocoder_num_steps=150)
    config = with_codec(CONFIG, "speech", **vars(codec) | {"training": training})
    rng = np.random.default_rng(0)
    time_s = np.arange(TRAINING.crop_frames * 640) / RATE

    def pulses(batch_size: int):
        while True:
            hz = rng.choice([100.0, 150.0, 220.0], batch_size)[:, None]
            yield {"waveform": 0.03 * sum(np.cos(2 * np.pi * k * hz * time_s) for k in range(1, 15))}

    tokens = tokens_phase(config, "speech", lambda: pulses(TRAINING.batch_size))
    variables = tokens.parameters(run_steps(tokens, training.num_steps)[0])
    phase = vocoder_phase(config, "speech", variables, lambda: pulses(TRAINING.vocoder_batch_size))
    _, history = run_steps(phase, training.vocoder_num_steps)
    errors = [metrics["pitch_error"] for metrics in history]
    assert np.mean(errors[-20:]) < 0.05 < np.mean(errors[:5])


def test_every_axis_of_every_parameter_has_a_rule():
    names = {name for name, _ in RULES}
    phase = tokens_phase(CONFIG, "background", lambda: _batches(4))
    tokens = jax.eval_shape(phase.init, jax.random.key(0), None).params
    boxes = jax.tree.leaves(tokens, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned))
    assert boxes and all(isinstance(box, nn.LogicallyPartitioned) for box in boxes)
    assert {axis for box in boxes for axis in box.names} <= names


def test_the_first_codebook_learns_phonemes_where_they_are_known():
    """Sines stand for phonemes: told which is which, the first codebook tells them apart at any level."""
    codec = dataclasses.replace(CODEC, phonetic_dim=4)
    training = dataclasses.replace(TRAINING, phonetic_weight=1.0)
    config = with_codec(Config(), "speech", **vars(codec) | {"training": training})

    def batches():
        for batch in _batches(TRAINING.batch_size):
            tones = np.argmax(np.abs(np.fft.rfft(batch["waveform"][:, :6400]))[:, HARMONICS], axis=1) + 1
            labels = np.repeat(tones[:, None], 2 * TRAINING.crop_frames, axis=1)
            labels[0] = -1  # not known
            yield batch | {"phonemes": labels}

    phase = tokens_phase(config, "speech", batches)
    state, history = run_steps(phase, TRAINING.num_steps)
    assert history[-1]["phonetic_accuracy"] > 0.9 > 0.6 > history[0]["phonetic_accuracy"]
    variables = phase.parameters(state)
    assert set(variables) == {"encoder", "decoder", "codebooks"}
    assert not np.asarray(variables["codebooks"][0, :, 4:]).any()
    sines = np.stack([_sine(hz, TRAINING.crop_frames) for hz in SINES_HZ])
    modules = CodecModules(codec)
    mask = np.ones((len(sines), TRAINING.crop_frames), bool)
    loud, quiet = (np.asarray(modules.encode(variables, gain * sines, mask))[:, 3:-3, 0] for gain in (1, 0.4))
    codes = [{*a, *b} for a, b in zip(loud, quiet, strict=True)]
    assert all(not a & b for i, a in enumerate(codes) for b in codes[:i])


def _voices(batch_size: int, seed: int = 0):
    """Buzzes with one envelope at one of two pitches, and the same pitch as reference."""
    rng = np.random.default_rng(seed)
    num_frames, num_reference = TRAINING.crop_frames, 12

    def buzz(hz: float, num_frames: int) -> np.ndarray:
        parts = [np.exp(-k * hz / 800) * _sine(k * hz, num_frames) for k in range(1, int(4000 / hz))]
        return (0.1 * sum(parts) / np.std(sum(parts))).astype(np.float32)

    while True:
        pitches_hz = rng.choice([120.0, 250.0], batch_size)
        yield {
            "waveform": np.stack([buzz(hz, num_frames) for hz in pitches_hz]),
            "voice": np.stack([buzz(hz, num_reference) for hz in pitches_hz]),
            "voice_mask": np.ones((batch_size, num_reference), bool),
            "pitches_hz": pitches_hz,
        }


def test_a_codec_with_a_speaker_takes_the_speaker_from_the_reference():
    """Conditioned on the other speaker the decoder is further off, for the tokens carry no pitch."""
    speech = dataclasses.replace(CODEC, speaker_dim=8, num_unquantised_steps=40)
    config = with_codec(CONFIG, "speech", **vars(speech) | {"training": TRAINING})
    phase = tokens_phase(config, "speech", lambda: _voices(TRAINING.batch_size))
    variables = phase.parameters(run_steps(phase, 120)[0])
    vocoder = vocoder_phase(config, "speech", variables, lambda: _voices(4))
    codec = MelRVQCodec(speech, {**variables, "vocoder": vocoder.parameters(run_steps(vocoder, 1)[0])})
    batch = next(_voices(16, seed=1))
    tokens = codec.encode(batch["waveform"])
    speaker = codec.encode_speaker(batch["voice"], batch["voice_mask"])
    true = codec.modules.log_mel(batch["waveform"])
    mask = jnp.ones(tokens.shape[:2], bool)

    def error(speaker: jax.Array) -> float:
        decoded, _ = codec.modules.decode_tokens(codec.variables, tokens, mask, speaker)
        return float(jnp.mean(jnp.abs(decoded - true)[..., :40]))

    is_high = batch["pitches_hz"] > 200.0
    others = np.where(is_high, np.argmin(is_high), np.argmax(is_high))
    assert error(speaker) < 0.7 * error(speaker[others])
    assert np.isfinite(np.asarray(codec.decode(tokens, mask))).all()  # without a reference, too


def test_a_background_has_no_speaker():
    config = with_codec(CONFIG, "background", speaker_dim=8)
    with pytest.raises(
        UserError, match=r"streams\.background\.codec\.speaker_dim=8: only speech has a speaker"
    ):
        tokens_phase(config, "background", lambda: _batches(4))


def test_a_vocoder_with_a_discriminator(trained):
    """It learns as before but not the same; the discriminator is trained too, and not handed on."""
    variables, _, _ = trained
    tokens = {name: variables[name] for name in ("encoder", "decoder", "codebooks")}
    training = dataclasses.replace(TRAINING, vocoder_adversarial_weight=0.5, vocoder_num_steps=60)
    config = with_codec(CONFIG, "background", training=training)
    phase = vocoder_phase(config, "background", tokens, lambda: _batches(4))
    state, history = run_steps(phase, 60)
    assert set(phase.parameters(state)) == set(variables["vocoder"])
    assert all(np.isfinite(list(metrics.values())).all() for metrics in history)
    mel_l1 = [metrics["mel_l1"] for metrics in history]
    assert np.mean(mel_l1[-10:]) < 0.8 * np.mean(mel_l1[:10])
    before = nn.unbox(phase.init(jax.random.key(0), phase.initial)).extra["params"]
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), state.extra["params"], before)
    assert min(jax.tree.leaves(moved)) > 0.0
    training = dataclasses.replace(training, vocoder_adversarial_weight=0.0)
    config = with_codec(CONFIG, "background", training=training)
    plain = vocoder_phase(config, "background", tokens, lambda: _batches(4))
    assert jax.eval_shape(plain.init, jax.random.key(0), plain.initial).extra is None
    alone, pushed = (p.parameters(run_steps(p, 40)[0]) for p in (plain, phase))
    apart = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), alone, pushed)
    assert max(jax.tree.leaves(apart)) > 1e-2

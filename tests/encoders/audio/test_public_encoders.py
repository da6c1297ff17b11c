"""Cnn14, VGGish, UTMOS and WavLM against golden runs of their public code."""

import jax
import numpy as np
import pytest

from dualdub_jax.convert.cnn14 import cnn14_from_torch
from dualdub_jax.convert.utmos import utmos_from_torch
from dualdub_jax.convert.vggish import vggish_from_torch
from dualdub_jax.convert.wavlm_sv import wavlm_sv_from_torch
from dualdub_jax.encoders.audio.cnn14 import Cnn14, Cnn14Config, log_mel
from dualdub_jax.encoders.audio.utmos import Utmos, UtmosConfig
from dualdub_jax.encoders.audio.vggish import Vggish, VggishConfig, log_mel_patches
from dualdub_jax.encoders.audio.wavlm_sv import WavlmSv, WavlmSvConfig, least_samples
from dualdub_jax.errors import UserError
from tests.convert.ports import golden, weights
from tests.golden.make_metrics_golden import LENGTHS, UTMOS, WAVLM, sound


def padded_batch(padding=np.nan):
    """The golden recordings in one batch, with what must not matter past their ends."""
    lengths = np.array(list(LENGTHS.values()), np.int32)
    batch = np.full((len(lengths), lengths.max() + 777), padding, np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = sound(length)
    return batch, lengths


@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_cnn14(rate):
    config, params = cnn14_from_torch(weights(f"cnn14_{rate}"), "x")
    assert (config.sample_rate_hz, config.num_classes) == (rate, 13)
    mels = [log_mel(sound(length), params["filters"], config) for length in LENGTHS.values()]
    batch = np.full((2, max(map(len, mels)) + 9, 64), 7.0, np.float32)
    for row, mel in zip(batch, mels, strict=True):
        row[: len(mel)] = mel
    apply = Cnn14(config).apply
    embeddings, logits = apply({"params": params["network"]}, batch, np.array([*map(len, mels)], np.int32))
    for i, name in enumerate(LENGTHS):
        np.testing.assert_allclose(embeddings[i], golden(f"cnn14_{rate}", f"{name}_embedding"), atol=1e-4)
        np.testing.assert_allclose(logits[i], golden(f"cnn14_{rate}", f"{name}_logits"), atol=1e-4)


def test_vggish():
    config, params = vggish_from_torch(weights("vggish"), "x")
    patches = log_mel_patches(sound(LENGTHS["long"]))
    np.testing.assert_allclose(patches, golden("vggish", "patches"), atol=1e-5)
    embeddings = Vggish(config).apply({"params": params}, patches)
    np.testing.assert_allclose(embeddings, golden("vggish", "embeddings"), atol=1e-4)
    assert log_mel_patches(sound(400 + 94 * 160)).shape == (0, 96, 64)


def test_vggish_of_tensorflow_is_the_same():
    _, params = vggish_from_torch(weights("vggish"), "x")
    names = {"conv_0": "conv1", "conv_1": "conv2", "conv_2": "conv3/conv3_1", "conv_3": "conv3/conv3_2",
             "conv_4": "conv4/conv4_1", "conv_5": "conv4/conv4_2", "dense_0": "fc1/fc1_1",
             "dense_1": "fc1/fc1_2", "dense_2": "fc2"}  # fmt: skip
    arrays = {}
    for ours, theirs in names.items():
        arrays[f"vggish/{theirs}/weights"] = params[ours]["kernel"]
        arrays[f"vggish/{theirs}/biases"] = params[ours]["bias"]
    jax.tree.map(np.testing.assert_array_equal, vggish_from_torch(arrays, "x.npz")[1], params)


def test_utmos():
    config, params = utmos_from_torch(weights("utmos"), "x", {"num_attention_heads": UTMOS["num_heads"]})
    scores = Utmos(config).apply({"params": params}, *padded_batch())
    np.testing.assert_allclose(scores, [golden("utmos", name)[0] for name in LENGTHS], atol=1e-4)


@pytest.mark.parametrize("padding", [np.nan, 0.5])
def test_wavlm_sv(padding):
    config, params = wavlm_sv_from_torch(weights("wavlm_sv"), "x", WAVLM)
    embeddings = WavlmSv(config).apply({"params": params}, *padded_batch(padding))
    for i, name in enumerate(LENGTHS):
        np.testing.assert_allclose(embeddings[i], golden("wavlm_sv", name), atol=1e-4)


def test_the_shortest_recording_has_an_embedding():
    config, params = wavlm_sv_from_torch(weights("wavlm_sv"), "x", WAVLM)
    shortest = least_samples(config)
    assert 0.3 < shortest / 16_000 < 0.4
    embed = jax.jit(lambda x, n: WavlmSv(config).apply({"params": params}, x, n))
    waveform = sound(shortest)[None]
    assert np.isfinite(embed(waveform, np.array([shortest], np.int32))).all()
    assert not np.isfinite(embed(waveform, np.array([shortest - 1], np.int32))).all()


@pytest.mark.parametrize(
    ("module", "inputs", "millions"),
    [
        (Cnn14(Cnn14Config()), (np.zeros((1, 64, 64), np.float32), np.array([64], np.int32)), 80.75),
        (Vggish(VggishConfig()), (np.zeros((1, 96, 64), np.float32),), 72.14),
        (Utmos(UtmosConfig()), (np.zeros((1, 800), np.float32), np.array([800], np.int32)), 102.7),
        (WavlmSv(WavlmSvConfig()), (np.zeros((1, 9000), np.float32), np.array([9000], np.int32)), 100.23),
    ],
)
def test_the_published_sizes_are_the_defaults(module, inputs, millions):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))
    assert sum(x.size for x in jax.tree.leaves(shapes)) / 1e6 == pytest.approx(millions, rel=5e-3)


def test_wrong_files_are_named():
    state = weights("cnn14_16000")
    with pytest.raises(UserError, match=r"x.pth: lacks fc1.bias"):
        cnn14_from_torch({n: x for n, x in state.items() if n != "fc1.bias"}, "x.pth")
    with pytest.raises(UserError, match=r"x.pth: holds extra, which the model does not have"):
        cnn14_from_torch(state | {"extra": np.zeros(1)}, "x.pth")
    melw = "logmel_extractor.melW"
    with pytest.raises(UserError, match=r"its mel filters have shape \[129, 64\]"):
        cnn14_from_torch(state | {melw: state[melw][:129]}, "x.pth")

"""A codec of another sample rate, frame rate and number of codebooks, by import path: trained, exported,
dubbed.
"""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.codecs.registry import codec_config, codec_spec, grid_spec
from dualdub_jax.config import Config, from_dict, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.metrics.duration import Duration
from dualdub_jax.evaluation.run.stem_store import StemStore
from dualdub_jax.evaluation.run.systems import Checkpoint, with_tracks
from dualdub_jax.evaluation.suites.suite import Footage
from tests.codecs.toy_codec import TONE_HZ
from tests.films import make_film
from tests.tiny import tiny_config

KIND = "tests.codecs.toy_codec:ToyCodec"
RATE_HZ = 24_000


def toy_config(data_dir: str = "data", **codec) -> Config:
    """The tiny model on a grid of 40 Hz, with the toy codec for both streams."""
    values = to_dict(tiny_config())
    training = {"mixture": [{"name": "tiny_films/soundtrack"}]}
    for stream in values["streams"].values():
        stream["codec"] = {"kind": KIND, "training": training, **codec}
    values["grid"] |= {"frame_rate_hz": 40, "num_frames": 30}
    values["data_dir"] = data_dir
    values["model"]["script_vocab_size"] = 259
    values["grid"]["num_script_tokens"] = 20
    values["stages"] = [
        {"name": "soundtrack", "mixture": training["mixture"], "num_steps": 2, "batch_size": 2}
    ]
    return from_dict(values)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data_dir):
    """A run's folder, trained by the command."""
    folder = tmp_path_factory.mktemp("toy")
    config = folder / "toy.py"
    config.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        f"    return ConfigDict({to_dict(toy_config(tiny_data_dir))!r})\n"
    )
    assert main(["train", "--config", str(config), "--workdir", str(folder / "run")]) == 0
    return folder / "run"


def test_its_group_has_its_own_keys_and_a_wrong_one_is_named():
    config = toy_config(codebook_size=5)
    assert codec_config(config, "speech").codebook_size == 5
    assert from_dict(to_dict(config)) == config
    with pytest.raises(
        UserError, match=r"streams.speech.codec.codebook_sise: .*nearest one is .*codebook_size"
    ):
        codec_config(toy_config(codebook_sise=5), "speech")
    with pytest.raises(
        UserError, match=r"codec.kind: 'wav' is none of mel_rvq, dac, mimi, wavtokenizer, nor"
    ):
        from_dict({"streams": {"speech": {"codec": {"kind": "wav"}}}})


def test_its_rates_are_its_own_and_must_fit_the_grid():
    config = toy_config()
    spec = codec_spec(config, "background")
    assert (spec.sample_rate_hz, spec.frame_rate, spec.samples_per_frame) == (RATE_HZ, Fraction(40), 600)
    assert grid_spec(toy_config(frame_rate_hz=80), "speech").num_codebooks == 2  # folded onto the grid
    with pytest.raises(
        UserError,
        match=r"streams.speech.codec: its frame rate of 50 Hz is not a multiple of the grid's 40 Hz",
    ):
        grid_spec(toy_config(frame_rate_hz=50), "speech")


@pytest.mark.slow
def test_it_is_trained_exported_and_comes_back(run, tmp_path):
    config, params = load_bundle(run / "bundle")
    assert config.streams.speech.codec.kind == KIND
    assert set(params) == {"model", "speech_codec", "background_codec"}
    levels = np.asarray(params["speech_codec"]["levels"])
    assert levels.shape == (8,) and not np.allclose(levels, np.linspace(0, 0.7, 8))
    for arguments in ([], ["--format", "safetensors"]):
        out = tmp_path / f"out{len(arguments)}"
        assert main(["export", str(run), str(out), *arguments]) == 0
        exported, again = load_bundle(out)
        assert exported == config
        np.testing.assert_array_equal(again["speech_codec"]["levels"], levels)


@pytest.mark.slow
def test_a_film_is_dubbed_at_its_rate(run, tmp_path):
    film = make_film(tmp_path / "film.mp4", num_frames=40, rate=25, size=(32, 32))
    soundtrack = dualdub_jax.load(run / "bundle").dub(film, script="ab", seed=3)
    assert soundtrack.sample_rate_hz == RATE_HZ
    assert len(soundtrack.speech) == len(soundtrack.background) == round(1.6 * RATE_HZ)
    power = np.abs(np.fft.rfft(soundtrack.mix)) ** 2
    assert np.argmax(power) * RATE_HZ / len(soundtrack.mix) == pytest.approx(TONE_HZ, abs=2.0)
    status = main(
        ["dub", str(film), "--script", "ab", "--checkpoint", str(run / "bundle"), "--receipt",
         str(tmp_path / "receipt.json"), "-o", str(tmp_path / "out.mp4"), "--stems", str(tmp_path / "stems")]
    )  # fmt: skip
    assert status == 0
    assert json.loads((tmp_path / "receipt.json").read_text())["sample_rate_hz"] == RATE_HZ
    header = (tmp_path / "stems" / "speech.wav").read_bytes()[24:28]
    assert int.from_bytes(header, "little") == RATE_HZ


def test_streams_may_have_codecs_of_different_kinds():
    values = to_dict(tiny_config(grid=dataclasses.replace(tiny_config().grid, frame_rate_hz=40)))
    values["streams"]["background"]["codec"] = {"kind": KIND}
    mel = values["streams"]["speech"]["codec"]
    mel |= {"frame_rate_hz": 40, "hop_length": 200, "vocoder_hop_length": 100, "vocoder_n_fft": 640}
    config = from_dict(values)
    assert [grid_spec(config, stream).num_codebooks for stream in ("speech", "background")] == [3, 1]


@pytest.mark.slow
def test_its_soundtracks_are_evaluated_at_the_rate_of_the_metrics(run, tmp_path):
    film = make_film(tmp_path / "film.mp4", num_frames=40, rate=25, size=(32, 32))
    num_samples = round(1.6 * SAMPLE_RATE_HZ)
    stem = (0.3 * np.sin(2 * np.pi * 700.0 * np.arange(num_samples) / SAMPLE_RATE_HZ)).astype(np.float32)
    clip = Clip(id="a", num_samples=num_samples, text="ab", true_speech=stem, true_background=stem)
    checkpoint = Checkpoint(run / "bundle")
    footage = Footage(clip=clip, video=film, voice=None)
    for tracks in (
        checkpoint.generate(footage, StemStore(tmp_path / "store", "ours", checkpoint.settings())),
        checkpoint.code(clip),
    ):
        power = np.abs(np.fft.rfft(tracks.background)) ** 2
        assert np.argmax(power) / 1.6 == pytest.approx(TONE_HZ, abs=1.0)  # not slower by a half
        [value] = Duration().score([with_tracks(clip, tracks)])["duration_error_samples"]
        assert value == 0.0

"""Flow-matching decoders in a run: log-mels for speech, stereo latents for the background."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import soundfile

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.config import from_dict, to_dict
from tests.decoders.flow_matching.tiny_flow import MEL, converted_oobleck, flow_config
from tests.films import make_film

PHASES = ("decoder_speech", "decoder_background")


def run_config(data_dir, oobleck):
    """Both decoders on codecs of the tiny config; the autoencoder's path leads to random weights."""
    # A constant learning rate, so that a run of fewer steps is a part of a longer one.
    optimizer = {"warmup_steps": 0, "final_learning_rate_ratio": 1.0}
    training = {"num_steps": 3, "batch_size": 2, "crop_frames": 5, "statistics_steps": 2}
    training["optimizer"] = optimizer
    config = flow_config({**MEL, "training": training}, {**oobleck, "training": training})
    values = to_dict(config)
    mixture = [{"name": "tiny_films/soundtrack"}]
    values["data_dir"] = data_dir
    values["grid"] |= {"num_frames": 20, "num_script_tokens": 20}
    for stream in values["streams"].values():
        stream["codec"]["training"] |= {
            **{"mixture": mixture, "num_steps": 3, "vocoder_num_steps": 1, "crop_frames": 5},
            **{"batch_size": 2, "vocoder_batch_size": 2},
        }
    values["streams"]["speech"]["codec"]["speaker_dim"] = 8
    values["stages"] = [{"name": "soundtrack", "mixture": mixture, "num_steps": 1, "batch_size": 2}]
    return from_dict(values)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data_dir):
    """A trained run: its folder, and its command."""
    folder = tmp_path_factory.mktemp("flow")
    config = folder / "flow.py"
    values = to_dict(run_config(tiny_data_dir, converted_oobleck(folder)))
    config.write_text(
        f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
    )
    command = ["train", "--config", str(config), "--workdir", str(folder / "run")]
    assert main(command) == 0
    return folder, command


@pytest.mark.slow
def test_both_are_trained_measured_and_bundled_with_the_autoencoder(run):
    folder, _ = run
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    for phase in PHASES:
        last = [line for line in lines if line["phase"] == phase][-1]
        assert {"flow_loss", "regression_loss", "eval/loss", "eval/flow_loss"} <= last.keys()
    _, params = load_bundle(folder / "run" / "bundle", dtype=None)
    _, oobleck = read_converted(folder / "oobleck", "oobleck")
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x, np.float32), y, rtol=1e-2, atol=1e-6),
        params["background_decoder"]["autoencoder"],
        oobleck["decoder"],
    )
    for stream, dim in (("speech", 80), ("background", 3)):
        statistics = params[f"{stream}_decoder"]["statistics"]
        assert statistics["mean"].shape == (dim,) and (np.asarray(statistics["std"], np.float32) > 0).all()
        assert not np.allclose(np.asarray(statistics["mean"], np.float32), 0.0)


@pytest.mark.slow
def test_a_film_is_dubbed_in_stereo_without_the_converted_folder(run, tmp_path):
    folder, _ = run
    film = make_film(tmp_path / "film.mp4", num_frames=23)
    (folder / "oobleck").rename(folder / "elsewhere")
    try:
        dub = ["dub", str(film), "--script", "go", "--allow-inaudible", "--checkpoint"]
        outputs = ["-o", str(tmp_path / "out.mp4"), "--stems", str(tmp_path / "stems")]
        outputs += ["--receipt", str(tmp_path / "receipt.json"), "--report", str(tmp_path / "report.html")]
        assert main([*dub, str(folder / "run" / "bundle"), *outputs]) == 0
        receipt = json.loads((tmp_path / "receipt.json").read_text())
        assert receipt["decoders"] == {"speech": "flow_matching", "background": "flow_matching"}
        assert (receipt["sample_rate_hz"], receipt["num_channels"]) == (44_100, 2)
        tracks = {
            name: soundfile.read(tmp_path / "stems" / f"{name}.wav")[0]
            for name in ("speech", "background", "mix")
        }
        assert {track.shape for track in tracks.values()} == {(round(23 / 25 * 44_100), 2)}
        # The speech track is mono, and in the middle.
        np.testing.assert_array_equal(tracks["speech"][:, 0], tracks["speech"][:, 1])
        assert np.abs(tracks["background"][:, 0] - tracks["background"][:, 1]).max() > 0
        mixed = receipt["mix_gain"] * (tracks["speech"] + tracks["background"])
        np.testing.assert_allclose(tracks["mix"], mixed, atol=1 / 32768)
        sound = soundfile.info(str(tmp_path / "stems" / "mix.wav"))
        assert sound.channels == 2
    finally:
        (folder / "elsewhere").rename(folder / "oobleck")


@pytest.mark.slow
def test_the_codecs_own_decoders_are_a_flag(run, tmp_path):
    film = make_film(tmp_path / "film.mp4", num_frames=15)
    dub = ["dub", str(film), "--no-speech", "--checkpoint", str(run[0] / "run" / "bundle")]
    receipt = tmp_path / "receipt.json"
    assert main([*dub, "--decoder", "codec", "-o", str(tmp_path / "o.mp4"), "--receipt", str(receipt)]) == 0
    found = json.loads(receipt.read_text())
    assert found["decoders"] == {"speech": "codec", "background": "codec"}
    assert (found["sample_rate_hz"], found["num_channels"]) == (16_000, 1)


@pytest.mark.slow
def test_it_resumes_to_the_bit_and_exports(run, tmp_path):
    folder, command = run
    again = tmp_path / "again"
    shutil.copytree(folder / "run" / "codec_tokens_speech", again / "codec_tokens_speech")
    shutil.copyfile(folder / "run" / "run_config.json", again / "run_config.json")
    command = [*command[:-1], str(again), "--phases", "decoder_speech"]
    assert main([*command, "--config.streams.speech.decoder.training.num_steps=2"]) == 0
    assert main([*command]) == 2  # a longer run is another recipe
    assert main([*command, "--extend"]) == 0

    def last(workdir: pathlib.Path) -> dict[str, float]:
        lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        found = [line for line in lines if line["phase"] == "decoder_speech" and line.get("step") == 3]
        return {name: x for name, x in found[-1].items() if "loss" in name or name == "gradient_norm"}

    assert len(last(again)) > 4 and last(again) == last(folder / "run")
    assert main(["export", str(folder / "run"), str(tmp_path / "exported")]) == 0
    trained, exported = (
        load_bundle(path, dtype=None)[1] for path in (folder / "run" / "bundle", tmp_path / "exported")
    )
    jax.tree.map(np.testing.assert_array_equal, trained, exported)


@pytest.mark.slow
def test_a_long_track_is_decoded_in_chunks_to_the_same_samples(run):
    engine = dualdub_jax.load(run[0] / "run" / "bundle").engine
    tokens = np.random.default_rng(0).integers(0, 16, (800, 3)).astype(np.int32)  # 32 s
    decoder = engine.open_decoder("speech")
    streamed = np.concatenate([decoder.push(tokens[:500]), decoder.push(tokens[500:]), decoder.flush()])
    conditions = engine.decoders.conditions("speech", None, None)
    at_once = np.asarray(engine.decoders["speech"].decode(tokens[None], None, conditions))[0]
    assert streamed.shape == at_once.shape == (32 * 16_000,)
    np.testing.assert_allclose(streamed, at_once, atol=1e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "path=",
            "target='oobleck' has no path; get Stable Audio Open 1.0 (its autoencoder) (Stability AI "
            "Community License, gated) from huggingface.co/stabilityai/stable-audio-open-1.0 and run: "
            "dualdub convert FILE DIR",
        ),
        ("path=/nowhere/oobleck", "/nowhere/oobleck: no such folder; get Stable Audio Open 1.0"),
        ("oobleck.latent_dim=4", "set config.streams.background.decoder.oobleck.latent_dim=3"),
        (
            "training.batch_size=0",
            "streams.background.decoder.training.batch_size: is 0, expected at least 1",
        ),
    ],
)
@pytest.mark.slow
def test_an_autoencoder_that_is_not_there_is_found_by_the_check(run, tmp_path, capsys, override, message):
    _, command = run
    workdir = tmp_path / "checked"
    command = [*command[:-1], str(workdir), "--check", f"--config.streams.background.decoder.{override}"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not workdir.exists()

"""Frozen public codecs in a run: WavTokenizer speaks, DAC makes the background; trained, bundled, dubbed."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.config import to_dict
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.data_pipeline.record import decode_stem, text
from dualdub_jax.data_pipeline.sidecars import SidecarStore
from dualdub_jax.tools.named_codec import load_codec
from tests.convert.ports import weights, write_torch_file
from tests.films import make_film
from tests.tiny import tiny_config

SETTINGS = {
    "wavtokenizer": {"sampling_rate": 2400, "decoder_attention_num_groups": 8},
    "dac": {"sampling_rate": 3000},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data_dir):
    """A run's folder; its codecs have 100 frames a second, folded onto a grid of 25."""
    folder = tmp_path_factory.mktemp("public")
    values = to_dict(tiny_config())
    for stream, kind in (("speech", "wavtokenizer"), ("background", "dac")):
        (folder / kind).mkdir()
        (folder / kind / "config.json").write_text(json.dumps(SETTINGS[kind]))
        write_torch_file(folder / kind / "x.ckpt", {"state_dict": weights(kind)})
        assert main(["convert", str(folder / kind / "x.ckpt"), str(folder / kind / "out")]) == 0
        sizes, _ = read_converted(folder / kind / "out", kind)
        values["streams"][stream]["codec"] = {"kind": kind, "path": str(folder / kind / "out"), **sizes}
    mixture = [{"name": "tiny_films/soundtrack"}]
    values["grid"] |= {"frame_rate_hz": 25, "num_frames": 20, "num_script_tokens": 20}
    values["model"]["script_vocab_size"] = 259
    values["data_dir"] = tiny_data_dir
    values["stages"] = [{"name": "soundtrack", "mixture": mixture, "num_steps": 1, "batch_size": 2}]
    config = folder / "public.py"
    config.write_text(
        f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
    )
    assert main(["train", "--config", str(config), "--workdir", str(folder / "run")]) == 0
    return folder


def test_a_codec_trains_nothing_and_is_in_the_bundle(run):
    assert sorted(path.name for path in (run / "run").iterdir() if path.is_dir()) == [
        "bundle",
        "soundtrack",
        "tensorboard",
    ]
    _, params = load_bundle(run / "run" / "bundle", dtype=None)
    for stream, kind in (("speech", "wavtokenizer"), ("background", "dac")):
        _, converted = read_converted(run / kind / "out", kind)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(np.asarray(x, np.float32), y, rtol=1e-2, atol=1e-6),
            params[f"{stream}_codec"],
            converted,
        )


def test_tokens_and_features_are_prepared_with_them(run, tiny_data_dir, tmp_path):
    source = pathlib.Path(tiny_data_dir) / "tiny_films" / "soundtrack" / "1.0.0"
    folder = shutil.copytree(source, tmp_path / "films")
    (run / "clip").mkdir()
    (run / "clip" / "config.json").write_text(json.dumps({"num_attention_heads": 3}))
    write_torch_file(run / "clip" / "x.pt", weights("clip"))
    assert main(["convert", str(run / "clip" / "x.pt"), str(run / "clip" / "out")]) == 0
    extractor = f"clip(path={str(run / 'clip' / 'out')!r})"
    overrides = {"video_features.extractor": extractor, "model.video.kind": "features"}
    overrides["model.video.feature_dim"] = 20
    command = ["data", "prepare", str(folder), "--config", str(run / "public.py")]
    command += ["--codecs-from", str(run / "run" / "bundle")]
    assert main([*command, *(f"--config.{key}={value}" for key, value in overrides.items())]) == 0
    record = Dataset(folder).records("train")[0]
    clip, stores = text(record["id"]), {}
    for kind in ("video_features", "speech_tokens", "background_tokens"):
        (header,) = (folder / "sidecars" / kind).glob("*/sidecar.json")
        stores[kind] = SidecarStore.open(folder, kind, header.parent.name).get(clip)
    num_frames = round(float(record["duration_s"]) * 25)
    assert stores["video_features"].shape == (-(-num_frames // 3), 20)
    assert stores["speech_tokens"].shape == (num_frames, 4)  # 100 frames a second of one codebook
    assert stores["background_tokens"].shape == (num_frames, 12)
    codec = load_codec(f"{run / 'run' / 'bundle'}:background").codec
    stem = decode_stem(record["background"], clip, float(record["duration_s"]), codec.spec.sample_rate_hz)
    codes = np.asarray(codec.encode(stem[None])).reshape(num_frames, 12)
    assert (codes == stores["background_tokens"]).mean() > 0.99


def test_a_film_is_dubbed_without_the_converted_folders(run, tmp_path):
    for kind in SETTINGS:
        (run / kind / "out").rename(run / kind / "elsewhere")
    film = make_film(tmp_path / "film.mp4", num_frames=15)
    model = dualdub_jax.load(run / "run" / "bundle")
    assert model.engine.sample_rate_hz("speech") == 2400
    assert model.engine.sample_rate_hz("background") == 3000
    soundtrack = model.dub(film, use_speech=False)
    assert len(soundtrack.background) == round(soundtrack.film.duration_s * soundtrack.sample_rate_hz)
    assert np.isfinite(soundtrack.background).all() and soundtrack.background.any()

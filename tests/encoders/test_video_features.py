"""Precomputed video features in place of pixels: prepared, loaded, trained on, computed when dubbing."""

import dataclasses
import shutil
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.codecs.registry import make_codec
from dualdub_jax.config import Config, StageConfig, from_dict, to_dict
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.data_pipeline.mixture import open_dataset
from dualdub_jax.encoders.features import FeatureVideoEncoder
from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import batch_fields
from dualdub_jax.types import STREAMS
from tests.codecs.test_second_codec import KIND as TOY_CODEC
from tests.tiny import random_batch, tiny_config

EXTRACTOR = "tests.encoders.toy_extractor:MeanColours"


def feature_config(data_dir: str = "data", extractor: str = f"{EXTRACTOR}(gain=2.0)") -> Config:
    values = to_dict(tiny_config())
    values["model"]["video"] |= {"kind": "features", "feature_dim": 6}
    values["video_features"]["extractor"] = extractor
    values["grid"] |= {"num_script_tokens": 20, "num_frames": 24, "frame_rate_hz": 40}
    mixture = [{"name": "tiny_films/soundtrack"}]
    for stream in values["streams"].values():
        stream["codec"] = {"kind": TOY_CODEC, "training": {"mixture": mixture}}
    values["stages"] = [{"name": "s", "mixture": mixture, "num_steps": 2, "batch_size": 2}]
    values["data_dir"] = data_dir
    return from_dict(values)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_data_dir):
    """A dataset with features beside it, and a config file that reads them."""
    folder = tmp_path_factory.mktemp("features")
    shutil.copytree(tiny_data_dir, folder / "data")
    config = folder / "config.py"
    config.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        f"    return ConfigDict({to_dict(feature_config(str(folder / 'data')))!r})\n"
    )
    assert main(["data", "prepare", str(folder / "data"), "--config", str(config)]) == 0
    return config


def _batch(config: Config) -> dict:
    codecs = {
        stream: make_codec(config, stream, {"levels": np.linspace(0, 0.7, 8, dtype=np.float32)})
        for stream in STREAMS
    }
    batches = loader.make_batches(config, config.stages[0], codecs, seed=0)
    try:
        return next(batches)
    finally:
        batches.close()


def test_features_take_the_place_of_pixels_in_a_batch():
    fields = batch_fields(feature_config())
    assert "video" not in fields and fields["video_features"].shape == (24, 6)
    assert "video_features" not in batch_fields(tiny_config())


def test_frames_outside_the_clip_and_absent_videos_may_hold_anything():
    config = dataclasses.replace(feature_config(), video_features=tiny_config().video_features)
    module, batch = FeatureVideoEncoder(config.model), random_batch(config, 2)
    mask = np.arange(24) < np.array([[24], [10]])
    batch = batch.replace(frame_mask=mask, has_video=np.array([False, True]))
    params = module.init(jax.random.key(0), batch)
    expected = module.apply(params, batch)
    degraded = np.where(mask[..., None], batch.video_features, np.nan)
    degraded[0] = np.nan
    found = module.apply(params, batch.replace(video_features=degraded))
    np.testing.assert_array_equal(np.asarray(found)[1, :10], np.asarray(expected)[1, :10])
    assert bool(jnp.isfinite(found).all())


def test_the_loader_brings_prepared_features_to_the_grid(prepared):
    config = dualdub_jax.config.load_config(str(prepared))
    batch = _batch(config)
    records = open_dataset(config.data_dir, "tiny_films/soundtrack", "train")
    by_id = {record["id"].decode(): record for record in records}
    for row, clip in enumerate(batch["example_ids"]):
        num_frames = int(batch["frame_mask"][row].sum())
        duration_s = by_id[clip.split(":")[1]]["duration_s"]
        assert batch["has_video"][row] and num_frames == min(num_frames_of(duration_s, Fraction(40)), 24)
        features = batch["video_features"][row]
        assert features[:num_frames].max() > 0.1 and not features[num_frames:].any()
        changes = np.flatnonzero(np.abs(np.diff(features[:num_frames], axis=0)).max(1))
        assert len(changes) <= num_frames * 25 / 3 / 40 + 1  # a feature lasts 4.8 frames of the grid


def test_what_was_prepared_by_another_extractor_is_refused(prepared):
    config = dualdub_jax.config.load_config(str(prepared))
    other = dataclasses.replace(config.video_features, extractor=f"{EXTRACTOR}(gain=3.0)")
    with pytest.raises(
        UserError, match=r"made by another encoder \(fingerprint mean-colours-2, not mean-colours-3\)"
    ):
        _batch(dataclasses.replace(config, video_features=other))


def test_features_that_are_not_prepared_are_computed(tiny_data_dir):
    batch = _batch(feature_config(tiny_data_dir))
    assert batch["has_video"].all() and batch["video_features"][:, 0].any()


def test_without_an_extractor_the_command_that_makes_features_is_named(tiny_data_dir):
    with pytest.raises(UserError, match=r"has no precomputed video features.*dualdub data prepare"):
        _batch(feature_config(tiny_data_dir, extractor=""))
    with pytest.raises(UserError, match=r"extractor: is empty.*features reads features; set it"):
        dualdub_jax.encoders.extraction.make_extractor(feature_config(extractor=""))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("features", {"video_features"}),
        ("tests.encoders.toy_extractor:PixelsAndFeatures", {"video", "video_features"}),
    ],
    ids=["in place of pixels", "beside pixels"],
)
def test_training_and_dubbing_see_the_same_video(prepared, tmp_path, monkeypatch, kind, rows):
    workdir = tmp_path / "run"
    key = f"--config.model.video.kind={kind}"
    assert main(["train", "--config", str(prepared), "--workdir", str(workdir), key]) == 0
    model = dualdub_jax.load(workdir / "bundle")
    config = model.engine.config
    records = open_dataset(config.data_dir, "tiny_films/soundtrack", "train")
    film = next(record["video"] for record in records if record["id"] == b"train_6")
    (tmp_path / "film.mp4").write_bytes(film)  # 16 pictures, .64 s
    seen, generate = [], model.engine.generate

    def recorded(**request):
        seen.append(request["video"])
        return generate(**request)

    monkeypatch.setattr(model.engine, "generate", recorded)
    soundtrack = model.dub(tmp_path / "film.mp4", script="ab")
    assert soundtrack.sample_rate_hz == 24_000 and len(soundtrack.speech) == round(0.64 * 24_000)
    stage = StageConfig(name="all", mixture=config.stages[0].mixture, batch_size=7)
    window = dataclasses.replace(
        config, grid=dataclasses.replace(config.grid, num_frames=26), stages=(stage,)
    )
    batch = _batch(window)
    row = batch["example_ids"].index("tiny_films/soundtrack:train_6")
    assert set(seen[0]) == rows
    for name, video in seen[0].items():
        assert video.any()
        np.testing.assert_allclose(video, batch[name][row][: len(video)], atol=1e-6)

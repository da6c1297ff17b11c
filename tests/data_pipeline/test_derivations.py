"""What is prepared for training: features and tokens, equal to those computed on the fly."""

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
import rich.console

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.codecs.registry import codec_class, codec_config, make_codecs
from dualdub_jax.config import SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline.batch_iterator import BatchIterator
from dualdub_jax.data_pipeline.dataset import Dataset
from dualdub_jax.data_pipeline.derivations import (
    bundle_of_codecs,
    derivations,
    feature_derivation,
    fingerprint_of,
    token_derivation,
    token_fingerprint,
)
from dualdub_jax.data_pipeline.prepare import prepare
from dualdub_jax.data_pipeline.record import text
from dualdub_jax.data_pipeline.sidecars import SidecarStore
from dualdub_jax.errors import UserError
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.types import STREAMS
from tests.tiny import tiny_config

STAGE = StageConfig(name="films", mixture=(SourceConfig("tiny_films/soundtrack"),), batch_size=3)
BRIGHTNESS = "tests.data_pipeline.test_derivations:Brightness"


@dataclasses.dataclass
class Brightness:
    """An extractor of two features at 12.5 Hz: mean and maximum of a frame."""

    scale: float = 1.0

    frame_spec = FrameSpec(Fraction(25, 2), 16)
    dim = 2

    @property
    def fingerprint(self) -> str:
        return f"brightness-{self.scale}"

    def extract(self, frames: np.ndarray) -> np.ndarray:
        flat = frames.reshape(len(frames), -1).astype(np.float32)
        return self.scale * np.stack([flat.mean(1), flat.max(1)], axis=1)


@pytest.fixture
def data_dir(tiny_data_dir: str, tmp_path: pathlib.Path) -> pathlib.Path:
    source = pathlib.Path(tiny_data_dir) / "tiny_films" / "soundtrack"
    shutil.copytree(source, tmp_path / "data" / "tiny_films" / "soundtrack")
    return tmp_path / "data"


def _quiet() -> rich.console.Console:
    return rich.console.Console(file=io.StringIO())


def _config_of_pixels(data_dir: pathlib.Path):
    config = tiny_config(data_dir=str(data_dir))
    return dataclasses.replace(
        config, grid=dataclasses.replace(config.grid, num_frames=20, num_script_tokens=20)
    )


def _config(data_dir: pathlib.Path, extractor: str = BRIGHTNESS):
    config = _config_of_pixels(data_dir)
    video = dataclasses.replace(config.model.video, kind="features", feature_dim=2)
    model = dataclasses.replace(config.model, video=video)
    features = dataclasses.replace(config.video_features, extractor=extractor)
    return dataclasses.replace(config, model=model, video_features=features)


def _codecs(config):
    variables = {s: codec_class(config, s).init(codec_config(config, s), jax.random.key(0)) for s in STREAMS}
    return make_codecs(config, variables)


@contextlib.contextmanager
def _batches(config) -> Iterator[BatchIterator]:
    with contextlib.closing(loader.make_batches(config, STAGE, _codecs(config), seed=0)) as batches:
        yield batches


def test_prepared_features_reach_the_batch(data_dir: pathlib.Path) -> None:
    config = _config(data_dir)
    folder = data_dir / "tiny_films" / "soundtrack" / "1.0.0"
    with _batches(config) as batches:
        computed = [next(batches) for _ in range(3)]
    (derivation,) = derivations(config)
    assert derivation.kind == "video_features" and derivation.fingerprint == "brightness-1.0"
    store = prepare(folder, *derivation, console=_quiet())
    with _batches(config) as batches:
        batch = next(batches)
    assert batch["has_video"].all() and batch["video_features"].shape == (3, 20, 2)
    for row, clip in enumerate(batch["example_ids"]):
        features, frames = store.get(clip.partition(":")[2]), int(batch["frame_mask"][row].sum())
        assert len(features) == -(-frames // 2) and features[0, 0] > 0
        np.testing.assert_array_equal(batch["video_features"][row, :frames:2], features[: -(-frames // 2)])
    with _batches(config) as batches:
        for batch in computed:
            _assert_equal(next(batches), batch)


def _assert_equal(batch: dict, expected: dict) -> None:
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value, err_msg=name)


def test_features_of_another_extractor_are_refused(data_dir: pathlib.Path) -> None:
    folder = data_dir / "tiny_films" / "soundtrack" / "1.0.0"
    prepare(folder, *feature_derivation(Brightness(2.0)), console=_quiet())
    with pytest.raises(UserError, match=r"another encoder \(fingerprint brightness-2.0, not "):
        loader.make_batches(_config(data_dir), STAGE, _codecs(_config(data_dir)), seed=0)


def test_prepared_tokens_are_those_of_the_loader(data_dir: pathlib.Path) -> None:
    config = _config_of_pixels(data_dir)
    codecs = _codecs(config)
    folder = data_dir / "tiny_films" / "soundtrack" / "1.0.0"
    stores = {
        stream: prepare(folder, *token_derivation(stream, codecs[stream], "x", 20), console=_quiet())
        for stream in STREAMS
    }
    with _batches(config) as batches:
        batch = next(batches)
    for row, clip in enumerate(batch["example_ids"]):
        for stream in STREAMS:
            tokens = stores[stream].get(clip.partition(":")[2])
            np.testing.assert_array_equal(batch[f"{stream}_tokens"][row, : len(tokens)], tokens)
            assert len(tokens) == batch["frame_mask"][row].sum()


def test_prepared_tokens_reach_the_batch_and_stems_are_not_decoded(
    data_dir: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config_of_pixels(data_dir)
    codecs, folder = _codecs(config), data_dir / "tiny_films" / "soundtrack" / "1.0.0"
    variables = {s: codec_class(config, s).init(codec_config(config, s), jax.random.key(0)) for s in STREAMS}
    prints = {s: token_fingerprint(config, s, codecs[s].spec, variables[s]) for s in STREAMS}

    def batches_of(**options: Any) -> list[dict]:
        made = loader.make_batches(config, STAGE, codecs, seed=0, **options)
        with contextlib.closing(made) as batches:
            return [next(batches) for _ in range(3)]

    computed = batches_of(token_fingerprints=prints)  # none are prepared yet
    for stream in STREAMS:
        prepare(folder, *token_derivation(stream, codecs[stream], prints[stream], 20), console=_quiet())

    def decoded(*_: object) -> None:
        raise AssertionError("a stem was decoded")

    monkeypatch.setattr("dualdub_jax.data_pipeline.record._decode_around", decoded)
    monkeypatch.setattr(
        "dualdub_jax.data_pipeline.record.decode_voice", lambda *_: np.ones(6 * 640, np.float32)
    )
    for batch, expected in zip(batches_of(token_fingerprints=prints), computed, strict=True):
        without_voice = {
            name: value for name, value in expected.items() if name not in ("voice", "voice_mask")
        }
        _assert_equal({name: batch[name] for name in without_voice}, without_voice)
    with pytest.raises(UserError, match=r"its speech_tokens were made by another encoder \(fingerprint "):
        batches_of(token_fingerprints={"speech": "0" * 16})


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "from dualdub_jax.codecs.registry import codec_spec\n"
        "from dualdub_jax.config import Config\n"
        "from dualdub_jax.data_pipeline.derivations import fingerprint_of\n"
        "print(fingerprint_of([codec_spec(Config(), 'speech'), frozenset('abcdefgh')], {}))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_settings_of_a_codecs_training_do_not_change_its_fingerprint(tiny_data_dir: str) -> None:
    config = tiny_config(data_dir=tiny_data_dir)
    codec = codec_config(config, "speech")
    longer = dataclasses.replace(codec, training=dataclasses.replace(codec.training, num_steps=77))
    wider = dataclasses.replace(codec, width=codec.width * 2)

    def printed(codec: object) -> str:
        stream = dataclasses.replace(config.streams["speech"], codec=codec)
        streams = dataclasses.replace(config.streams, speech=stream)
        return token_fingerprint(dataclasses.replace(config, streams=streams), "speech", "spec", {})

    assert printed(codec) == printed(longer) != printed(wider)


def test_clips_without_a_stem_or_a_film_have_no_entry(tiny_data_dir: str, tmp_path: pathlib.Path) -> None:
    source = pathlib.Path(tiny_data_dir) / "tiny_films" / "text_speech" / "1.0.0"
    folder = shutil.copytree(source, tmp_path / "films")
    codecs = _codecs(tiny_config())
    tokens = token_derivation("background", codecs["background"], "x", 12)
    background = prepare(folder, *tokens, console=_quiet())
    features = prepare(folder, *feature_derivation(Brightness()), console=_quiet())
    clip = text(Dataset(folder).records("train")[0]["id"])
    assert len(background) == len(features) == 0 and clip not in features


def test_a_fingerprint_changes_with_settings_and_values() -> None:
    variables = {"a": np.arange(4.0), "b": {"c": np.zeros((2, 2), np.float32)}}
    same = {"b": {"c": np.zeros((2, 2), np.float32)}, "a": np.arange(4.0)}
    first = fingerprint_of("settings", variables)
    assert first == fingerprint_of("settings", same) and len(first) == 16
    changed = {**variables, "a": np.arange(4.0) + 1e-12}
    renamed = {"a": variables["a"], "b": {"d": variables["b"]["c"]}}
    values = [fingerprint_of("settings", v) for v in (changed, renamed)]
    others = [fingerprint_of("other", variables), *values]
    assert len({first, *others}) == 4


def test_the_codecs_of_a_run_that_trains_none_are_those_of_its_bundle(tmp_path: pathlib.Path) -> None:
    bundle = str(default_bundle_path())
    assert bundle_of_codecs(tiny_config(codecs_from=bundle)) == default_bundle_path()
    assert bundle_of_codecs(tiny_config(codecs_from=bundle, train_codecs=("speech",))) is None
    assert bundle_of_codecs(tiny_config(codecs_from=str(tmp_path))) is None  # a run
    assert bundle_of_codecs(tiny_config()) is None


def test_the_command(data_dir: pathlib.Path, tmp_path: pathlib.Path, capsys, monkeypatch) -> None:
    config = tmp_path / "features.py"
    config.write_text(
        "from configs import puppet\n"
        "def get_config():\n"
        "    config = puppet.get_config('tiny')\n"
        "    config.model.video.kind = 'features'\n"
        "    config.model.video.feature_dim = 2\n"
        f"    config.video_features.extractor = {BRIGHTNESS!r}\n"
        "    return config\n"
    )
    assert main(["data", "prepare", str(data_dir), "--config", str(config)]) == 0, capsys.readouterr().err
    folder = data_dir / "tiny_films" / "soundtrack" / "1.0.0"
    assert "train_0" in SidecarStore.open(folder, "video_features", "brightness-1.0")
    capsys.readouterr()
    assert main(["data", "prepare", str(data_dir), "--config", "configs/puppet.py"]) == 2
    assert "nothing to prepare; give --codecs-from BUNDLE" in capsys.readouterr().err
    assert main(["data", "prepare", str(tmp_path / "gone"), "--config", str(config)]) == 2
    assert "gone: no dataset there" in capsys.readouterr().err

"""One flash in the picture and one click in the sound stay on one grid frame, from the files to the batch."""

import contextlib
import csv
import io
import pathlib
import tarfile
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.config import Config, GridConfig, SourceConfig, StageConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.data_pipeline.derivations import token_derivation
from dualdub_jax.data_pipeline.prepare import prepare
from tests.data_pipeline.builders.corpora import build_one
from tests.data_pipeline.test_loader import STREAMS_OF_LEVELS

RATE_HZ = 48_000
GRID = GridConfig(num_frames=50, frame_size=16, num_script_tokens=8, num_voice_frames=4)
VARIABLE = [Fraction(ms, 1000) for ms in (0, 20, 90, 130, 300, 420, 700, 760, 1000, 1010, 1200, 1480, 1700)]
FILMS: dict[str, dict[str, Any]] = {
    "ntsc_film": {"rate": Fraction(24_000, 1001), "rotation": 90},
    "film": {"rate": Fraction(24), "pixel_aspect": Fraction(16, 11), "start": Fraction(3, 2)},
    "pal": {"rate": Fraction(25), "rotation": 180},
    "ntsc": {"rate": Fraction(30_000, 1001), "pixel_aspect": Fraction(8, 9), "start": Fraction(7, 5)},
    "phone": {"rate": Fraction(30), "rotation": 270, "start": Fraction(1, 2)},
    "pal_fields": {"rate": Fraction(50)},
    "game": {"rate": Fraction(60), "start": Fraction(10)},
    "variable": {"times": VARIABLE, "rotation": 90, "pixel_aspect": Fraction(2), "start": Fraction(3)},
}


class PeakCodec:
    """Each token is the peak of its frame."""

    def __init__(self, num_codebooks: int) -> None:
        self.spec = CodecSpec(16_000, Fraction(25), num_codebooks, 1024)

    def encode(self, waveform: np.ndarray, frame_mask: np.ndarray | None = None) -> np.ndarray:
        peaks = np.abs(waveform).reshape(len(waveform), -1, 640).max(-1)
        return np.repeat((100 * peaks).astype(np.int32)[..., None], self.spec.num_codebooks, axis=2)


def _flash_film(
    path: pathlib.Path,
    rate: Fraction = Fraction(25),
    times: list[Fraction] | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction = Fraction(1),
    start: Fraction = Fraction(0),
) -> None:
    """About 1.9 s of black, from 1 s on white for 40 ms or a picture; a click in its first grid frame."""
    times = times or [i / rate for i in range(int(Fraction(19, 10) * rate))]
    begin = min(time for time in times if time >= 1)
    frame = next(t for t in range(50) if begin <= (t + Fraction(1, 2)) / 25)  # shows it in its middle
    samples = np.zeros(round(Fraction(19, 10) * RATE_HZ), np.int16)
    click = round((frame + Fraction(1, 2)) / 25 * RATE_HZ)
    samples[click - 24 : click + 24] = 20_000
    unit = Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = unit
        video.options = {"bf": "2", "preset": "ultrafast", "crf": "16"}
        if pixel_aspect != 1:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            video.set_display_rotation(rotation)
        audio = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for time_s in times:
            picture = np.full((48, 64, 3), 255 if begin <= time_s < begin + Fraction(1, 25) else 0, np.uint8)
            shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
            shown.time_base, shown.pts = unit, round((time_s + start) / unit)
            container.mux(video.encode(shown))
        container.mux(video.encode())
        for first in range(0, len(samples) - 1199, 1200):
            sound = av.AudioFrame.from_ndarray(samples[None, first : first + 1200], "s16", "mono")
            sound.sample_rate, sound.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            sound.pts = first + round(start * RATE_HZ)
            container.mux(audio.encode(sound))
        container.mux(audio.encode())


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("flashes")
    for name, options in FILMS.items():
        _flash_film(folder / f"{name}.mov", **options)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _as_manifest(films: dict[str, bytes], folder: pathlib.Path) -> pathlib.Path:
    for name, data in films.items():
        (folder / name).write_bytes(data)
    with (folder / "flashes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video", "split"], *([name, "train"] for name in films)])
    return folder / "flashes.csv"


def _as_webdataset(films: dict[str, bytes], folder: pathlib.Path) -> pathlib.Path:
    with tarfile.open(folder / "train-000.tar", "w") as tar:
        for name, data in films.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return folder / "train-000.tar"


def _as_parquet(films: dict[str, bytes], folder: pathlib.Path) -> pathlib.Path:
    rows = [{"video": {"bytes": data, "path": name}, "id": name} for name, data in films.items()]
    path = folder / "train-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return folder


@pytest.mark.parametrize(
    ("builder", "store"),
    [("manifest", _as_manifest), ("webdataset", _as_webdataset), ("parquet", _as_parquet)],
)
def test_flash_and_click_are_on_one_frame_of_the_batch(
    films: dict[str, bytes], tmp_path: pathlib.Path, builder: str, store: Any
) -> None:
    source = tmp_path / "flashes"
    source.mkdir()
    dataset, _ = build_one(builder, tmp_path / "out", source=store(films, source))
    codec = PeakCodec(2)
    prepare(dataset.folder, *token_derivation("background", codec, "peaks", GRID.num_frames))
    name = str(dataset.folder.relative_to(tmp_path / "out"))
    stage = StageConfig(name="flashes", mixture=(SourceConfig(name),), batch_size=len(films))
    config = Config(data_dir=str(tmp_path / "out"), grid=GRID, streams=STREAMS_OF_LEVELS)
    codecs = {"speech": PeakCodec(3), "background": codec}
    for fingerprints in ({}, {"background": "peaks"}):
        batches = loader.make_batches(
            config, stage, codecs, seed=0, repeat=False, token_fingerprints=fingerprints
        )
        with contextlib.closing(batches):
            batch = next(batches)
        assert len(set(batch["example_ids"])) == len(films)
        for row, clip in enumerate(batch["example_ids"]):
            sound = batch["background_tokens"][row, :, 0]
            picture = batch["video"][row].mean(axis=(1, 2, 3))
            click = int(sound.argmax())
            assert sound[click] > 40 and picture[click] > 60, clip
            lit = np.flatnonzero(picture > picture.max() / 2)
            assert lit[0] == click and len(lit) <= (5 if "variable" in clip else 2), clip
            assert len(np.flatnonzero(sound > 20)) == 1, clip

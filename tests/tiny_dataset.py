"""Tiny datasets for the tests: little films, sines as stems, written by a TFDS builder like any other.

One config for each task of the curriculum, with all labels that training reads. Clip i has 10 + i frames of
the grid, its film shows frame numbers as brightness, and its stems are sines whose pitch tells the clip.
"""

import io
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from dualdub_jax.data_pipeline.record import RECORD, record_features
from tests.films import make_film

SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_FRAME = 640
NUM_TRAIN_CLIPS = 7
NUM_TEST_CLIPS = 3


def flac_bytes(samples: np.ndarray) -> bytes:
    """FLAC bytes of float[S] in [-1, 1], mono at 16 kHz, as a record holds them."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def sine_flac(num_samples: int, frequency_hz: float, level: float = 0.5) -> bytes:
    """FLAC bytes of a sine; level 0 is digital silence."""
    return flac_bytes(level * np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / SAMPLE_RATE_HZ))


def film_bytes(num_frames: int, **options: Any) -> bytes:
    """An H.264 film of `make_film`, as a record holds it."""
    options = {"size": (32, 32), **options}
    with tempfile.TemporaryDirectory() as folder:
        return make_film(pathlib.Path(folder) / "film.mp4", num_frames=num_frames, **options).read_bytes()


def make_record(name: str, num_frames: int = 10, **fields: Any) -> dict[str, Any]:
    """A whole record; `fields` replace some of it."""
    pitch_hz = 200.0 + 10 * num_frames
    record = {
        "id": name,
        "video": film_bytes(num_frames),
        "speech": sine_flac(num_frames * SAMPLES_PER_FRAME, pitch_hz),
        "background": sine_flac(num_frames * SAMPLES_PER_FRAME, 3 * pitch_hz),
        "voice": sine_flac(6 * SAMPLES_PER_FRAME, pitch_hz),
        "script": f"say {name}",
        "has_script": True,
        "duration_s": num_frames / 25,
        "video_features": b"",
        "video_features_rate_hz": 0.0,
        "licence": "",
        "events": "{}",
    }
    return {**record, **fields}


def make_labels(script: str) -> str:
    """Events of a clip of at least 10 frames: acoustics, times of the script's words and of phonemes."""
    words = script.split()
    times_s = np.linspace(0.04, 0.36, len(words) + 1).round(3).tolist()
    speech = {
        "words": [list(row) for row in zip(words, times_s[:-1], times_s[1:], strict=True)],
        "phonemes": [["s", 0.04, 0.08], ["A", 0.08, 0.2]],
    }
    return json.dumps(
        {"acoustics": {"rt60_s": 0.3, "noise_dbfs": -50.0}, "speech": speech if words else None}
    )


class TinyFilms(tfds.core.GeneratorBasedBuilder):
    """One dataset config for each stage of the curriculum."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, TFDS's own name
        tfds.core.BuilderConfig(name=name, description=name)
        for name in ("text_speech", "video_audio", "soundtrack")
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=record_features())

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {
            "train": self._generate_examples("train", NUM_TRAIN_CLIPS),
            "test": self._generate_examples("test", NUM_TEST_CLIPS),
        }

    def _generate_examples(self, split: str, num_clips: int) -> Iterator[tuple[str, dict[str, Any]]]:
        absent: dict[str, Any] = {
            "text_speech": {"video": b"", "background": b""},
            "video_audio": {"speech": b"", "voice": b"", "script": "", "has_script": False},
            "soundtrack": {},
        }[self.builder_config.name]
        for index in range(num_clips):
            name = f"{split}_{index}"
            record = make_record(name, 10 + index, **absent)
            record["events"] = make_labels(record["script"])
            yield name, {field: record[field] for field in RECORD}


def write_tiny_datasets(data_dir: pathlib.Path) -> None:
    """Writes "tiny_films/text_speech", "tiny_films/video_audio" and "tiny_films/soundtrack"."""
    tfds.disable_progress_bar()
    for config in TinyFilms.BUILDER_CONFIGS:
        builder = TinyFilms(config=config.name, data_dir=str(data_dir), file_format="array_record")
        builder.download_and_prepare()

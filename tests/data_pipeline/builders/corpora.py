"""Little sources for the tests of builders: recordings and the datasets that are built of them."""

import io
import json
import pathlib
from typing import Any

import numpy as np
import rich.console
import soundfile

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.dataset import Dataset


def write_sound(
    path: pathlib.Path,
    seconds: float = 2.0,
    *,
    rate_hz: int = 16_000,
    channels: int = 1,
    level: float = 0.3,
    pitch_hz: float = 200.0,
    silences_s: tuple[tuple[float, float], ...] = (),
) -> pathlib.Path:
    """A sine with silent stretches, as any file that soundfile writes."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = level * np.sin(2 * np.pi * pitch_hz * times_s)
    for start_s, end_s in silences_s:
        samples[(times_s >= start_s) & (times_s < end_s)] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(samples[:, None], channels, axis=1), rate_hz)
    return path


def build_one(name: str, out: pathlib.Path, **options: Any) -> tuple[Dataset, str]:
    """The dataset of a builder's only config, and what was printed; one process, all clips in "train"."""
    console = rich.console.Console(file=io.StringIO(), width=300)
    options = {"val_share": 0.0, "num_processes": 1, **options}
    (folder,) = build(name, out, console=console, **options)
    return Dataset(folder), console.file.getvalue()


def clips_of(dataset: Dataset, split: str = "train") -> dict[str, record.Record]:
    """Records by id, in the order of ids."""
    found = {record.text(clip["id"]): clip for clip in dataset.records(split)}
    return dict(sorted(found.items()))


def failures_of(dataset: Dataset) -> list[dict[str, str]]:
    """Lines of `failures.jsonl`."""
    path = dataset.folder / "failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def words_of(clip: record.Record) -> list[list]:
    """Times of words of a record."""
    return record.events(clip).get("speech", {}).get("words", [])

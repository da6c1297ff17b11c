"""`dualdub data build ljspeech`: the LJ Speech Dataset.

    LJSpeech-1.1/metadata.csv         LJ001-0001|text|normalised text
                 wavs/LJ001-0001.wav  22.05 kHz

Source: https://keithito.com/LJ-Speech-Dataset (Ito and Johnson, 2017), public domain; the layout also in
TFDS, `tensorflow_datasets/datasets/ljspeech`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.download import Download
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.stores.path import StorePath, as_path

_DOWNLOAD = Download(
    "LJ Speech Dataset",
    "https://keithito.com/LJ-Speech-Dataset",
    "public domain",
    "metadata.csv and wavs/LJ001-0001.wav",
)


@dataclasses.dataclass(frozen=True)
class LJSpeech(ClipBuilder):
    """Utterances of one speaker with their text, another of them as the voice."""

    clip_s: float = 10.0

    name: ClassVar[str] = "ljspeech"
    description: ClassVar[str] = "Read speech of one speaker with text: LJ Speech."
    source_help: ClassVar[str] = "the folder LJSpeech-1.1"
    example: ClassVar[str] = "--source LJSpeech-1.1"

    def check_source(self) -> None:
        folder = as_path(self.source)
        if not (folder / "metadata.csv").is_file() or not (folder / "wavs").is_dir():
            raise _DOWNLOAD.missing(self.source)

    def files(self) -> Sequence[StorePath]:
        folder = as_path(self.source)
        return [folder / "metadata.csv", *sorted((folder / "wavs").glob("*.wav"), key=str)]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip | Dropped]:
        folder = as_path(self.source)
        for number, line in enumerate(
            (folder / "metadata.csv").read_bytes().decode("utf-8-sig", "replace").split("\n"), start=1
        ):
            if not line.strip():
                continue
            # The fields are not quoted, so this is no CSV.
            name, *texts = line.split("|")
            if not texts:
                yield Dropped(f"metadata.csv line {number}", "bad row", f"expected ID|text|text: {line[:60]}")
                continue
            yield SourceClip(
                id=name,
                media={"speech": folder / "wavs" / f"{name}.wav"},
                text=texts[-1].strip() or texts[0].strip(),
                speaker="lj",
                language="en",
                licence="public domain",
            )

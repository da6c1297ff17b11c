"""`dualdub data build vggsound`: VGGSound, films of 10 s with a class of sound.

    VGGSound/vggsound.csv                     YOUTUBE_ID,START_SECONDS,LABEL,train|test     (no header)
             …/YOUTUBE_ID_000030.mp4          also YOUTUBE_ID_30.mp4 and YOUTUBE_ID_30000_40000.mp4

The authors distribute the table; the three names are those that downloaders of it write. Films without a
file are counted as dropped. Source: https://www.robots.ox.ac.uk/~vgg/data/vggsound (Chen et al., 2020); the
table is CC BY 4.0, the copyright of each film remains with its owner, so that clips have no licence unless
`--licence` names one. Columns of the table: README.md of https://github.com/hche11/VGGSound, the authors'
repository; the first of the names: its data/test.csv.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

from dualdub_jax.data_pipeline.builders.base import Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.download import Download
from dualdub_jax.data_pipeline.builders.clips.rows import VIDEO_SUFFIXES
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.stores.path import StorePath, as_path, find_files

_DOWNLOAD = Download(
    "VGGSound",
    "https://www.robots.ox.ac.uk/~vgg/data/vggsound",
    "CC-BY-4.0 for the table, the films are their owners'",
    "vggsound.csv and films such as video/YOUTUBE_ID_000030.mp4",
)


@dataclasses.dataclass(frozen=True)
class VGGSound(ClipBuilder):
    """Films with their sound as the background stem, unless it is separated, and their class in `labels`."""

    clip_s: float = 10.0

    name: ClassVar[str] = "vggsound"
    description: ClassVar[str] = "Films of 10 s with a class of sound: VGGSound."
    source_help: ClassVar[str] = "folder with vggsound.csv and the films"
    example: ClassVar[str] = "--source VGGSound --separate audio-separator --separator-model roformer.ckpt"

    def check_source(self) -> None:
        if not (as_path(self.source) / "vggsound.csv").is_file() or len(self.files()) < 2:
            raise _DOWNLOAD.missing(self.source)

    def files(self) -> Sequence[StorePath]:
        folder = as_path(self.source)
        films = [path for path in find_files(folder, "*") if _suffix(path) in VIDEO_SUFFIXES]
        return [folder / "vggsound.csv", *films]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip | Dropped]:
        table, *films = self.files()
        by_name = {path.name.removesuffix(pathlib.PurePosixPath(path.name).suffix): path for path in films}
        for number, line in enumerate(table.read_bytes().decode("utf-8-sig", "replace").split("\n"), start=1):
            if not line.strip():
                continue
            row = next(csv.reader([line]))  # by itself: a stray quote must not take other lines with it
            if len(row) != 4 or not row[1].strip().isdigit():
                yield Dropped(f"vggsound.csv line {number}", "bad row", line.strip()[:60], "manifest")
                continue
            video, start_s, label, split = row[0].strip(), int(row[1]), row[2], row[3]
            name = f"{video}_{start_s:06d}"
            others = (f"{video}_{start_s}", f"{video}_{1000 * start_s}_{1000 * start_s + 10_000}")
            film = next((by_name[known] for known in (name, *others) if known in by_name), None)
            if film is None:
                yield Dropped(name, "film is not there", label, "manifest")
                continue
            notes = {"labels": [{"class": label}]}
            try:
                yield SourceClip(name, {"video": film}, split=split, group=video, notes=notes)
            except ValueError as error:
                yield Dropped(name, "bad row", str(error), "manifest")


def _suffix(path: StorePath) -> str:
    return pathlib.PurePosixPath(path.name).suffix.lower()

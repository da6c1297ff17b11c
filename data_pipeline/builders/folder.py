"""`dualdub data build folder`: every video under a folder, with its sound, and nothing else known of it."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

from dualdub_jax.data_pipeline.builders.base import Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder
from dualdub_jax.data_pipeline.builders.clips.media_file import printable
from dualdub_jax.data_pipeline.builders.clips.rows import VIDEO_SUFFIXES
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, as_path, find_files


@dataclasses.dataclass(frozen=True)
class Folder(ClipBuilder):
    """Videos of any container, size and rate; their sound is the background stem unless it is separated."""

    name: ClassVar[str] = "folder"
    version: ClassVar[str] = "2.0.0"  # 2: cut at pauses and changes of shot by default
    description: ClassVar[str] = "Videos of a folder, with their sound as the background stem."
    unit: ClassVar[str] = "films"
    source_help: ClassVar[str] = "folder of videos, read with all folders in it"
    example: ClassVar[str] = "--source films --licence CC-BY-4.0 --clip-s 4"

    def check_source(self) -> None:
        folder = as_path(self.source)
        if not folder.is_dir():
            raise UserError(f"{self.source}: no such folder; give --source the folder of your videos")
        if not self.files():
            raise UserError(
                f"{self.source}: no video in it; known suffixes are {', '.join(sorted(VIDEO_SUFFIXES))}"
            )

    def files(self) -> Sequence[StorePath]:
        found = find_files(as_path(self.source), "*")
        return [path for path in found if pathlib.PurePosixPath(path.name).suffix.lower() in VIDEO_SUFFIXES]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip]:
        root = f"{as_path(self.source)}/"
        for path in self.files():
            name = str(path).removeprefix(root)
            # By film, so that no scene is in both splits.
            yield SourceClip(printable(name), {"video": path}, group=name)

"""`dualdub data build libritts`: LibriTTS, and LibriTTS-R, which has the same layout.

    LibriTTS/train-clean-100/SPEAKER/CHAPTER/SPEAKER_CHAPTER_PARAGRAPH_SENTENCE.wav          24 kHz
                                             SPEAKER_CHAPTER_PARAGRAPH_SENTENCE.normalized.txt

Subsets `dev-*` are the split "validation", `test-*` "test". Source: https://www.openslr.org/60 (Zen et al.,
2019) and https://www.openslr.org/141 (Koizumi et al., 2023), CC BY 4.0; names of subsets and utterances also
in TFDS, `tensorflow_datasets/datasets/libritts`, which reads the same texts in the chapters' `.trans.tsv`.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

from dualdub_jax.data_pipeline.builders.base import Item
from dualdub_jax.data_pipeline.builders.clips.builder import ClipBuilder, names_of
from dualdub_jax.data_pipeline.builders.clips.download import Download
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, as_path, find_files

_DOWNLOAD = Download(
    "LibriTTS",
    "https://www.openslr.org/60 or https://www.openslr.org/141",
    "CC-BY-4.0",
    "train-clean-100/SPEAKER/CHAPTER/*.wav and *.normalized.txt",
)
SUBSETS = (
    "train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other", "test-clean",
    "test-other",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LibriTTS(ClipBuilder):
    """Utterances of audiobooks with their text and another utterance of the speaker as the voice.

    Attributes:
        subsets: folders to read; empty: all that are there.
    """

    clip_s: float = 10.0
    subsets: tuple[str, ...] = ()

    name: ClassVar[str] = "libritts"
    description: ClassVar[str] = "Read speech with text: LibriTTS or LibriTTS-R."
    source_help: ClassVar[str] = "the folder LibriTTS or LibriTTS_R"
    example: ClassVar[str] = "--source LibriTTS_R --subset train-clean-100,dev-clean"

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        super().add_arguments(parser)
        parser.add_argument("--subset", dest="subsets", type=names_of, default=(), metavar="A,B",
            help="folders such as train-clean-100 (default: all that are there)")  # fmt: skip

    def check_source(self) -> None:
        found = [subset for subset in SUBSETS if (as_path(self.source) / subset).is_dir()]
        if not found:
            raise _DOWNLOAD.missing(self.source)
        if wrong := [subset for subset in self.subsets if subset not in found]:
            raise UserError(f"--subset {wrong[0]}: is not in {self.source}; it has {', '.join(found)}")
        if not self.files():
            raise _DOWNLOAD.missing(self.source)

    def files(self) -> Sequence[StorePath]:
        folders = [as_path(self.source) / subset for subset in self.subsets or SUBSETS]
        return [
            path
            for folder in folders
            if folder.is_dir()
            for path in find_files(folder, "*")
            if path.name.endswith((".wav", ".normalized.txt"))
        ]

    def items(self) -> Iterator[tuple[Item, str]]:
        return self.split_items(self._clips())

    def _clips(self) -> Iterator[SourceClip]:
        for path in self.files():
            if not path.name.endswith(".wav"):
                continue
            text = path.parent / f"{path.name.removesuffix('.wav')}.normalized.txt"
            speaker_folder = path.parent.parent
            yield SourceClip(
                id=f"{speaker_folder.parent.name}/{path.name.removesuffix('.wav')}",
                media={"speech": path},
                text=text.read_bytes().decode("utf-8-sig", "replace").strip() if text.is_file() else None,
                speaker=speaker_folder.name,
                language="en",
                licence=_DOWNLOAD.licence,
                split=speaker_folder.parent.name.partition("-")[0],
            )

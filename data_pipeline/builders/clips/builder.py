"""What the builders of media files share: options, splits, records; a source only says what its clips are."""

import abc
import argparse
import collections
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

from dualdub_jax.data_pipeline.builders.base import Builder, Dropped, Item
from dualdub_jax.data_pipeline.builders.clips.clip_settings import ClipSettings
from dualdub_jax.data_pipeline.builders.clips.cutting import MIN_CLIP_S, Cut
from dualdub_jax.data_pipeline.builders.clips.media_file import fingerprint, printable
from dualdub_jax.data_pipeline.builders.clips.records import make_records
from dualdub_jax.data_pipeline.builders.clips.separators import check_separator
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip
from dualdub_jax.data_pipeline.builders.clips.voices import with_voices
from dualdub_jax.data_pipeline.builders.clips.word_times import check_aligner
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.stores.argument import local, stored
from dualdub_jax.stores.path import StorePath, as_path

PAPER_MIN_STEM_DB = -40.0
_HASHING_THREADS = 16


@dataclasses.dataclass(frozen=True)
class ClipBuilder(Builder):
    """A corpus of media files. A subclass names the source's files and clips.

    Attributes:
        source: where the corpus is.
        dataset: name of the dataset; None derives it from the source's name.
        clip_s: longest clip, seconds.
        cut: how longer ones are cut.
        val_share: share of the films whose clips go to the split "validation", unless the
            source names splits.
        short_side: shorter side of the stored pictures, pixels; smaller pictures keep their size.
        without_sound: "keep" clips without any sound with their video alone, or "drop" them.
        mix_as: the stem that sound becomes if it is not separated.
        separate: how a mix is separated; "" leaves it whole.
        separator_model: the checkpoint's file.
        min_stem_db: clips with both stems are dropped if either is below this, dBFS; None: the paper's -40
            for separated ones, no limit for others.
        align_words: find the times of words where they are unknown.
        licence: of clips for which the source names none.
        licence_allow: only clips with one of these; empty: all.
    """

    source: StorePath
    dataset: str | None = None
    clip_s: float = 4.0
    cut: Cut = "quiet"
    val_share: float = 0.05
    short_side: int = 224
    without_sound: Literal["keep", "drop"] = "keep"
    mix_as: Literal["auto", "speech", "background"] = "auto"
    separate: str = ""
    separator_model: pathlib.Path | None = None
    min_stem_db: float | None = None
    align_words: bool = False
    licence: str = ""
    licence_allow: tuple[str, ...] = ()

    version: ClassVar[str] = "1.0.0"
    unit: ClassVar[str] = "clips"
    source_metavar: ClassVar[str] = "DIR"
    source_help: ClassVar[str] = "folder of the corpus"
    example: ClassVar[str] = ""

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        add = parser.add_argument
        add("--source", required=True, type=stored, metavar=cls.source_metavar, help=cls.source_help)
        add("--name", dest="dataset", metavar="NAME", help="of the dataset (default: the source's name)")
        add("--clip-s", type=float, default=cls.clip_s, metavar="S",
            help="longest clip, seconds; longer ones are cut (default: %(default)g)")  # fmt: skip
        add("--cut", choices=("quiet", "equal"), default="quiet",
            help="at pauses of the sound and changes of shot, or into equal parts; words stay whole "
            "(default: quiet)")  # fmt: skip
        add("--val-share", type=float, default=0.05, metavar="X",
            help="share of films in the validation split, where the source names no splits "
            "(default: 0.05)")  # fmt: skip
        add("--short-side", type=int, default=224, metavar="PIXELS",
            help="shorter side of stored pictures (default: 224, what CLIP takes)")  # fmt: skip
        add("--without-sound", choices=("keep", "drop"), default="keep",
            help="clips without sound: keep their video, or drop them (default: keep)")  # fmt: skip
        add("--mix-as", choices=("auto", "speech", "background"), default="auto",
            help="stem of sound that is not separated (default: auto: speech where a text is known, or else "
            "background)")  # fmt: skip
        add("--separate", choices=("gate", "audio-separator"), default="",
            help="divide mixed sound into stems; gate is for tests")  # fmt: skip
        add("--separator-model", type=local, metavar="FILE", help="checkpoint for audio-separator")
        add("--min-stem-db", type=float, metavar="DB",
            help="drop clips with both stems if either is below this level, dBFS (default: -40 with "
            "--separate, or else none)")  # fmt: skip
        add("--align-words", action="store_true", help="find the times of English words (extra: align)")
        add("--licence", default="", metavar="NAME",
            help="of clips for which the source has none, such as CC-BY-4.0 (default: unknown)")  # fmt: skip
        add("--licence-allow", type=names_of, default=(), metavar="A,B", help="keep only clips with these")

    @property
    def dataset_name(self) -> str:
        if self.dataset:
            return self.dataset
        path = as_path(self.source)
        name = path.name if not isinstance(path, pathlib.Path) else path.resolve().name
        plain = re.sub(r"[^a-z0-9]+", "_", self.plain_name(name).lower()).strip("_")
        return plain if plain[:1].isalpha() else f"clips_{plain}".rstrip("_")

    def plain_name(self, name: str) -> str:
        """What the dataset is called for a source of this name."""
        return name

    def check(self) -> None:
        for is_good, text in (
            (self.clip_s >= MIN_CLIP_S, f"--clip-s {self.clip_s:g}: expected {MIN_CLIP_S} s or more"),
            (0 <= self.val_share < 1, f"--val-share {self.val_share:g}: expected 0 or more, below 1"),
            (self.short_side >= 16, f"--short-side {self.short_side}: expected 16 pixels or more"),
            (re.fullmatch(r"[a-z][a-z0-9_]*", self.dataset_name),
             f"--name {self.dataset_name}: expected small letters, digits and _, a letter first"),
        ):  # fmt: skip
            if not is_good:
                raise UserError(text)
        if self.separate:
            check_separator(self.separate, self.separator_model)
        elif self.separator_model is not None:
            raise UserError("--separator-model: only goes with --separate audio-separator; add that")
        if self.align_words:
            check_aligner()
        self.check_source()

    @abc.abstractmethod
    def check_source(self) -> None:
        """Fails before any work if the source is not there or has another layout.

        Raises:
            UserError: names what is missing.
        """

    @abc.abstractmethod
    def files(self) -> Sequence[StorePath]:
        """All files that the clips are made of, in an order that does not change."""

    @abc.abstractmethod
    def items(self) -> Iterable[tuple[Item | Dropped, str]]:
        """Items of the source with the split of each: `SourceClip`s, or what `clips` makes them of."""

    def clips(self, item: Item) -> Iterator[SourceClip | Dropped]:
        """The clips of an item, in a worker process."""
        yield item

    def split_items(self, clips: Iterable[SourceClip | Dropped]) -> Iterator[tuple[Item, str]]:
        """Clips as items with their splits; speakers' other utterances become the voices that lack.

        What is dropped already is counted with the training split.
        """
        mix = () if self.mix_as == "background" and not self.separate else ("audio", "video")
        for clip in with_voices(clips, ("speech", *mix), self.val_share):
            yield clip, "train" if isinstance(clip, Dropped) else clip.split_of(self.val_share)

    def recipe(self, config: str) -> Mapping[str, Any]:
        files = self.files()
        with ThreadPoolExecutor(_HASHING_THREADS) as pool:
            prints = pool.map(fingerprint, files)
            digest = hashlib.sha256()
            root = str(self.source)
            for file, found in zip(files, prints, strict=True):
                name = printable(str(file)).removeprefix(root)
                digest.update(f"{name}\0{found}\n".encode())
        skipped = {"source", "dataset", "separator_model"}
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in skipped}
        model = {"separator_model": fingerprint(self.separator_model)} if self.separator_model else {}
        return {
            "files": len(files), "files_sha256": digest.hexdigest(), **model,
            **{name: _plain(value) for name, value in options.items()},
        }  # fmt: skip

    def splits(self, config: str) -> Mapping[str, Sequence[Item]]:
        splits: dict[str, list[Item]] = collections.defaultdict(list)
        for item, split in self.items():
            splits[split].append(item)
        order = ("train", "validation", "test")
        known = [split for split in order if split in splits]
        return {split: splits[split] for split in (*known, *sorted(set(splits) - set(order)))}

    def make_records(self, config: str, item: Item) -> Iterator[Record | Dropped]:
        if isinstance(item, Dropped):
            yield item
            return
        for clip in self.clips(item):
            if isinstance(clip, Dropped):
                yield clip
                continue
            licensed = clip if clip.licence else dataclasses.replace(clip, licence=self.licence)
            yield from make_records(licensed, self._settings)

    @property
    def _settings(self) -> ClipSettings:
        names = {field.name for field in dataclasses.fields(ClipSettings)}
        values = {name: getattr(self, name) for name in names}
        if self.min_stem_db is None and self.separate:
            values["min_stem_db"] = PAPER_MIN_STEM_DB
        return ClipSettings(**values)


def names_of(text: str) -> tuple[str, ...]:
    """Names with commas between them, as an option has them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value

"""`dualdub data build folder`: every video under a folder, cut into clips of one length."""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import av
import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Builder, Dropped
from dualdub_jax.data_pipeline.builders.folder.small_video import SmallVideo, Span, small_videos
from dualdub_jax.data_pipeline.builders.folder.sound import Sound, read_sound
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.media.container import open_media, video_stream
from dualdub_jax.media.timing import Timing, scan_timing
from dualdub_jax.stores.argument import local

# Of video files; other files under the folder are not looked at.
_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm",
    ".wmv",
})  # fmt: skip
_MIN_CLIP_S = 1
_CLIPS_PER_PART = 16  # what a worker holds at a time
_HASHED_BYTES = 1 << 16  # of a file's beginning and of its end


@dataclasses.dataclass(frozen=True)
class Part:
    """Some clips of one film, in order: `num_clips` from `first_clip` on; the film's path is relative."""

    file: str
    timing: Timing
    first_clip: int
    num_clips: int


@dataclasses.dataclass(frozen=True)
class Folder(Builder):
    """Videos of any container, size and rate, with their sound as the background stem; no script, no speech.

    Attributes:
        source: the folder, read with all folders in it.
        dataset: name of the dataset; None derives it from the folder's name.
        clip_s: length of a clip, seconds; a remainder of 1 s or more is a shorter clip.
        val_share: share of the films whose clips go to the validation split, by a hash of the file's name.
        short_side: shorter side of the stored pictures, pixels; smaller pictures keep their size.
        without_sound: "keep" films without a sound stream with their video alone, or "drop" them.
        licence: of the films, such as CC-BY-4.0; "" is unknown.
    """

    source: Path
    dataset: str | None = None
    clip_s: float = 4.0
    val_share: float = 0.05
    short_side: int = 224
    without_sound: Literal["keep", "drop"] = "keep"
    licence: str = ""

    name: ClassVar[str] = "folder"
    version: ClassVar[str] = "1.0.0"
    description: ClassVar[str] = "Videos of a folder, with their sound as the background stem."
    unit: ClassVar[str] = "film parts"

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        add = parser.add_argument
        add("--source", required=True, type=local, metavar="DIR", help="folder of videos")
        add("--name", dest="dataset", metavar="NAME", help="of the dataset (default: the folder's name)")
        add("--clip-s", type=float, default=4.0, metavar="S", help="length of a clip, seconds (default: 4)")
        add("--val-share", type=float, default=0.05, metavar="X",
            help="share of films in the validation split (default: 0.05)")  # fmt: skip
        add("--short-side", type=int, default=224, metavar="PIXELS",
            help="shorter side of stored pictures (default: 224, what CLIP takes)")  # fmt: skip
        add("--without-sound", choices=("keep", "drop"), default="keep",
            help="films without sound: keep their video, or drop them (default: keep)")  # fmt: skip
        add(
            "--licence", default="", metavar="NAME", help="of the films, such as CC-BY-4.0 (default: unknown)"
        )

    @property
    def dataset_name(self) -> str:
        if self.dataset:
            return self.dataset
        plain = re.sub(r"[^a-z0-9]+", "_", Path(self.source).resolve().name.lower()).strip("_")
        return plain if plain[:1].isalpha() else f"films_{plain}".rstrip("_")

    def check(self) -> None:
        for is_good, text in (
            (self.clip_s >= _MIN_CLIP_S, f"--clip-s {self.clip_s:g}: expected {_MIN_CLIP_S} s or more"),
            (0 <= self.val_share < 1, f"--val-share {self.val_share:g}: expected 0 or more, below 1"),
            (self.short_side >= 16, f"--short-side {self.short_side}: expected 16 pixels or more"),
            (re.fullmatch(r"[a-z][a-z0-9_]*", self.dataset_name),
             f"--name {self.dataset_name}: expected small letters, digits and _, a letter first"),
        ):  # fmt: skip
            if not is_good:
                raise UserError(text)
        if not Path(self.source).is_dir():
            raise UserError(f"{self.source}: no such folder; give --source the folder of your videos")
        if not self._files():
            raise UserError(
                f"{self.source}: no video in it; known suffixes are {', '.join(sorted(_SUFFIXES))}"
            )

    def recipe(self, config: str) -> Mapping[str, Any]:
        files = self._files()
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{_printable(file)}\0{_fingerprint(Path(self.source) / file)}\n".encode())
        return {
            "files": len(files),
            "files_sha256": digest.hexdigest(),
            "clip_s": self.clip_s,
            "val_share": self.val_share,
            "short_side": self.short_side,
            "without_sound": self.without_sound,
            "licence": self.licence,
        }

    def splits(self, config: str) -> Mapping[str, Sequence[Part | Dropped]]:
        splits: dict[str, list[Part | Dropped]] = {"train": [], "validation": []}
        for file in self._files():
            # By film, so that no scene is in both splits.
            draw = int.from_bytes(hashlib.sha256(os.fsencode(file)).digest()[:4], "big") / 2**32
            splits["validation" if draw < self.val_share else "train"] += self._parts(file)
        return splits

    def make_records(self, config: str, item: Part | Dropped) -> Iterator[Record | Dropped]:
        if isinstance(item, Dropped):
            yield item
            return
        path, name = Path(self.source) / item.file, _printable(item.file)
        spans = self._spans(item)
        try:
            sound = read_sound(
                path, item.timing.start_s + spans[0].start_s, item.timing.start_s + spans[-1].end_s
            )
        except ValueError as error:
            yield Dropped(name, "sound cannot be decoded", str(error))
            return
        if sound is None and self.without_sound == "drop":
            if item.first_clip == 0:  # named once a film
                yield Dropped(name, "no sound")
            return
        for index, (span, video) in enumerate(
            small_videos(path, item.timing, spans, self.short_side), start=item.first_clip
        ):
            if video is None or video.is_damaged:
                where = f"{name} at {float(span.start_s):.2f} s"
                yield Dropped(where, "damaged pictures" if video else "pictures cannot be decoded")
            else:
                yield self._record(f"{name}/{index:05d}", name, span, spans[0].start_s, video, sound)

    def _record(
        self,
        clip: str,
        name: str,
        span: Span,
        sound_start_s: Fraction,
        video: SmallVideo,
        sound: Sound | None,
    ) -> Record:
        background = b""
        if sound is not None:
            first = round((span.start_s - sound_start_s) * sound.sample_rate_hz)
            num_samples = round(float(span.end_s - span.start_s) * sound.sample_rate_hz)
            samples = sound.samples[first : first + num_samples]
            samples = np.pad(samples, (0, num_samples - len(samples)))
            background = record.encode_flac(samples, sound.sample_rate_hz)
        events = {"source": {"file": name, "start_s": round(float(span.start_s), 4)}}
        return record.make(
            id=clip,
            duration_s=float(span.end_s - span.start_s),
            video=video.mp4,
            background=background,
            licence=self.licence,
            events=json.dumps(events),
        )

    def _files(self) -> list[str]:
        """Paths of all videos, relative to the source, sorted."""
        root = Path(self.source)
        found = (path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        return sorted(path.relative_to(root).as_posix() for path in found)

    def _parts(self, file: str) -> list[Part | Dropped]:
        """A film as parts, without decoding it."""
        path, name = Path(self.source) / file, _printable(file)
        try:
            with open_media(path, "video") as container:
                timing = scan_timing(container, video_stream(container, path))
        except UserError as error:
            return [Dropped(name, "not a readable video", str(error))]
        except (av.error.FFmpegError, OSError) as error:
            return [Dropped(name, "not a readable video", str(error))]
        if not timing.num_pictures or timing.end_s - timing.start_s < _MIN_CLIP_S:
            return [Dropped(name, f"shorter than {_MIN_CLIP_S} s")]
        num_clips = len(self._all_spans(timing))
        # A bare stream has no times to seek to.
        size = _CLIPS_PER_PART if timing.has_timestamps else num_clips
        return [Part(file, timing, i, min(size, num_clips - i)) for i in range(0, num_clips, size)]

    def _spans(self, part: Part) -> list[Span]:
        return self._all_spans(part.timing)[part.first_clip : part.first_clip + part.num_clips]

    def _all_spans(self, timing: Timing) -> list[Span]:
        length_s, film_s = Fraction(self.clip_s).limit_denominator(1000), timing.end_s - timing.start_s
        spans = [
            Span(i * length_s, min((i + 1) * length_s, film_s)) for i in range(math.ceil(film_s / length_s))
        ]
        return [span for span in spans if span.end_s - span.start_s >= _MIN_CLIP_S]


def _printable(file: str) -> str:
    """A file's name as valid text, whatever bytes it has."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _fingerprint(path: Path) -> str:
    """Of a file's size, beginning and end: films are too long to be read for it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        for position in (0, max(0, size - _HASHED_BYTES)):
            file.seek(position)
            digest.update(file.read(_HASHED_BYTES))
    return digest.hexdigest()

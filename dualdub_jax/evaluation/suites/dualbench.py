"""The DualBench suite: the authors' unmodified list, with media provided by the user.

The list (`video-to-soundtrack.jsonl` of the repository wjtian-wonderful/DualBench) has 1,319 clips of
animated films with separated stems. Its paths are of the authors' machine; each path's last component is
searched under the user's folder.

The list has no reference voices. The reference is another clip of the same character ("Setting 2" of the
dubbing field), selected by a hash of the two ids, so that equal media give equal references. The paper's
protocol differs: its speaker similarity is computed against the true speech of the clip itself (the ground
truth scores 1.00).

`--protocol paper` has the columns of the paper's tables; our figures with similar names use other models and
are not comparable with them.
"""

import functools
import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.suites.json_lines import read_json_lines
from dualdub_jax.evaluation.suites.media_folder import MediaFolder
from dualdub_jax.evaluation.suites.pictures import count_samples, load_frames
from dualdub_jax.evaluation.suites.sound import Reading, read_track
from dualdub_jax.evaluation.suites.suite import Footage, Missing, Suite
from dualdub_jax.media.voice import read_voice

_TEXT_KEYS = ("audio", "speech", "video", "text")
_KINDS = {"video": "video", "speech": "speech", "background": "audio"}  # ours -> the list's key


class DualBenchSuite(Suite):
    """The clips of the list whose video exists."""

    name = "dualbench"

    def __init__(
        self,
        list_path: pathlib.Path,
        media: pathlib.Path,
        *,
        limit: int | None = None,
        reading: Reading = "mean",
    ) -> None:
        """Reads the list and finds its media.

        Args:
            list_path: the authors' file, or one of the same form.
            media: a folder that holds the clips' files, at any depth.
            limit: number of existing clips to take, selected by a hash of their ids; a smaller limit selects
                a subset of a larger one. None: all.
            reading: of the stems' channels.

        Raises:
            UserError: the list or the folder cannot be read, a line is malformed, a line matches several
                files, or no video of the list exists.
        """
        self._list_path, self._media, self._limit = list_path, media, limit
        self._read = functools.partial(read_track, reading=reading)
        self._reading = reading
        self._items = _read_list(list_path)
        folder = MediaFolder(media)
        self._files = {
            clip_id: {kind: folder.find(item[key], kind) for kind, key in _KINDS.items()}
            for clip_id, item in self._items.items()
        }
        present = [clip_id for clip_id in self._items if self._files[clip_id]["video"]]
        if not present:
            raise UserError(
                f"--media {media}: holds none of the {len(self._items)} videos of {list_path}, such as "
                f"{_name(next(iter(self._items.values()))['video'])}; give the folder that holds them"
            )
        chosen = set(sorted(present, key=_digest)[:limit])
        self._ids = [clip_id for clip_id in present if clip_id in chosen]
        self.missing_media = [
            Missing(clip_id, kind, _name(item[key]))
            for clip_id, item in self._items.items()
            for kind, key in _KINDS.items()
            if self._files[clip_id][kind] is None
        ] + [
            Missing(clip_id, "voice", f"speech of another clip of {character(clip_id)}")
            for clip_id in self._ids
            if next(self._references(clip_id, same=True), None) is None
        ]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def load(self, clip_id: str) -> Footage:
        """Reads film, stems and references, resampled to `clips.SAMPLE_RATE_HZ`; a missing stem is None."""
        files = self._files[clip_id]
        voice_id, voice = self._first_usable(clip_id, same=True)
        other_id, other = self._first_usable(clip_id, same=False)
        clip = Clip(
            id=clip_id,
            num_samples=count_samples(files["video"]),
            text=self._items[clip_id]["text"],
            voice=None if voice is None else self._read(voice),
            other_voice=None if other is None else self._read(other),
            true_speech=None if files["speech"] is None else self._read(files["speech"]),
            true_background=None if files["background"] is None else self._read(files["background"]),
            load_frames=functools.partial(load_frames, files["video"]),
            video=files["video"],
        )
        truth = {kind: {"true": files[kind]} for kind in ("speech", "background") if files[kind]}
        notes = {"character": character(clip_id), "voice": voice_id, "other_voice": other_id}
        return Footage(clip, files["video"], voice, truth, notes)

    def protocol(self) -> dict[str, Any]:
        num_without_voice = sum(missing.kind == "voice" for missing in self.missing_media)
        return {
            "list": self._list_path.name,
            "list_sha256": hashlib.sha256(self._list_path.read_bytes()).hexdigest(),
            "num_listed": len(self._items),
            "num_present": sum(files["video"] is not None for files in self._files.values()),
            "num_without_voice": num_without_voice,
            "limit": self._limit,
            "voices": "Setting 2: another clip of the same character, the first by a hash of both ids",
            "truth": "separated stems of the list",
            "channels": self._reading,
        }

    def _references(self, clip_id: str, *, same: bool) -> Iterator[str]:
        """Ids of clips with a speech stem, of this character or of others, in their hashed order."""
        own = character(clip_id)
        candidates = [
            other
            for other in self._items
            if other != clip_id and (character(other) == own) == same and self._files[other]["speech"]
        ]
        yield from sorted(candidates, key=lambda other: _digest(f"{clip_id} {other}"))

    def _first_usable(self, clip_id: str, *, same: bool) -> tuple[str | None, pathlib.Path | None]:
        """The first reference that contains speech; stems of short or mumbled lines may be silent."""
        for other in self._references(clip_id, same=same):
            path = self._files[other]["speech"]
            try:
                read_voice(path, GridConfig())
            except UserError:
                continue
            return other, path
        return None, None


def character(clip_id: str) -> str:
    """The speaking character: the id up to its first hyphen."""
    return clip_id.partition("-")[0]


def _read_list(path: pathlib.Path) -> dict[str, dict[str, str]]:
    items = {}
    for number, item in read_json_lines(path):
        for key in _TEXT_KEYS:
            if not isinstance(item.get(key), str):
                raise UserError(
                    f'{path}, line {number}: "{key}" must be a string, got {item.get(key)!r}; '
                    "give DualBench's video-to-soundtrack.jsonl"
                )
        items[item["id"]] = item
    return items


def _name(listed: str) -> str:
    return listed.replace("\\", "/").rpartition("/")[2]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

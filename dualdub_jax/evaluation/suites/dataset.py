"""The dataset suite: the clips of any dataset of our record schema, such as one of `dualdub data build`.

Films are generated for, as `dualdub dub` does, and compared with the stems of the records. A record without
video is refused by name when it is read, and the others are still evaluated.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.dataset import Dataset, find_datasets
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.suites.pictures import count_samples, load_frames
from dualdub_jax.evaluation.suites.suite import Footage, Suite, contact_times_s
from dualdub_jax.stores.path import StorePath

_STREAMS = ("speech", "background")


class DatasetSuite(Suite):
    """The clips of one split.

    Args:
        data: a dataset's folder, or one that holds exactly one dataset.
        workdir: keeps the records' media as files.
        split: of the dataset.
        limit: number of clips to take, selected by a hash of their numbers; a smaller limit selects a subset
            of a larger one. None: all.
        group_by: a field of the records, or a key of their annotations, whose values have figures of their
            own, such as "licence"; "" for none.

    Raises:
        UserError: no dataset or several, or no such split.
    """

    name = "dataset"

    def __init__(
        self,
        data: StorePath,
        workdir: pathlib.Path,
        *,
        split: str = "test",
        limit: int | None = None,
        group_by: str = "",
    ) -> None:
        folders = find_datasets(data)
        if len(folders) > 1:
            listed = ", ".join(str(folder) for folder in folders[:4])
            raise UserError(f"--data {data}: holds {len(folders)} datasets; name one of them: {listed}")
        self._dataset = Dataset(folders[0])
        if split not in self._dataset.splits:
            known = ", ".join(self._dataset.splits)
            raise UserError(f"--split {split}: {self._dataset.name} has no such split; it has {known}")
        self._records = self._dataset.records(split)
        self._split, self._limit, self._group_by = split, limit, group_by
        numbers = sorted(range(len(self._records)), key=_digest)[:limit]
        self._numbers = {f"{split}-{number:06d}": number for number in sorted(numbers)}
        self._fingerprint = self._dataset.fingerprint(split)
        self._folder = workdir / "films" / f"dataset-{_short(self._fingerprint)}"

    @property
    def ids(self) -> Sequence[str]:
        return list(self._numbers)

    def load(self, clip_id: str) -> Footage:
        """Writes the record's media as files unless they are there, and reads its stems.

        Raises:
            UserError: the record has no video, or cannot be decoded.
        """
        item = self._records[self._numbers[clip_id]]
        name = record.clip_id(self._dataset.name, item)
        if not item["video"]:
            raise UserError(f"{name}: has no video; build the dataset with it, or choose another split")
        video = self._file(clip_id, "mp4", item["video"])
        files = {
            stream: {"true": self._file(clip_id, f"{stream}.flac", item[stream])}
            for stream in _STREAMS
            if item[stream]
        }
        voice = self._file(clip_id, "voice.flac", item["voice"]) if item["voice"] else None
        duration_s, events = record.duration_s(item, name), record.events(item, name)

        def stem(stream: str) -> np.ndarray | None:
            if not item[stream]:
                return None
            return record.decode_stem(item[stream], name, duration_s, SAMPLE_RATE_HZ)

        clip = Clip(
            id=clip_id,
            num_samples=count_samples(video),
            text=record.script(item),
            voice=record.decode_voice(item["voice"], name, SAMPLE_RATE_HZ) if item["voice"] else None,
            true_speech=stem("speech"),
            true_background=stem("background"),
            load_frames=functools.partial(load_frames, video),
            video=video,
            world=events if "contacts" in events else None,
            group=self._group(item, events, name),
        )
        notes = {"record": record.text(item["id"]), "contacts_s": contact_times_s(clip.world)}
        return Footage(clip, video, voice, files, notes)

    def protocol(self) -> dict[str, Any]:
        return {
            "dataset": self._dataset.name,
            "dataset_sha256": self._fingerprint,
            "split": self._split,
            "num_listed": len(self._records),
            "limit": self._limit,
            "voices": "the records'",
            "group_by": self._group_by or None,
        }

    def _group(self, item: record.Record, events: dict[str, Any], name: str) -> str:
        if not self._group_by:
            return ""
        if self._group_by in events:
            return str(events[self._group_by])
        value = item.get(self._group_by)
        if not isinstance(value, str | bytes) or self._group_by in ("video", "voice", *_STREAMS):
            raise UserError(
                f"--group-by {self._group_by}: {name} has no text field and no annotation of this name; "
                f"there are licence, id, {', '.join(sorted(events))}"
            )
        return record.text(value)

    def _file(self, clip_id: str, suffix: str, content: bytes) -> pathlib.Path:
        path = self._folder / f"{clip_id}.{suffix}"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.part")
            temporary.write_bytes(content)
            temporary.replace(path)
        return path


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _short(fingerprint: str) -> str:
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:12]

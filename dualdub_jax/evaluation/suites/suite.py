"""The interface of a suite: a list of clips, loaded one by one."""

import abc
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.results import plain


@dataclasses.dataclass(frozen=True)
class Footage:
    """A film of a suite with its annotations.

    Attributes:
        clip: the film for metrics, its audio at `clips.SAMPLE_RATE_HZ`. `speech`, `background` and `mixture`
            are the system's if the suite provides them; None if a checkpoint is to generate them.
        video: the film's file; None if there is none.
        voice: the file of the reference recording; None if there is none.
        files: of the truth and of given soundtracks, for the report: kind ("speech", "background", "mix")
            -> system -> path.
        notes: for the report: `contacts_s`, the times of contacts in seconds, and suite-specific entries.
    """

    clip: Clip
    video: pathlib.Path | None = None
    voice: pathlib.Path | None = None
    files: Mapping[str, Mapping[str, pathlib.Path]] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def fingerprint(self) -> str:
        """Hex digest of everything except the system's soundtrack; equal digests denote the same task."""
        clip = self.clip
        known = [clip.num_samples, clip.text, clip.group, plain(clip.world)]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
        if self.video is not None:
            with self.video.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        update_with_audio(digest, clip.voice, clip.other_voice, clip.true_speech, clip.true_background)
        return digest.hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Missing:
    """A file that a suite lists and that does not exist.

    Attributes:
        id: of the clip.
        kind: "video", "speech", "background", "mix" or "voice".
        file: its name, or a description.
    """

    id: str
    kind: str
    file: str


class Suite(abc.ABC):
    """A list of clips.

    Attributes:
        name: such as "puppet".
        is_generated: a checkpoint generates the soundtracks; False: the suite provides them.
        missing_media: complete once the suite is constructed.
    """

    name: str
    is_generated: bool = True
    missing_media: Sequence[Missing] = ()

    @property
    @abc.abstractmethod
    def ids(self) -> Sequence[str]:
        """Ids of all clips, in order; cheap."""

    @abc.abstractmethod
    def load(self, clip_id: str) -> Footage:
        """Reads a clip, rendering it first if necessary.

        Waveforms are resampled to `clips.SAMPLE_RATE_HZ`. An exception is a failure of this clip only.
        """

    @abc.abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What the figures depend on, JSON-serialisable."""


def update_with_audio(digest: Any, *tracks: np.ndarray | None) -> None:
    """Updates a hash with waveforms; absent, empty and swapped tracks give different digests."""
    for track in tracks:
        digest.update(b"none" if track is None else f"{len(track)} ".encode())
        if track is not None:
            digest.update(np.ascontiguousarray(track, np.float32).tobytes())


def contact_times_s(world: Mapping[str, Any] | None) -> list[float]:
    """Times of the contacts in seconds; empty where there are no annotations."""
    return [contact["time_s"] for contact in (world or {}).get("contacts", ())]


def samples_of_frames(num_frames: int) -> int:
    """Samples of a film of `num_frames` frames at `FRAME_RATE_HZ`."""
    return num_frames * SAMPLE_RATE_HZ // FRAME_RATE_HZ

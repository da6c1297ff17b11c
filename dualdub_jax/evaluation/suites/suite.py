"""What is evaluated: each suite is a list of clips that are loaded one by one."""

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
    """A film of a suite with all that is known of it.

    Attributes:
        clip: the film for metrics. Its `speech`, `background` and `mixture` are those of the system under
            test if the suite brings them, else None: they are to be made.
        video: the film's file; None if there is none.
        voice: the file of the reference recording; None if there is none.
        files: of the truth and of given soundtracks, for the report: kind ("speech", "background", "mix")
            -> system -> path.
        notes: what the report should know of this clip: `contacts_s`, when things touch, and what else a
            suite has to say.
    """

    clip: Clip
    video: pathlib.Path | None = None
    voice: pathlib.Path | None = None
    files: Mapping[str, Mapping[str, pathlib.Path]] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def fingerprint(self) -> str:
        """Hex digest of everything but the soundtrack under test; equal: the same task."""
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
    """A file that a suite names and that is not there.

    Attributes:
        id: of the clip.
        kind: "video", "speech", "background", "mix" or "voice".
        file: its name, or what was looked for.
    """

    id: str
    kind: str
    file: str


class Suite(abc.ABC):
    """A list of clips.

    Attributes:
        name: such as "puppet".
        is_generated: soundtracks are to be made by a checkpoint; False: the suite brings them.
        missing_media: known once the suite is made.
    """

    name: str
    is_generated: bool = True
    missing_media: Sequence[Missing] = ()

    @property
    @abc.abstractmethod
    def ids(self) -> Sequence[str]:
        """Of all clips, in order; cheap."""

    @abc.abstractmethod
    def load(self, clip_id: str) -> Footage:
        """Reads a clip (renders it first, if need be); whatever goes wrong is an exception of this clip."""

    @abc.abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What the figures depend on, ready for JSON."""


def update_with_audio(digest: Any, *tracks: np.ndarray | None) -> None:
    """Feeds waveforms to a hash, so that absent, empty and swapped tracks all differ."""
    for track in tracks:
        digest.update(b"none" if track is None else f"{len(track)} ".encode())
        if track is not None:
            digest.update(np.ascontiguousarray(track, np.float32).tobytes())


def contact_times_s(world: Mapping[str, Any] | None) -> list[float]:
    """When things touch, seconds; none where nobody knows."""
    return [contact["time_s"] for contact in (world or {}).get("contacts", ())]


def samples_of_frames(num_frames: int) -> int:
    """Samples of a film on the grid."""
    return num_frames * SAMPLE_RATE_HZ // FRAME_RATE_HZ

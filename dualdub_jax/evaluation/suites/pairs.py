"""The pairs suite: scores soundtracks of any system, listed in a manifest, without a model.

The manifest has one JSON object a line. Every key but "id" is optional; relative paths are resolved against
the manifest's folder:

    {"id": "clip-1", "video": "clip-1.mp4", "text": "the script",
     "speech": "ours/clip-1.speech.wav", "background": "ours/clip-1.background.wav", "mix": "ours/clip-1.wav",
     "voice": "clip-1.reference.wav", "other_voice": "somebody-else.wav", "speaker": "Tim",
     "true_speech": "true/clip-1.speech.wav", "true_background": "true/clip-1.background.wav",
     "world": "clip-1.events.json", "group": "seen", "generation_s": 1.25}

"text": "" denotes a clip without speech; without the key the script is unknown. "world" holds the annotations
of a rendered world, as a path or inline. "other_voice", for the wrong-speaker control, defaults to the
"voice" of the next line with another "speaker". Audio may have any format and sample rate; it is mixed to
mono and resampled to `clips.SAMPLE_RATE_HZ`.
"""

import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.suites.json_lines import read_json_lines
from dualdub_jax.evaluation.suites.pictures import count_samples, load_frames
from dualdub_jax.evaluation.suites.sound import Reading, read_track
from dualdub_jax.evaluation.suites.suite import Footage, Missing, Suite, contact_times_s
from dualdub_jax.media.container import open_media

_PATHS = (
    "video",
    "speech",
    "background",
    "mix",
    "voice",
    "other_voice",
    "true_speech",
    "true_background",
)
_TEXTS = ("text", "group", "speaker")
_SOUND = _PATHS[1:]
_SYSTEM = ("speech", "background", "mix")


class PairsSuite(Suite):
    """The manifest's clips."""

    name = "pairs"
    is_generated = False

    def __init__(
        self, manifest: pathlib.Path, *, limit: int | None = None, reading: Reading = "mean"
    ) -> None:
        """Reads and checks the manifest.

        Args:
            manifest: the file.
            limit: number of lines to take, selected by a hash of their ids. None: all.
            reading: of the tracks' channels.

        Raises:
            UserError: it cannot be read, a line is malformed, or none of its soundtracks exists.
        """
        self._manifest, self._limit, self._reading = manifest, limit, reading
        items = {item["id"]: _check(manifest, number, item) for number, item in read_json_lines(manifest)}
        _fill_other_voices(list(items.values()))
        chosen = sorted(items, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[:limit]
        self._num_listed = len(items)
        self._items = {clip_id: item for clip_id, item in items.items() if clip_id in set(chosen)}
        self.missing_media = [
            Missing(clip_id, key.removeprefix("true_").removeprefix("other_"), str(item[key]))
            for clip_id, item in self._items.items()
            for key in (*_PATHS, "world")
            if isinstance(item.get(key), pathlib.Path) and not item[key].is_file()
        ]
        for missing in self.missing_media:
            item = self._items[missing.id]
            for key in [key for key, value in item.items() if str(value) == missing.file]:
                del item[key]
        if not any(item.get(key) for item in self._items.values() for key in _SYSTEM):
            raise UserError(
                f"{manifest}: no line has a speech, background or mix file that exists; nothing to score"
            )

    @property
    def ids(self) -> Sequence[str]:
        return list(self._items)

    def load(self, clip_id: str) -> Footage:
        """Reads the line's files, audio resampled to `clips.SAMPLE_RATE_HZ`.

        Raises:
            UserError: one of them cannot be decoded.
        """
        item = self._items[clip_id]
        sound = {key: read_track(item[key], self._reading) for key in _SOUND if item.get(key)}
        video = item.get("video")
        if video:
            num_samples = count_samples(video)
            for key in _SYSTEM:
                if key in sound:
                    sound[key] = without_rounding(sound[key], item[key], num_samples)
        else:
            # Without a film the truth defines the duration; without truth, the system's own tracks do.
            truth = [sound[key] for key in ("true_speech", "true_background") if key in sound]
            given = [sound[key] for key in _SYSTEM if key in sound]
            num_samples = max(map(len, truth or given), default=0)
        clip = Clip(
            id=clip_id,
            num_samples=num_samples,
            speech=sound.get("speech"),
            background=sound.get("background"),
            mixture=sound.get("mix"),
            text=item.get("text"),
            voice=sound.get("voice"),
            other_voice=sound.get("other_voice"),
            true_speech=sound.get("true_speech"),
            true_background=sound.get("true_background"),
            load_frames=functools.partial(load_frames, video) if video else None,
            video=video,
            world=_read_world(item.get("world")),
            group=item.get("group", ""),
            generation_s=item.get("generation_s"),
        )
        files: dict[str, dict[str, pathlib.Path]] = {"speech": {}, "background": {}, "mix": {}}
        for key in ("speech", "background", "mix"):
            if item.get(key):
                files[key]["ours"] = item[key]
            if item.get(f"true_{key}"):
                files[key]["true"] = item[f"true_{key}"]
        notes = {"speaker": item["speaker"]} if item.get("speaker") else {}
        if clip.world is not None:
            notes["contacts_s"] = contact_times_s(clip.world)
        return Footage(clip, video, item.get("voice"), files, notes)

    def protocol(self) -> dict[str, Any]:
        return {
            "manifest": self._manifest.name,
            "manifest_sha256": hashlib.sha256(self._manifest.read_bytes()).hexdigest(),
            "num_listed": self._num_listed,
            "limit": self._limit,
            "voices": "the manifest's",
            "channels": self._reading,
        }


def without_rounding(track: np.ndarray, path: pathlib.Path, num_samples: int) -> np.ndarray:
    """Corrects the length of a resampled track by the one sample that rounding can add or remove.

    A soundtrack of exactly the film's duration at another rate would otherwise have a duration error. Tracks
    at the metrics' rate, and larger errors, are left unchanged.

    Args:
        track: float32[S] at `SAMPLE_RATE_HZ`.
        path: its file.
        num_samples: of the film at `SAMPLE_RATE_HZ`.
    """
    if abs(len(track) - num_samples) != 1:
        return track
    with open_media(path, "sound") as container:
        if container.streams.best("audio").rate == SAMPLE_RATE_HZ:
            return track
    return np.pad(track, (0, 1))[:num_samples]


def _check(manifest: pathlib.Path, number: int, item: dict[str, Any]) -> dict[str, Any]:
    """Validates a line and resolves its paths."""
    where = f"{manifest}, line {number}"
    known = ("id", *_PATHS, *_TEXTS, "world", "generation_s")
    for key, value in item.items():
        if key not in known:
            raise UserError(f'{where}: no such key "{key}"; the keys are {", ".join(known)}')
        if key in (*_PATHS, *_TEXTS) and not isinstance(value, str | None):
            raise UserError(f'{where}: "{key}" must be a string, got {value!r}')
    if not isinstance(item.get("world"), str | dict | None):
        raise UserError(f'{where}: "world" must be a path or an object, got {item["world"]!r}')
    seconds = item.get("generation_s")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and math.isfinite(seconds) and seconds >= 0):
        raise UserError(f'{where}: "generation_s" must be a number of seconds, at least 0, got {seconds!r}')
    resolved = {key: value for key, value in item.items() if value is not None}
    for key in (*_PATHS, "world"):
        if isinstance(resolved.get(key), str):
            if not resolved[key]:
                raise UserError(f'{where}: "{key}" is empty; give a path or leave the key out')
            resolved[key] = manifest.parent / resolved[key]
    return resolved


def _fill_other_voices(items: list[dict[str, Any]]) -> None:
    given = [dict(item) for item in items]
    for index, item in enumerate(items):
        if "other_voice" in item or "speaker" not in item:
            continue
        following = given[index + 1 :] + given[:index]
        others = (other for other in following if other.get("speaker") not in (None, item["speaker"]))
        voice = next((other["voice"] for other in others if "voice" in other), None)
        if voice is not None:
            item["other_voice"] = voice


def _read_world(world: pathlib.Path | dict[str, Any] | None) -> dict[str, Any] | None:
    if not isinstance(world, pathlib.Path):
        return world
    try:
        value = json.loads(world.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{world}: not JSON; give the annotations of the clip as one object") from None
    if not isinstance(value, dict):
        raise UserError(f"{world}: expected a JSON object, got {type(value).__name__}")
    return value

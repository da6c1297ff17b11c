"""A cache of the soundtracks generated for an evaluation, from which an interrupted run resumes.

One folder for each set of settings. It holds a clip's tracks as 16-bit FLAC at the metrics' rate and, written
last, a JSON file with the fingerprint of their inputs. Stems at that rate are 16-bit values already, so they
are restored bit-exactly.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ


class WorkdirError(UserError):
    """The working directory cannot be written; ends the whole run, not one clip."""


@dataclasses.dataclass(frozen=True)
class Tracks:
    """A system's soundtrack.

    Attributes:
        speech: float32[S] at `clips.SAMPLE_RATE_HZ`, see `clips.at_metric_rate`; None: no such track.
        background: likewise.
        mixture: likewise, of systems without stems.
        generation_s: generation time in seconds, compilation excluded; None: unknown.
    """

    speech: np.ndarray | None = None
    background: np.ndarray | None = None
    mixture: np.ndarray | None = None
    generation_s: float | None = None


class StemStore:
    """Tracks of one system under one set of settings."""

    def __init__(self, workdir: pathlib.Path, system: str, settings: dict[str, Any]) -> None:
        """Names the folder by a digest of the settings; writes nothing yet.

        Args:
            workdir: of the evaluation.
            system: see `results.SYSTEMS`.
            settings: everything that the tracks depend on besides their clip; JSON-serialisable.
        """
        text = json.dumps(settings, sort_keys=True)
        self.folder = workdir / "stems" / f"{system}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        self._settings = settings

    def path(self, clip_id: str, name: str) -> pathlib.Path:
        """Path of a track ("speech.flac", "background.flac") or of another file of the clip."""
        return self.folder / f"{file_stem(clip_id)}.{name}"

    def has(self, clip_id: str, inputs: str) -> bool:
        """Whether the store holds the clip's tracks, made from these inputs: see `put`."""
        try:
            note = json.loads(self.path(clip_id, "json").read_text(encoding="utf-8"))
            return note["inputs"] == inputs and all(
                self.path(clip_id, f"{name}.flac").is_file() for name in note["stems"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def get(self, clip_id: str) -> Tracks:
        """The clip's tracks, float32[S] at `clips.SAMPLE_RATE_HZ`; only valid if `has` is true."""
        note = json.loads(self.path(clip_id, "json").read_text(encoding="utf-8"))
        stems = {name: _read(self.path(clip_id, f"{name}.flac")) for name in note["stems"]}
        return Tracks(**stems, generation_s=note["generation_s"])

    def put(self, clip_id: str, inputs: str, tracks: Tracks) -> None:
        """Stores a clip's speech and background.

        Args:
            clip_id: of the clip.
            inputs: fingerprint of the inputs of the tracks.
            tracks: at `clips.SAMPLE_RATE_HZ`; quantised to 16 bits.

        Raises:
            WorkdirError: the folder cannot be written.
        """
        note = self.path(clip_id, "json")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "settings.json").write_text(json.dumps(self._settings, indent=1), encoding="utf-8")
            note.unlink(missing_ok=True)
            stems = {name: getattr(tracks, name) for name in ("speech", "background")}
            stems = {name: stem for name, stem in stems.items() if stem is not None}
            for name, stem in stems.items():
                _write(self.path(clip_id, f"{name}.flac"), stem)
            known = {"inputs": inputs, "stems": list(stems), "generation_s": tracks.generation_s}
            temporary = note.with_suffix(f".{os.getpid()}.part")
            temporary.write_text(json.dumps(known), encoding="utf-8")
            temporary.replace(note)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Converts an `OSError` into a `WorkdirError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise WorkdirError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --workdir"
        ) from error


def file_stem(clip_id: str) -> str:
    """A file name for any id: other characters than letters, digits, - and _ are replaced by _, and a digest
    keeps such names unique."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", clip_id)[:100]
    return safe if safe and safe == clip_id else f"{safe}-{hashlib.sha256(clip_id.encode()).hexdigest()[:8]}"


def _write(path: pathlib.Path, samples: np.ndarray) -> None:
    lattice = np.clip(np.round(np.asarray(samples, np.float64) * 32768.0), -32768, 32767).astype(np.int16)
    try:
        soundfile.write(path, lattice, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    except soundfile.SoundFileError as error:
        raise OSError(0, str(error)) from error


def _read(path: pathlib.Path) -> np.ndarray:
    samples, _ = soundfile.read(path, dtype="int16")
    return samples.astype(np.float32) / np.float32(32768.0)

"""What was made for a film, and writing it: the film with its sound, stems, receipt, report."""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.config import SamplingConfig, to_dict
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.mixdown import Mixdown
from dualdub_jax.dubbing.progress import Advance, Progress
from dualdub_jax.dubbing.report import render_report
from dualdub_jax.dubbing.windows import Window
from dualdub_jax.errors import UserError
from dualdub_jax.media.film import Film
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.outputs import Outputs, check_outputs
from dualdub_jax.media.track import WavWriter
from dualdub_jax.text.script import Script

STEMS = ("speech.wav", "background.wav", "mix.wav")
_PACKAGES = ("dualdub-jax", "jax", "flax", "numpy", "av", "soxr")


@dataclasses.dataclass(frozen=True)
class Targets:
    """The files that a job will write; None: not asked for."""

    out: pathlib.Path
    stems: pathlib.Path | None = None
    receipt: pathlib.Path | None = None
    report: pathlib.Path | None = None

    @classmethod
    def make(cls, out: Any, stems: Any = None, receipt: Any = None, report: Any = None) -> "Targets":
        """From anything that names a path."""
        return cls(*(None if path is None else pathlib.Path(path) for path in (out, stems, receipt, report)))

    @property
    def files(self) -> list[pathlib.Path]:
        stems = [self.stems / name for name in STEMS] if self.stems else []
        return [path for path in (self.out, *stems, self.receipt, self.report) if path]

    def check(self, *inputs: pathlib.Path | str | None) -> None:
        """See `check_outputs`; the stems' folder need not be there yet, but its parent.

        Raises:
            UserError: as `check_outputs`.
        """
        files = self.files
        if self.stems and not self.stems.exists():
            # Stand-ins beside the folder: whoever can write there can make it.
            files = [path for path in files if path.parent != self.stems] + [self.stems]
        elif self.stems and not self.stems.is_dir():
            raise UserError(f"{self.stems}: is a file, but the stems need a folder; give another name")
        check_outputs(files, [pathlib.Path(path) for path in inputs if path])


@dataclasses.dataclass(frozen=True)
class Soundtrack:
    """What was made for a film, and how.

    Attributes:
        film: the film on the grid.
        script: what is said.
        windows: the calls of the model.
        tracks: stems and mix, float32[S] each, exactly as long as the film.
        sample_rate_hz: of the tracks.
        voice: the reference recording's file, or None.
        acoustics: that both tracks are in; None: the model is not told of rooms.
        checkpoint: folder of the checkpoint.
        seed: of the sampling.
        sampling: its settings.
        use_speech: there is a speech track; False: it is all zeros.
        use_background: likewise.
        seconds: how long each step took.
        warnings: what the user should know, one sentence each.
    """

    film: Film
    strip: np.ndarray
    num_frames: int
    script: Script
    windows: tuple[Window, ...]
    tracks: Mixdown
    sample_rate_hz: int
    voice: pathlib.Path | None
    acoustics: Acoustics | None
    checkpoint: pathlib.Path
    seed: int
    sampling: SamplingConfig
    use_speech: bool
    use_background: bool
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]

    @property
    def speech(self) -> np.ndarray:
        """float32[S]."""
        return self.tracks.speech

    @property
    def background(self) -> np.ndarray:
        """float32[S]."""
        return self.tracks.background

    @property
    def mix(self) -> np.ndarray:
        """float32[S]: `mix_gain * (speech + background)`."""
        return self.tracks.mix

    @property
    def realtime_factor(self) -> float:
        """Seconds of film made in a second of generation and decoding."""
        return float(self.film.duration_s) / (self.seconds["generate"] + self.seconds["decode"])

    def receipt(self) -> dict[str, Any]:
        """Everything that is needed to make this soundtrack again, as plain JSON values."""
        film, voice = self.film, self.voice
        script_path = pathlib.Path(self.script.source) if self.script.source != "--script" else None
        return {
            "inputs": {
                "video": _describe_file(film.path),
                "voice": _describe_file(voice) if voice else None,
                "script": _describe_file(script_path) if script_path else None,
            },
            "video": {
                "container": film.container,
                "codec": film.codec,
                "size": list(film.size),
                "rate_hz": film.rate_hz,
                "num_frames": film.num_pictures,
                "num_missing_frames": film.num_missing,
            },
            "duration_s": float(film.duration_s),
            "num_samples": film.num_samples(self.sample_rate_hz),
            "sample_rate_hz": self.sample_rate_hz,
            "script": self.script.text,
            "use_speech": self.use_speech,
            "use_background": self.use_background,
            "acoustics": self.acoustics and self.acoustics._asdict(),
            "checkpoint": describe_folder(self.checkpoint),
            "seed": self.seed,
            "sampling": to_dict(self.sampling),
            "windows": [dataclasses.asdict(window) for window in self.windows],
            "stem_gain": self.tracks.stem_gain,
            "mix_gain": self.tracks.mix_gain,
            "realtime_factor": self.realtime_factor,
            "seconds": dict(self.seconds),
            "warnings": list(self.warnings),
            "versions": {"python": platform.python_version()} | _package_versions(),
        }

    def write(
        self,
        out: pathlib.Path | str,
        stems: pathlib.Path | str | None = None,
        receipt: pathlib.Path | str | None = None,
        report: pathlib.Path | str | None = None,
        progress: Progress | None = None,
        figures: Sequence[tuple[str, str]] = (),
    ) -> list[pathlib.Path]:
        """Writes the film with its soundtrack, and what else is asked for: all of it or nothing.

        Args:
            out: the film with the mix as its sound; the suffix chooses the container.
            stems: a folder for `speech.wav`, `background.wav` and `mix.wav`; made if need be.
            receipt: a JSON file.
            report: an HTML page.
            progress: measures the step "write".
            figures: what was measured of this soundtrack, names and values, for the report.

        Returns:
            The files that were written.

        Raises:
            UserError: something cannot be written, or the container cannot hold the video.
        """
        targets = Targets.make(out, stems, receipt, report)
        progress = progress or Progress()
        with Outputs() as outputs:
            with progress.step("write") as advance:
                self._write_media(outputs, targets, advance)
            if targets.receipt:
                with outputs.open(targets.receipt) as file:
                    file.write(json.dumps(self.receipt(), indent=2).encode("utf-8") + b"\n")
            if targets.report:
                with progress.step("report"):
                    seconds = {**self.seconds, "write": progress.seconds["write"]}
                    film_bytes = outputs.read(targets.out)
                    page = render_report(self, film_bytes, targets.out, outputs.sizes, seconds, figures)
                    with outputs.open(targets.report) as file:
                        file.write(page.encode("utf-8", errors="backslashreplace"))  # names may be bytes
            outputs.commit()
        return targets.files

    def _write_media(self, outputs: Outputs, targets: Targets, advance: Advance) -> None:
        with outputs.open(targets.out) as file:
            mux_soundtrack(self.film, self.mix, self.sample_rate_hz, targets.out, file)
        advance(0.8)
        if targets.stems:
            outputs.make_folder(targets.stems)
            for name, track in zip(STEMS, (self.speech, self.background, self.mix), strict=True):
                with outputs.open(targets.stems / name) as file:
                    write_wav(file, track, self.sample_rate_hz)
        advance(1.0)


def write_wav(file: Any, track: np.ndarray, sample_rate_hz: int) -> None:
    with WavWriter(file, sample_rate_hz) as writer:
        writer.write(track)


def _describe_file(path: pathlib.Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "sha256": digest, "bytes": path.stat().st_size}


def describe_folder(folder: pathlib.Path) -> dict[str, Any]:
    """One digest for the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {_describe_file(path)['sha256']}\n".encode())
    return {"path": str(folder), "sha256": digest.hexdigest()}


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # used from a checkout that is not installed
            versions[name] = "not installed"
    return versions

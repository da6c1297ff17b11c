"""The receipt: the quality of a soundtrack, and all that is needed to reproduce it, as plain JSON values."""

import dataclasses
import importlib.metadata
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

from dualdub_jax.config import to_dict
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.quality import Quality
from dualdub_jax.stores.digests import describe_file, describe_folder

_PACKAGES = ("dualdub-jax", "jax", "flax", "numpy", "av", "soxr")


def make_receipt(project: Project, quality: Quality, command: Sequence[str] = ()) -> dict[str, Any]:
    """Describes a project whose tracks are done: verdict, inputs by digest, settings, plan, versions, times.

    Args:
        project: after `Project.dub`.
        quality: of its soundtrack.
        command: the command line; empty: another program's.
    """
    film, request, take = project.film, project.request, project.take
    script_path = pathlib.Path(project.script.source)
    return {
        **quality.describe(),
        "speech": [quality.describe_utterance(i) for i in range(len(quality.spoken))],
        "command": list(command) or None,
        "inputs": {
            "video": describe_file(film.path),
            "voice": describe_file(request.voice) if request.voice else None,
            "voices": {name: describe_file(path) for name, path in request.voices.items()},
            "script": describe_file(script_path) if script_path.is_file() else None,
            "original": [
                describe_file(sound.path) | {"gain_db": sound.gain_db, "of_film": sound.of_film}
                for sound in project.original_sounds
            ],
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
        "num_samples": project.num_samples,
        "sample_rate_hz": project.sample_rate_hz,
        "num_channels": project.num_channels,
        "decoders": dict(project.decoder_kinds),
        "script": project.script.text,
        "unspoken": dict(project.script.unspoken),
        "use_speech": "speech" in project.used,
        "use_background": "background" in project.used,
        "acoustics": describe_scenes(project),
        "checkpoint": describe_folder(project.checkpoint),
        "seed": take.seed,
        "sampling": to_dict(take.sampling),
        "windows": [dataclasses.asdict(window) for window in project.windows],
        **project.mixdown.describe(),
        "realtime_factor": project.realtime_factor,
        "seconds": dict(project.progress.seconds),
        "warnings": list(project.warnings),
        "versions": {"python": platform.python_version()} | _package_versions(),
    }


def describe_scenes(project: Project) -> list[dict[str, Any]] | None:
    """The acoustics of each scene with its times; None: the model has no such condition."""
    scenes: list[dict[str, Any]] = []
    for window in project.windows:
        end_s = float(window.end_frame / project.frame_rate)
        acoustics = project.take.acoustics[window.scene]
        if acoustics is None:
            return None
        if window.scene == len(scenes):
            start_s = float(window.start_frame / project.frame_rate)
            scenes.append({"start_s": start_s, "end_s": end_s, **acoustics._asdict()})
        scenes[window.scene]["end_s"] = min(end_s, float(project.film.duration_s))
    return scenes


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # used from a checkout that is not installed
            versions[name] = "not installed"
    return versions

"""Restoring a project from its folder: the plan, the takes that are done, and the tracks of one of them."""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from dualdub_jax.dubbing.mixdown import MIX, Mixdown
from dualdub_jax.dubbing.project_document import read_takes, read_windows
from dualdub_jax.dubbing.project_folder import reading
from dualdub_jax.dubbing.project_inputs import rename_sounds
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.take import Take
from dualdub_jax.media.film import STRIP_LENGTH
from dualdub_jax.media.track import Track
from dualdub_jax.stores.digests import file_sha256
from dualdub_jax.stores.path import as_path


def restore_plan(project: ProjectState, document: Mapping[str, Any]) -> None:
    """Sets what a finished project has planned, but for what its film and its script say.

    Args:
        project: with its film and its script.
        document: of its folder.

    Raises:
        UserError: the project is damaged.
    """
    with reading(project.layout.document):
        tracks, project.checkpoint_record = document["tracks"], document["checkpoint"]
        project.inputs = rename_sounds(
            document["inputs"],
            document["request"]["mix"]["keep_original"],
            project.request.mix.keep_original,
        )
        project.checkpoint = as_path(project.checkpoint_record["path"])
        project.sample_rate_hz, project.num_channels = tracks["sample_rate_hz"], tracks["num_channels"]
        project.num_samples, project.num_frames = tracks["num_samples"], tracks["num_frames"]
        project.decoder_kinds, project.used = tracks["decoders"], tuple(tracks["used"])
        project.decoder_rates_hz = tracks["decoder_rates_hz"]
        project.frame_rate = Fraction(tracks["frame_rate_hz"])
        project.windows = read_windows(document)
        project.utterances = project.find_utterances()


def restore_takes(project: ProjectState, document: Mapping[str, Any]) -> None:
    """Sets the takes that are done, which of them is chosen, and what is known of the decoded film.

    Raises:
        UserError: the project is damaged.
    """
    with reading(project.layout.document):
        project.takes = read_takes(document, project)
        project.chosen, project.earlier_seconds = document["chosen"], dict(document["seconds"])
        project.film = dataclasses.replace(project.film, num_missing=document["film"]["num_missing"])
    with reading(project.layout.strip):
        pictures = np.asarray(Image.open(project.layout.strip).convert("RGB"))
        project.strip = np.stack(np.split(pictures, STRIP_LENGTH, axis=1))


def load_take(project: ProjectState, number: int) -> None:
    """Sets the tokens, tracks and gains of a take that is done.

    Raises:
        UserError: one of its files is missing or damaged.
    """
    take, paths = project.takes[number], project.take_files(number)
    for name, path in paths.items():
        with reading(path):
            if file_sha256(path) != take.sha256.get(name):
                raise ValueError("its SHA-256 differs")
    project.take = Take.load(paths.pop("tokens"))
    project.tracks = {name: Track(path) for name, path in paths.items()}
    project.spoken, project.sound_warnings = take.spoken, list(take.warnings)
    stems = {name: track for name, track in project.tracks.items() if name != MIX}
    with reading(project.layout.document):
        project.mixdown = Mixdown.restore(stems, project.sample_rate_hz, take.mixdown)

"""`project.json`: what a kept project is made of, as plain JSON values, and back.

Pictures, tokens and sound have files of their own (project_folder.py).
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dualdub_jax.dubbing.mix_settings import MixSettings
from dualdub_jax.dubbing.project_folder import ProjectFolder, reading
from dualdub_jax.dubbing.project_inputs import Records, find_inputs
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.request import DubRequest, option_of
from dualdub_jax.dubbing.speech_check import SpokenUtterance
from dualdub_jax.dubbing.take import FinishedTake
from dualdub_jax.dubbing.window import Window
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, as_path, is_remote

# Fields of a request that may differ when it is resumed: they do not change the tracks.
_FREE = {"must_speak"}


def describe(project: ProjectState) -> dict[str, Any]:
    """Describes a planned project, and its takes as far as they are finished."""
    cues = [
        {
            "start_s": float(cue.start_s),
            "end_s": float(cue.end_s),
            "text": " ".join(word.text for word in cue.words),
            "speaker": cue.speaker,
        }
        for cue in project.script.cues
    ]
    takes = [
        {
            "number": number,
            "file": f"takes/{project.layout.take(number).name}",
            "tracks": [f"tracks/take_{number:03d}/{name}.wav" for name in take.sha256 if name != "tokens"],
            "sha256": dict(take.sha256),
            "seed": take.seed,
            "parent": take.parent,
            "region_s": take.region_s,
            "mixdown": dict(take.mixdown),
            "warnings": list(take.warnings),
            "threshold_dbfs": take.threshold_dbfs,
            "speech": [spoken.describe() for spoken in take.spoken],
            "scores": dict(take.scores),
        }
        for number, take in project.takes.items()
    ]
    return {
        "is_finished": project.is_finished,
        "request": describe_request(project.request),
        "inputs": project.inputs,
        "film": dataclasses.asdict(project.film) | {"duration_s": float(project.film.duration_s)},
        "script": project.script.text,
        "cues": cues,
        "unspoken": dict(project.script.unspoken),
        "windows": [dataclasses.asdict(window) for window in project.windows],
        "checkpoint": project.checkpoint_record,
        "tracks": {
            "sample_rate_hz": project.sample_rate_hz,
            "num_channels": project.num_channels,
            "decoders": dict(project.decoder_kinds),
            "decoder_rates_hz": dict(project.decoder_rates_hz),
            "num_samples": project.num_samples,
            "frame_rate_hz": str(project.frame_rate),
            "num_frames": project.num_frames,
            "used": list(project.used),
        },
        "takes": takes,
        "chosen": project.chosen,
        "seconds": project.seconds,
        "warnings": list(project.warnings),
    }


def describe_request(request: DubRequest) -> dict[str, Any]:
    """The fields of a request as plain JSON values."""
    fields = dataclasses.asdict(request) | {"sampling": _mapping(request.sampling)}
    return json.loads(json.dumps(fields, default=str))


def _mapping(sampling: Any) -> dict[str, float]:
    return dataclasses.asdict(sampling) if dataclasses.is_dataclass(sampling) else dict(sampling or {})


def read_request(folder: ProjectFolder, video: pathlib.Path | None = None) -> DubRequest:
    """The request of a kept project, with its files where they are now.

    Args:
        folder: of the project.
        video: where the film is now; None: to be found.

    Raises:
        UserError: the project is damaged, or a file is missing or another one.
    """
    document = folder.read_document()
    with reading(folder.document):
        fields, records = dict(document["request"]), dict(document["inputs"])
        found = find_inputs(folder, records, video)
        cast = {name: found.pop(f"voices {name}") for name in fields["voices"]}
        kept = {
            str(found.pop(f"keep_original {name}", name)): gain_db
            for name, gain_db in fields["mix"]["keep_original"].items()
        }
        mix = MixSettings(**(fields["mix"] | {"keep_original": kept}))
        return DubRequest(**(fields | found | {"voices": cast, "mix": mix}))


def read_windows(document: Mapping[str, Any]) -> tuple[Window, ...]:
    """The plan of a described project; errors are those of plain reading."""
    return tuple(
        Window(**{**window, "due": None if window["due"] is None else tuple(window["due"])})
        for window in document["windows"]
    )


def read_takes(document: Mapping[str, Any], project: ProjectState) -> dict[int, FinishedTake]:
    """The finished takes of a described project, by number; errors are those of plain reading."""
    takes = {}
    for entry in document["takes"]:
        spoken = tuple(
            SpokenUtterance(
                utterance, None if found["start_s"] is None else (found["start_s"], found["end_s"])
            )
            for utterance, found in zip(
                project.utterances if entry["speech"] else (), entry["speech"], strict=True
            )
        )
        takes[int(entry["number"])] = FinishedTake(
            seed=entry["seed"],
            mixdown=entry["mixdown"],
            warnings=tuple(entry["warnings"]),
            spoken=spoken,
            threshold_dbfs=entry["threshold_dbfs"],
            parent=entry["parent"],
            region_s=entry["region_s"] and tuple(entry["region_s"]),
            sha256=dict(entry["sha256"]),
            scores=entry["scores"],
        )
    return takes


def check_same_request(
    folder: ProjectFolder, document: Mapping[str, Any], request: DubRequest, inputs: Records
) -> None:
    """Checks that a project is resumed with what it was begun with.

    Raises:
        UserError: something differs; names all of it.
    """
    with reading(folder.document):
        begun = _comparable(document["request"], document["inputs"])
    now = _comparable(describe_request(request), inputs)
    differing = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    if differing:
        changes = (_change(name, begun.get(name), now.get(name), inputs) for name in differing)
        raise UserError(
            f"{folder.path}: cannot be resumed with other arguments than it was begun with: "
            f"{'; '.join(changes)}; give the same ones, or begin another project"
        )


def _comparable(fields: Mapping[str, Any], inputs: Records) -> dict[str, Any]:
    fields = {name: value for name, value in fields.items() if name not in _FREE}
    # By content: paths may be written otherwise, and those of an opened project are inside it.
    digests = {name: record["sha256"] for name, record in inputs.items()}
    kept = fields["mix"]["keep_original"].items()
    kept = sorted((digests.pop(f"keep_original {name}", name), gain_db) for name, gain_db in kept)
    mix = {**fields.pop("mix"), "keep_original": kept}
    return fields | mix | {"voices": sorted(fields["voices"])} | digests


def _change(name: str, begun: Any, now: Any, inputs: Records) -> str:
    if name in inputs:
        return f"{option_of(name)} ({inputs[name]['path']}) has another content"
    return f"{option_of(name)} was {begun!r} and is {now!r}"


def check_same_plan(folder: ProjectFolder, document: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    """Checks that a resumed project is planned as it was begun.

    Args:
        folder: of the project.
        document: that was saved.
        planned: `describe` of the project as it is planned now.

    Raises:
        UserError: another checkpoint, other decoders, or other windows.
    """
    with reading(folder.document):
        begun, now = document["checkpoint"], planned["checkpoint"]
        if begun["sha256"] != now["sha256"]:
            raise UserError(
                f"{folder.path}: was begun with the checkpoint {begun['path']}, and {now['path']} has "
                "another content; give the same --checkpoint, or begin another project"
            )
        if document["tracks"]["decoders"] != planned["tracks"]["decoders"]:
            raise UserError(
                f"{folder.path}: was begun with the decoders {document['tracks']['decoders']}; give the same "
                "--decoder, or begin another project"
            )
        is_same = read_windows(document) == read_windows(planned)
        if not is_same or document["tracks"] != planned["tracks"]:
            raise UserError(
                f"{folder.path}: this version of DualDub plans the film otherwise than the one that began "
                "the project; use that one, or begin another project"
            )


def read_model(folder: ProjectFolder) -> tuple[StorePath | None, bool]:
    """What a kept project was made with: its checkpoint, and whether only the codecs' own decoders are used.

    Returns:
        None for a checkpoint that is not where it was: the bundled one may be it.

    Raises:
        UserError: no project, or a damaged one.
    """
    document = folder.read_document()
    with reading(folder.document):
        checkpoint = as_path(document["checkpoint"]["path"])
        decoders = set(document["tracks"]["decoders"].values())
    return (checkpoint if is_remote(checkpoint) or checkpoint.exists() else None), decoders == {"codec"}

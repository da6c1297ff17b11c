"""`dualdub data inspect`: what a folder of datasets holds."""

import collections
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np
import rich.console
from av.video.reformatter import Interpolation

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.dataset import Dataset, find_datasets
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import as_local_path

_SHEET_ROWS = 12
_COLUMNS, _COLUMN_HEIGHT = 12, 128  # of a film strip; pixels
# Figure -> field that is not empty.
_MEDIA = {
    "with_video": "video",
    "with_speech": "speech",
    "with_background": "background",
    "with_voice": "voice",
    "with_features": "video_features",
}


def inspect(
    directory: str | os.PathLike[str],
    *,
    sheet: str | os.PathLike[str] | None = None,
    console: rich.console.Console | None = None,
) -> dict[str, dict[str, Any]]:
    """Prints what a folder of datasets holds.

    Args:
        directory: a dataset, or any folder above one; local or on an object store.
        sheet: where to write a PNG with frames of the first clips that have video; None writes none.
        console: where to print; None is standard output.

    Returns:
        "builder/config/split" -> its figures, see `_figures`, and `megabytes`.

    Raises:
        UserError: no dataset there, or no clip with video for the sheet.
    """
    console = console or rich.console.Console()
    folders = find_datasets(directory)
    figures: dict[str, dict[str, Any]] = {}
    strips: list[np.ndarray] = []
    for folder in folders:
        found = Dataset(folder)
        for split in found.splits:
            records = found.records(split)
            label = f"{found.name}/{split}"
            figures[label] = _figures(records) | {"megabytes": round(found.num_bytes(split) / 1e6, 1)}
            console.print(f"[bold]{label}[/bold]  {_sentence(figures[label])}", soft_wrap=True)
            for i in range(min(3, len(records))):
                clip = records[i]
                script = record.script(clip)
                shown = "(unknown)" if script is None else repr(script)
                line = f"    {record.text(clip['id'])}  {clip['duration_s']:.2f} s  {shown}"
                console.print(line, soft_wrap=True, markup=False, emoji=False)
                if clip["video"] and sheet is not None:
                    strips.append(_strip(clip["video"]))
        dropped = found.metadata.get("dropped") or {}
        if dropped:
            counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
            console.print(f"[bold]{found.name}[/bold]  dropped when built: {counts}", soft_wrap=True)
    if sheet is not None:
        if not strips:
            raise UserError(
                f"{directory}: no clip has video, so there is nothing to draw; leave out the sheet"
            )
        width = max(strip.shape[1] for strip in strips[:_SHEET_ROWS])
        rows = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0))) for s in strips[:_SHEET_ROWS]]
        _write_png(as_local_path(sheet, "sheet"), np.concatenate(rows))
        console.print(f"sheet: {sheet}", soft_wrap=True)
    return figures


def _figures(records: Sequence[Record]) -> dict[str, Any]:
    """Figures of a split: numbers of clips, and what is annotated in their events.

    `clips`, `seconds`, `with_video`, `with_speech`, `with_background`, `with_voice`, `with_features`,
    `with_script` (known, even if empty) and `empty_scripts`; `voices`, distinct `speech.voice_id` of events;
    `seconds_by_licence`; `sample_rates_hz` of stems -> number; `annotated`, top-level key of events -> number
    of clips; `classes`, such a key -> class -> number, where the events are a list of {"class": …}.
    """
    numbers: collections.Counter[str] = collections.Counter()
    licences: collections.Counter[str] = collections.Counter()
    rates_hz: collections.Counter[int] = collections.Counter()
    annotated: collections.Counter[str] = collections.Counter()
    classes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    voices, seconds = set(), 0.0
    for clip in records:
        script = record.script(clip)
        numbers["with_script"] += script is not None
        numbers["empty_scripts"] += script == ""
        for key, field in _MEDIA.items():
            numbers[key] += bool(clip[field])
        for stream in ("speech", "background"):
            if clip[stream]:
                rates_hz[record.sample_rate_hz(clip[stream], record.text(clip["id"]))] += 1
        seconds += float(clip["duration_s"])
        licences[record.text(clip["licence"])] += float(clip["duration_s"])
        events = record.events(clip)
        voices.add((events.get("speech") or {}).get("voice_id"))
        for key, value in events.items():
            annotated[key] += bool(value)
            if isinstance(value, list) and value and isinstance(value[0], dict) and "class" in value[0]:
                classes[key].update(item["class"] for item in value)
    return {
        "clips": len(records),
        "seconds": seconds,
        **{key: numbers[key] for key in (*_MEDIA, "with_script", "empty_scripts")},
        "voices": len(voices - {None}),
        "seconds_by_licence": dict(sorted(licences.items())),
        "sample_rates_hz": dict(sorted(rates_hz.items())),
        "annotated": dict(sorted(annotated.items())),
        "classes": {key: dict(sorted(counts.items())) for key, counts in sorted(classes.items())},
    }


def _sentence(figures: Mapping[str, Any]) -> str:
    rates = ", ".join(f"{rate_hz} Hz" for rate_hz in figures["sample_rates_hz"]) or "none"
    licences = ", ".join(
        f"{licence or 'unknown'} {seconds / 60:.1f} min"
        for licence, seconds in figures["seconds_by_licence"].items()
    )
    text = (
        f"{figures['clips']} clips, {figures['seconds'] / 60:.1f} min, {figures['megabytes']} MB; "
        f"{figures['with_video']} with video, {figures['with_speech']} with speech, "
        f"{figures['with_background']} with background, {figures['with_script']} with a script "
        f"({figures['empty_scripts']} of them empty), {figures['voices']} voices; stems at {rates}; "
        f"licences: {licences}"
    )
    for key, counts in figures["classes"].items():
        text += f"; {key}: " + ", ".join(f"{name} {n}" for name, n in counts.items())
    return text


def _strip(video: bytes) -> np.ndarray:
    """Pictures spread over a film, in white seams, side by side: uint8[height + 2, width, 3]."""
    with av.open(io.BytesIO(video)) as container:
        pictures = [
            picture.reformat(
                width=max(1, round(picture.width * _COLUMN_HEIGHT / picture.height)),
                height=_COLUMN_HEIGHT,
                format="rgb24",
                interpolation=Interpolation.POINT,
            ).to_ndarray()
            for picture in container.decode(video=0)
        ]
    indices = np.linspace(0, len(pictures) - 1, _COLUMNS).round().astype(int)
    seam = ((0, 2), (0, 2), (0, 0))
    return np.concatenate([np.pad(pictures[i], seam, constant_values=255) for i in indices], axis=1)


def _write_png(path: pathlib.Path, image: np.ndarray) -> None:
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt = "rgb24"
    packets = codec.encode(av.VideoFrame.from_ndarray(image, format="rgb24")) + codec.encode()
    try:
        path.write_bytes(b"".join(bytes(packet) for packet in packets))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from error

"""Figures of a split of a dataset: how much there is of what."""

import collections
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import av
import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.media.container import find_video_stream

# Figure -> field that is not empty.
_MEDIA = {
    "with_video": "video",
    "with_speech": "speech",
    "with_background": "background",
    "with_voice": "voice",
    "with_features": "video_features",
}
_MAX_SCRIPT = 200  # letters that are shown
_LEVELS_OF = 200  # clips whose stems are decoded for their level


def split_figures(records: Sequence[Record]) -> dict[str, Any]:
    """Figures of a split: numbers of clips, and what is annotated in their events.

    `clips`, `seconds`, `lengths_s` (least, median, greatest), `with_video`, `with_speech`, `with_background`,
    `with_voice`, `with_features`, `with_script` (known, even if empty), `empty_scripts`, `with_words`;
    `voices`, distinct `speech.voice_id` of events; `seconds_by_licence`, `seconds_by_language`;
    `sample_rates_hz` of stems -> number; `frame_rates_hz` of films, rounded -> number; `levels_dbfs`,
    stream -> median of its clips' levels, of a sample; `annotated`, top-level key of events -> clips;
    `classes`, such a key -> class -> number, where the events are a list of {"class": …}.
    """
    numbers: collections.Counter[str] = collections.Counter()
    licences: collections.Counter[str] = collections.Counter()
    languages: collections.Counter[str] = collections.Counter()
    rates_hz: collections.Counter[int] = collections.Counter()
    frame_rates: collections.Counter[float] = collections.Counter()
    annotated: collections.Counter[str] = collections.Counter()
    classes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    levels: dict[str, list[float]] = {"speech": [], "background": []}
    voices, lengths_s = set(), []
    sampled = set(
        np.linspace(0, len(records) - 1, min(len(records), _LEVELS_OF)).round().astype(int).tolist()
    )
    for place, clip in enumerate(records):
        script, length_s = record.script(clip), float(clip["duration_s"])
        numbers["with_script"] += script is not None
        numbers["empty_scripts"] += script == ""
        for key, field in _MEDIA.items():
            numbers[key] += bool(clip[field])
        for stream, found in levels.items():
            if clip[stream]:
                rate_hz = record.sample_rate_hz(clip[stream], record.text(clip["id"]))
                rates_hz[rate_hz] += 1
                if place in sampled:
                    found.append(record.level_dbfs(record.decode_stem(clip[stream], "", length_s, rate_hz)))
        if clip["video"]:
            frame_rates[_frame_rate_hz(clip["video"])] += 1
        lengths_s.append(length_s)
        licences[record.text(clip["licence"])] += length_s
        events = record.events(clip)
        speech = events.get("speech") or {}
        voices.add(speech.get("voice_id"))
        numbers["with_words"] += bool(speech.get("words"))
        if events.get("language"):
            languages[str(events["language"])] += length_s
        for key, value in events.items():
            annotated[key] += bool(value)
            if isinstance(value, list) and value and isinstance(value[0], dict) and "class" in value[0]:
                classes[key].update(item["class"] for item in value)
    return {
        "clips": len(records),
        "seconds": sum(lengths_s),
        "lengths_s": [round(float(x), 2) for x in np.quantile(lengths_s, (0, 0.5, 1))] if lengths_s else [],
        **{key: numbers[key] for key in (*_MEDIA, "with_script", "empty_scripts", "with_words")},
        "voices": len(voices - {None}),
        "seconds_by_licence": dict(sorted(licences.items())),
        "seconds_by_language": dict(sorted(languages.items())),
        "sample_rates_hz": dict(sorted(rates_hz.items())),
        "frame_rates_hz": dict(sorted(frame_rates.items())),
        "levels_dbfs": {
            stream: round(float(np.median(found)), 1) for stream, found in levels.items() if found
        },
        "annotated": dict(sorted(annotated.items())),
        "classes": {key: dict(sorted(counts.items())) for key, counts in sorted(classes.items())},
    }


def table_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Figures of a split as rows of a table: name and text."""
    clips = max(figures["clips"], 1)

    def share(key: str) -> str:
        return f"{figures[key]} ({100 * figures[key] / clips:.0f}%)"

    least, median, greatest = figures["lengths_s"] or (0, 0, 0)
    rows = [
        (
            "clips",
            f"{figures['clips']}, {figures['seconds'] / 3600:.2f} h ({figures['seconds'] / 60:.1f} min)",
        ),
        ("lengths", f"{least:g} to {greatest:g} s, median {median:g} s"),
        (
            "video, speech, background",
            ", ".join(map(share, ("with_video", "with_speech", "with_background"))),
        ),
        ("script, word times, voice", ", ".join(map(share, ("with_script", "with_words", "with_voice")))),
        ("speakers", f"{figures['voices']}"),
        ("licences", _listed(_minutes(figures["seconds_by_licence"], "unknown"))),
        ("languages", _listed(_minutes(figures["seconds_by_language"], ""))),
        ("frame rates", _listed(f"{rate:g} Hz ({n})" for rate, n in figures["frame_rates_hz"].items())),
        ("sample rates", _listed(f"{rate} Hz ({n})" for rate, n in figures["sample_rates_hz"].items())),
        ("level, median", _listed(f"{name} {db:g} dBFS" for name, db in figures["levels_dbfs"].items())),
    ]
    for key, counts in figures["classes"].items():
        rows.append((key, _listed(f"{name} {n}" for name, n in counts.items())))
    return [(name, text) for name, text in rows if text]


def shortened(script: str) -> str:
    """The beginning of a script, as much as there is room for."""
    return script if len(script) <= _MAX_SCRIPT else f"{script[:_MAX_SCRIPT]}… ({len(script)} letters)"


def _minutes(seconds: Mapping[str, float], unnamed: str) -> Iterable[str]:
    return (f"{name or unnamed} {length_s / 60:.1f} min" for name, length_s in seconds.items())


def _listed(texts: Iterable[str], most: int = 12) -> str:
    found = list(texts)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _frame_rate_hz(video: bytes) -> float:
    """The usual rate of a film, Hz, rounded; 0: it cannot be read."""
    try:
        with av.open(io.BytesIO(video)) as container:
            stream = find_video_stream(container)
            return round(float(stream.guessed_rate or 0), 2) if stream is not None else 0.0
    except av.error.FFmpegError:
        return 0.0

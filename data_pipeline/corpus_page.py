"""`inspect.html`: figures of a corpus, and clips to look at and listen to, worst and best aligned first."""

import dataclasses
import html
import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.agreement import agreement
from dualdub_jax.data_pipeline.corpus_figures import shortened, table_rows
from dualdub_jax.data_pipeline.film_strip import film_strip
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError
from dualdub_jax.pages.data_uri import data_uri, jpeg_uri, opus_bytes
from dualdub_jax.pages.page import fill_page, two_column_rows
from dualdub_jax.pages.track_pictures import waveform_svg

_MEASURED, _SHOWN = 96, 4  # clips of a split: measured; and in each row of the page
_RATE_HZ = 48_000
_BIT_RATE = 64_000


@dataclasses.dataclass(frozen=True)
class _Clip:
    """A clip of the page: its record, sound and agreement."""

    record: Record
    stems: Mapping[str, np.ndarray]  # float32[S] at 48 kHz
    agreement: float | None

    @property
    def id(self) -> str:
        return record.text(self.record["id"])


class CorpusPage:
    """Collects splits, then writes the page."""

    def __init__(self) -> None:
        self._sections: list[str] = []

    def add(self, label: str, records: Sequence[Record], figures: Mapping[str, Any]) -> None:
        """Adds a split: its figures, and some of its clips, evenly spread over a sample."""
        places = np.linspace(0, len(records) - 1, min(len(records), _MEASURED)).round().astype(int)
        ranked: list[tuple[float, int]] = []
        for place in places.tolist():
            found = _read(records[place]).agreement
            if found is not None:
                ranked.append((found, place))
        ranked.sort()
        worst = [place for _, place in ranked[:_SHOWN]]
        best = [place for _, place in ranked[::-1][:_SHOWN] if place not in worst]
        others = [place for place in places.tolist() if place not in (*worst, *best)]
        others = [others[i] for i in np.linspace(0, len(others) - 1, min(len(others), _SHOWN)).astype(int)]
        rows = {"Worst aligned": worst, "Best aligned": best, "Others": others}
        clips = "".join(
            f'<h3>{title}</h3><div class="clips">{"".join(_figure(_read(records[i])) for i in found)}</div>'
            for title, found in rows.items()
            if found
        )
        median = f", median agreement {np.median([r for r, _ in ranked]):.2f}" if ranked else ""
        self._sections.append(
            f'<section class="card"><h2>{html.escape(label)}{median}</h2>'
            f"<table>{two_column_rows(table_rows(figures))}</table>{clips}</section>"
        )

    def add_dropped(self, name: str, counts: Mapping[str, int]) -> None:
        """Adds what was dropped when a dataset was built, by reason, most first."""
        rows = sorted(
            ((reason, str(count)) for reason, count in counts.items()), key=lambda row: -int(row[1])
        )
        self._sections.append(
            f'<section class="card"><h2>{html.escape(name)}: dropped when built</h2>'
            f"<table>{two_column_rows(rows)}</table></section>"
        )

    def write(self, path: pathlib.Path, title: str) -> None:
        """Writes the page as one file.

        Raises:
            UserError: it cannot be written.
        """
        lead = (
            "Agreement is the correlation of onsets of the sound with motion of the picture: near zero where "
            "they have nothing to do with each other, or are out of step."
        )
        page = fill_page(
            "inspect.html",
            {"title": html.escape(title), "lead": lead, "sections": "\n".join(self._sections)},
        )
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            temporary.write_text(page, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --html") from error


def _read(clip: Record) -> _Clip:
    length_s = record.duration_s(clip, "")
    stems = {
        stream: record.decode_stem(clip[stream], record.text(clip["id"]), length_s, _RATE_HZ)
        for stream in ("speech", "background")
        if clip[stream]
    }
    found = None
    if clip["video"] and stems:
        try:
            found = agreement(clip["video"], sum(stems.values()), _RATE_HZ, length_s)
        except ValueError:
            found = None
    return _Clip(clip, stems, found)


def _figure(clip: _Clip) -> str:
    script = record.script(clip.record)
    facts = [
        f"{float(clip.record['duration_s']):.2f} s",
        record.text(clip.record["licence"]) or "licence unknown",
    ]
    if clip.agreement is not None and math.isfinite(clip.agreement):
        facts.append(f"agreement {clip.agreement:.2f}")
    parts = []
    if clip.record["video"]:
        parts.append(
            f'<img src="{jpeg_uri(_even(film_strip(clip.record["video"], 8, 72)))}" alt="film strip">'
        )
    for stream, samples in clip.stems.items():
        picture = waveform_svg(samples) or "<small>silent</small>"
        parts.append(f'<div class="{stream}" title="{stream}">{picture}</div>')
    parts.append(_player(clip))
    said = "script unknown" if script is None else html.escape(shortened(script)) or "no speech"
    caption = f"{html.escape(clip.id)}<br>{said}<br><small>{html.escape(', '.join(facts))}</small>"
    return f"<figure>{''.join(parts)}<figcaption>{caption}</figcaption></figure>"


def _player(clip: _Clip) -> str:
    mix = np.clip(sum(clip.stems.values()), -1, 1).astype(np.float32) if clip.stems else None
    if clip.record["video"]:
        film = data_uri("video/mp4", _with_sound(clip.record["video"], mix))
        return f'<video controls preload="metadata" src="{film}"></video>'
    if mix is None:
        return ""
    return f'<audio controls src="{data_uri("audio/ogg", opus_bytes(mix, _RATE_HZ, _BIT_RATE))}"></audio>'


def _with_sound(video: bytes, mix: np.ndarray | None) -> bytes:
    """The film as it is, with a sound track beside it."""
    if mix is None:
        return video
    file = io.BytesIO()
    with av.open(io.BytesIO(video)) as source, av.open(file, "w", format="mp4") as target:
        pictures = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=_RATE_HZ, layout="mono", bit_rate=_BIT_RATE)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
        frame = av.AudioFrame.from_ndarray(mix[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _RATE_HZ, 0, Fraction(1, _RATE_HZ)
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE_HZ, frame_size=1024)
        for block in (*resampler.resample(frame), *resampler.resample(None)):
            target.mux(sound.encode(block))
        target.mux(sound.encode())
    return file.getvalue()


def _even(picture: np.ndarray) -> np.ndarray:
    """With even sides, as the encoder wants them."""
    return np.ascontiguousarray(picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2])

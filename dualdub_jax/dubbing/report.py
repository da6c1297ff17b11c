"""The report: one HTML page with nothing outside it, for looking at and listening to a soundtrack.

Pictures, sound and the film itself are inside the page as data URIs, so it can be mailed and opened
without a network. The page's look and behaviour are in `assets/report.html`.
"""

import html
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dualdub_jax.pages.data_uri import data_uri, film_uri, flac_bytes, is_playable, jpeg_uri, png_uri
from dualdub_jax.pages.page import fill_page, two_column_rows
from dualdub_jax.pages.track_pictures import mel_levels_db, paint_spectrogram, waveform_svg

if TYPE_CHECKING:
    from dualdub_jax.dsp.acoustics import Acoustics
    from dualdub_jax.dubbing.soundtrack import Soundtrack

MAX_EMBEDDED_BYTES = 24_000_000  # a file; larger ones are only named
_SILENT = '<div class="silent">silent: every sample is zero</div>'
_TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)


def render_report(
    soundtrack: "Soundtrack",
    film_bytes: bytes,
    film_path: pathlib.Path,
    sizes: Mapping[pathlib.Path, int],
    seconds: Mapping[str, float],
    figures: Sequence[tuple[str, str]] = (),
) -> str:
    """Renders the page.

    Args:
        soundtrack: what was made.
        film_bytes: the film with its soundtrack, as written.
        film_path: its name.
        sizes: files that were written, in bytes.
        seconds: how long each step took.
        figures: what was measured of the soundtrack, names and values.

    Returns:
        The HTML of the page.
    """
    film, rate_hz = soundtrack.film, soundtrack.sample_rate_hz
    duration_s = float(film.duration_s)
    strip = [jpeg_uri(picture) for picture in soundtrack.strip]
    player = _video_player(film_bytes, film_path, film.codec, strip[0])
    tracks = {"Mix": soundtrack.mix, "Speech": soundtrack.speech, "Background": soundtrack.background}
    audio = "".join(_audio_player(name, track, rate_hz) for name, track in tracks.items())
    players = f'<section class="card">{player}<div class="players">{audio}</div></section>'
    fields = {
        "title": html.escape(film.path.name),
        "lead": f"{duration_s:.2f} s · speech and background made by DualDub at "
        f"{soundtrack.realtime_factor:.1f} times realtime",
        "players": players,
        "script": html.escape(soundtrack.script.text) or "No script: nothing is said.",
        "facts": two_column_rows(_facts(soundtrack)),
        "figures": _figures(figures),
        "warnings": "".join(f'<p class="warning">{html.escape(w)}</p>' for w in soundtrack.warnings),
        "strip": "".join(f'<img alt="" src="{picture}">' for picture in strip),
        "words": _words(soundtrack, duration_s),
        "ticks": _ticks(duration_s),
        "seconds": two_column_rows([(name, f"{value:.2f} s") for name, value in seconds.items()]),
        "files": two_column_rows([(path.name, _bytes(size)) for path, size in sizes.items()]),
        "duration": repr(duration_s),
        "top_khz": f"{rate_hz / 2000:g}",
    }
    for name, track in (("speech", soundtrack.speech), ("background", soundtrack.background)):
        fields[f"{name}_wave"] = waveform_svg(track) or _SILENT
        mel = png_uri(paint_spectrogram(mel_levels_db(track, rate_hz)))
        fields[f"{name}_mel"] = f'<img alt="mel spectrogram" src="{mel}">'
    return fill_page("report.html", fields)


def _facts(soundtrack: "Soundtrack") -> list[tuple[str, str]]:
    film = soundtrack.film
    return [
        ("Video", f"{film.size[0]} x {film.size[1]}, {film.rate_hz:.3f} frames/s, {film.codec}"),
        ("Samples", f"{len(soundtrack.mix)} at {soundtrack.sample_rate_hz} Hz"),
        ("Voice", soundtrack.voice.name if soundtrack.voice else "the model's choice"),
        ("Acoustics", _room(soundtrack.acoustics)),
        ("Checkpoint", soundtrack.checkpoint.name),
        ("Seed", str(soundtrack.seed)),
        ("Windows", str(len(soundtrack.windows))),
        ("Gain of the mix", f"{20 * math.log10(soundtrack.tracks.mix_gain):.1f} dB"),
    ]


def _room(acoustics: "Acoustics | None") -> str:
    if acoustics is None:
        return "the model is not told of it"
    return f"RT60 {acoustics.rt60_s:.2f} s, noise {acoustics.noise_dbfs:.0f} dBFS"


def _figures(figures: Sequence[tuple[str, str]]) -> str:
    if not figures:
        return ""
    return f"<h2>Measured, beside the true audio</h2><table>{two_column_rows(figures)}</table>"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _video_player(data: bytes, path: pathlib.Path, codec: str, poster: str) -> str:
    if not is_playable(path, codec):
        return f'<p class="note">Browsers cannot play {html.escape(path.name)}; open it in a film player.</p>'
    if len(data) > MAX_EMBEDDED_BYTES:
        return (
            f'<p class="note">{html.escape(path.name)} is too large for this page ({_bytes(len(data))}).</p>'
        )
    return f'<video controls playsinline poster="{poster}" src="{film_uri(path, data)}"></video>'


def _audio_player(name: str, track: np.ndarray, rate_hz: int) -> str:
    data = flac_bytes(track, rate_hz)
    if len(data) > MAX_EMBEDDED_BYTES:
        return f'<p class="note">{name}: too large for this page ({_bytes(len(data))}).</p>'
    return f'<label>{name}<audio controls src="{data_uri("audio/flac", data)}"></audio></label>'


def _words(soundtrack: "Soundtrack", duration_s: float) -> str:
    """What is said where: cues at their times, else the text of each window."""
    rate = soundtrack.num_frames / duration_s
    if soundtrack.script.cues:
        pieces = [
            (float(cue.start_s), float(cue.end_s), " ".join(word.text for word in cue.words))
            for cue in soundtrack.script.cues
        ]
    else:
        pieces = [(w.start_frame / rate, w.end_frame / rate, w.text) for w in soundtrack.windows]
    blocks = []
    for start_s, end_s, text in pieces:
        if text:
            left, width = 100 * start_s / duration_s, 100 * (end_s - start_s) / duration_s
            text = html.escape(text)
            blocks.append(f'<span style="left:{left:.3f}%;width:{width:.3f}%" title="{text}">{text}</span>')
    return "".join(blocks) or '<div class="silent">nothing is said</div>'


def _ticks(duration_s: float) -> str:
    step = next((s for s in _TICK_STEPS_S if duration_s / s <= 10), _TICK_STEPS_S[-1])
    times = [i * step for i in range(int(duration_s / step) + 1) if i * step < 0.97 * duration_s]
    label = "{:.1f} s" if step < 1 else "{:.0f} s"
    return "".join(f'<span style="left:{100 * t / duration_s:.3f}%">{label.format(t)}</span>' for t in times)

"""The quality of a soundtrack as tables of the report."""

import html
from collections.abc import Iterator

from dualdub_jax.dubbing.quality import Quality
from dualdub_jax.dubbing.recognition import RecognisedWords
from dualdub_jax.dubbing.speech_check import SpokenUtterance

_COLUMNS = ("Due", "Words", "Audible", "Off by", "Letters/s", "Recognised", "Dropped", "Added")


def track_rows(quality: Quality) -> Iterator[tuple[str, str]]:
    """Name and levels of each track."""
    for name, figures in quality.tracks.items():
        lufs, peak_dbtp = figures.loudness_lufs, figures.true_peak_dbtp
        loudness = "silent or too short" if lufs is None else f"{lufs:.1f} LUFS"
        peak = "" if peak_dbtp is None else f", true peak {peak_dbtp:.1f} dBTP"
        clipped = f", {figures.num_clipped} samples clipped" if figures.num_clipped else ""
        yield name.capitalize(), loudness + peak + clipped
    for gap in quality.gaps:
        yield "Silent though due", f"{gap.track}, {gap.start_s:.2f} s to {gap.end_s:.2f} s"
    for ghost in quality.recognition.ghost_words if quality.recognition else ():
        place = f"{ghost.track}, {ghost.start_s:.0f} s to {ghost.end_s:.0f} s"
        yield "Words though none are due", f"{' '.join(ghost.words)} ({place})"


def spoken_table(quality: Quality) -> str:
    """HTML of the utterances; empty without speech."""
    if not quality.spoken:
        return ""
    found = quality.recognition.utterances if quality.recognition else [None] * len(quality.spoken)
    rows = [_cells(*both) for both in zip(quality.spoken, found, strict=True)]
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    note = quality.no_recognition and f'<p class="note">Words: {html.escape(quality.no_recognition)}</p>'
    return f'<section class="card spoken"><h2>Words</h2><table><tr>{head}</tr>{body}</table>{note}</section>'


def _cells(spoken: SpokenUtterance, words: RecognisedWords | None) -> tuple[str, ...]:
    utterance, span_s = spoken.utterance, spoken.span_s
    due = f"{float(utterance.start_s):.2f} to {float(utterance.end_s):.2f} s"
    if span_s is None:
        return due, utterance.text, "inaudible", "", "", "", "", ""
    rate = len(utterance.text) / (span_s[1] - span_s[0])
    times = f"{span_s[0]:.2f} to {span_s[1]:.2f} s", f"{1000 * spoken.error_s:.0f} ms", f"{rate:.1f}"
    if words is None:
        return due, utterance.text, *times, "", "", ""
    return due, utterance.text, *times, words.transcript, " ".join(words.dropped), " ".join(words.added)

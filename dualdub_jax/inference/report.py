"""The report: one HTML page with nothing outside it, for looking at and listening to a soundtrack.

Pictures, sound and the film itself are inside the page as data URIs, so it can be mailed and opened
without a network. The page's look and behaviour are in `assets/report.html`.
"""

import base64
import html
import importlib.resources
import io
import math
import pathlib
import string
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import soundfile

from dualdub_jax.codecs.mel import mel_filterbank

if TYPE_CHECKING:
    from dualdub_jax.inference.soundtrack import Soundtrack

MAX_EMBEDDED_BYTES = 24_000_000  # a file; larger ones are only named
_NUM_COLUMNS = 1200  # of waveforms and spectrograms
_N_MELS = 80
_N_FFT = 1024
_RANGE_DB = 70.0  # from the loudest band downwards
_LOUDEST_DB = -40.0  # a track whose loudest band is below this is shown as quiet
# What browsers play; another film is shown as its strip of pictures.
_PLAYABLE = {".mp4": {"h264", "av1"}, ".m4v": {"h264", "av1"}, ".webm": {"vp8", "vp9", "av1"}}
_TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
# Black, violet, red, orange, pale yellow: rising evenly in lightness, so that louder is brighter.
_COLOURS = np.array([(8, 6, 20), (72, 24, 106), (166, 46, 98), (236, 104, 58), (250, 232, 168)], float)


def render_report(
    soundtrack: "Soundtrack",
    film_bytes: bytes,
    film_path: pathlib.Path,
    sizes: Mapping[pathlib.Path, int],
    seconds: Mapping[str, float],
) -> str:
    """Renders the page.

    Args:
        soundtrack: what was made.
        film_bytes: the film with its soundtrack, as written.
        film_path: its name.
        sizes: files that were written, in bytes.
        seconds: how long each step took.

    Returns:
        The HTML of the page.
    """
    film, rate_hz = soundtrack.film, soundtrack.sample_rate_hz
    duration_s = float(film.duration_s)
    strip = [_jpeg(picture) for picture in film.strip]
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
        "facts": _table(_facts(soundtrack)),
        "warnings": "".join(f'<p class="warning">{html.escape(w)}</p>' for w in soundtrack.warnings),
        "strip": "".join(f'<img alt="" src="{picture}">' for picture in strip),
        "words": _words(soundtrack, duration_s),
        "ticks": _ticks(duration_s),
        "seconds": _table([(name, f"{value:.2f} s") for name, value in seconds.items()]),
        "files": _table([(path.name, _bytes(size)) for path, size in sizes.items()]),
        "duration": repr(duration_s),
        "top_khz": f"{rate_hz / 2000:g}",
    }
    for name, track in (("speech", soundtrack.speech), ("background", soundtrack.background)):
        fields[f"{name}_wave"] = _waveform(track)
        fields[f"{name}_mel"] = _spectrogram(track, rate_hz)
    template = importlib.resources.files("dualdub_jax").joinpath("assets/report.html")
    return string.Template(template.read_text(encoding="utf-8")).substitute(fields)


def _facts(soundtrack: "Soundtrack") -> list[tuple[str, str]]:
    film = soundtrack.film
    return [
        ("Video", f"{film.size[0]} x {film.size[1]}, {film.rate_hz:.3f} frames/s, {film.codec}"),
        ("Samples", f"{film.num_samples} at {soundtrack.sample_rate_hz} Hz"),
        ("Voice", soundtrack.voice.name if soundtrack.voice else "the model's choice"),
        ("Checkpoint", soundtrack.checkpoint.name),
        ("Seed", str(soundtrack.seed)),
        ("Windows", str(len(soundtrack.windows))),
        ("Gain of the mix", f"{20 * math.log10(soundtrack.tracks.mix_gain):.1f} dB"),
    ]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in rows)


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _video_player(data: bytes, path: pathlib.Path, codec: str, poster: str) -> str:
    suffix = path.suffix.lower()
    if codec not in _PLAYABLE.get(suffix, ()):
        return f'<p class="note">Browsers cannot play {html.escape(path.name)}; open it in a film player.</p>'
    if len(data) > MAX_EMBEDDED_BYTES:
        return (
            f'<p class="note">{html.escape(path.name)} is too large for this page ({_bytes(len(data))}).</p>'
        )
    kind = "video/webm" if suffix == ".webm" else "video/mp4"
    return f'<video controls playsinline poster="{poster}" src="{_data_uri(kind, data)}"></video>'


def _audio_player(name: str, track: np.ndarray, rate_hz: int) -> str:
    file = io.BytesIO()
    soundfile.write(file, track, rate_hz, format="FLAC", subtype="PCM_16")
    data = file.getvalue()
    if len(data) > MAX_EMBEDDED_BYTES:
        return f'<p class="note">{name}: too large for this page ({_bytes(len(data))}).</p>'
    return f'<label>{name}<audio controls src="{_data_uri("audio/flac", data)}"></audio></label>'


def _words(soundtrack: "Soundtrack", duration_s: float) -> str:
    """What is said where: cues at their times, else the text of each window."""
    rate = soundtrack.film.frames.shape[0] / duration_s
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


def _waveform(track: np.ndarray) -> str:
    """An SVG of the track's extremes, column by column, in the colour of the text around it."""
    edges = np.linspace(0, len(track), min(_NUM_COLUMNS, len(track)) + 1).astype(int)[:-1]
    high = np.maximum.reduceat(track, edges)
    low = np.minimum.reduceat(track, edges)
    if not high.any() and not low.any():
        return '<div class="silent">silent: every sample is zero</div>'
    top = max(0.1, float(np.abs(track).max()))
    points = [f"{x},{50 - 48 * y / top:.1f}" for x, y in enumerate(high)]
    points += [f"{x},{50 - 48 * y / top + 0.4:.1f}" for x, y in reversed(list(enumerate(low)))]
    return (
        f'<svg viewBox="0 0 {len(edges)} 100" preserveAspectRatio="none" role="img" aria-label="waveform">'
        f'<polygon fill="currentColor" points="{" ".join(points)}"/></svg>'
    )


def _spectrogram(track: np.ndarray, rate_hz: int) -> str:
    """An image of the track's mel spectrogram, low frequencies at the bottom."""
    levels_db = _mel_levels_db(track, rate_hz)  # [columns, bands]
    top_db = max(_LOUDEST_DB, float(levels_db.max()))
    levels = ((levels_db - top_db) / _RANGE_DB + 1.0).clip(0.0, 1.0)
    position = levels.T[::-1] * (len(_COLOURS) - 1)
    index = np.minimum(position.astype(int), len(_COLOURS) - 2)
    fraction = (position - index)[..., None]
    picture = _COLOURS[index] * (1 - fraction) + _COLOURS[index + 1] * fraction
    return f'<img alt="mel spectrogram" src="{_png(np.ascontiguousarray(picture.round().astype(np.uint8)))}">'


def _mel_levels_db(track: np.ndarray, rate_hz: int) -> np.ndarray:
    """float[columns, bands]: band levels, dB of a full-scale sine; a column is the middle of its part."""
    num_columns = min(_NUM_COLUMNS, max(1, len(track) // 80))
    centres = ((np.arange(num_columns) + 0.5) * len(track) / num_columns).astype(int)
    padded = np.pad(track.astype(np.float32), _N_FFT // 2)
    window = np.hanning(_N_FFT).astype(np.float32)
    bands = mel_filterbank(_N_MELS, _N_FFT, rate_hz)
    frames = np.stack([padded[c : c + _N_FFT] for c in centres]) * window
    spectrum = np.abs(np.fft.rfft(frames, axis=1)) * (2.0 / window.sum())
    return 20.0 * np.log10(np.maximum(spectrum @ bands, 1e-7))


def _png(picture: np.ndarray) -> str:
    return _data_uri("image/png", _encode_picture(picture, "png", "rgb24"))


def _jpeg(picture: np.ndarray) -> str:
    return _data_uri("image/jpeg", _encode_picture(picture, "mjpeg", "yuvj420p"))


def _encode_picture(picture: np.ndarray, codec: str, pixel_format: str) -> bytes:
    """Encodes uint8[height, width, 3] as one image file."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt = pixel_format
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])

"""One card per clip in the report: film, spectrograms and players for the tracks of every system.

Audio, film and spectrograms of the most relevant clips are embedded in the page up to a byte budget; all
other clips link to their files.
"""

import dataclasses
import html
import os
import pathlib
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import av
import numpy as np

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ
from dualdub_jax.evaluation.contracts.results import OTHER, OURS, TRUE
from dualdub_jax.media.sound_file import read_mono
from dualdub_jax.pages.data_uri import data_uri, film_uri, is_playable, opus_bytes, webp_uri
from dualdub_jax.pages.track_pictures import mel_levels_db, paint_spectrogram

OPUS_BIT_RATE = 32_000  # bits a second, mono at 16 kHz: nearly transparent
MAX_FILM_BYTES = 600_000  # of an embedded film; larger ones are linked
_MEDIA_SHARE = 0.75  # of the byte budget; the rest is for spectrograms of further clips
_TRACKS = ("speech", "background", "mix")
_COMPARED = (OURS, OTHER, TRUE)  # systems with players; the others are linked
_EXTRA_FILES = {"video": "film", "voice": "reference voice"}  # key in the results -> label
_COLUMNS = 360  # of spectrograms

# Embedded media of one clip: data URIs by "video", "TRACK SYSTEM" and "picture TRACK SYSTEM".
_Embedded = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Links:
    """Relative URLs of a run's files, so that page and run can be moved together.

    Attributes:
        page_folder: folder of the page.
        files_root: base of the relative paths in the results.
    """

    page_folder: pathlib.Path
    files_root: pathlib.Path

    def path(self, name: str) -> pathlib.Path:
        """The file of a path in the results."""
        return self.files_root / name

    def url(self, name: str) -> str:
        """The file's URL, escaped for an HTML attribute."""
        path = self.path(name).absolute()
        try:
            relative = pathlib.PurePath(os.path.relpath(path, self.page_folder.absolute())).as_posix()
        except ValueError:  # another drive
            return html.escape(path.as_uri())
        # "./" prevents a colon in the first folder's name from being parsed as a URL scheme.
        return html.escape("./" + urllib.parse.quote(relative))

    def anchor(self, label: str, name: str) -> str:
        """HTML of a link to the file."""
        return f'<a href="{self.url(name)}">{html.escape(label)}</a>'


def clip_cards(
    clips: Sequence[Mapping[str, Any]], first: Iterable[int], links: Links, max_embedded_bytes: int
) -> tuple[list[str], int]:
    """Renders the cards of all clips.

    Args:
        clips: as in the results.
        first: indices of the clips to embed, most relevant first; the others are linked.
        links: resolves the clips' files.
        max_embedded_bytes: budget of all embedded media.

    Returns:
        HTML of a card for every clip, and the number of clips that are embedded completely.
    """
    left, left_for_media = max_embedded_bytes, int(_MEDIA_SHARE * max_embedded_bytes)
    embedded: dict[int, _Embedded] = {}
    num_whole = 0
    for index in dict.fromkeys(first):
        sounds = _sounds(clips[index], links)
        pictures = _pictures(sounds)
        left -= _size(pictures)
        if left < 0:
            break
        embedded[index] = pictures
        if left_for_media > 0:
            media = _media(sounds, clips[index], links)
            left_for_media -= _size(media)
            if media and _size(media) <= left and left_for_media >= 0:
                embedded[index], left = pictures | media, left - _size(media)
                num_whole += 1
    return [_card(clip, embedded.get(i, {}), links) for i, clip in enumerate(clips)], num_whole


def _size(embedded: _Embedded) -> int:
    return sum(map(len, embedded.values()))


def _takes(clip: Mapping[str, Any], track: str) -> dict[str, str]:
    """System -> path of the track, systems with players first."""
    takes = {system: path for system, path in clip["files"].get(track, {}).items() if path}
    order = [system for system in _COMPARED if system in takes]
    return {system: takes[system] for system in (*order, *(s for s in takes if s not in order))}


def _compared(clip: Mapping[str, Any], track: str) -> dict[str, str]:
    return {system: path for system, path in _takes(clip, track).items() if system in _COMPARED}


def _read(path: pathlib.Path) -> np.ndarray | None:
    """float32[S], resampled to `SAMPLE_RATE_HZ`, without NaN; None if the file cannot be read."""
    try:
        samples = read_mono(path, SAMPLE_RATE_HZ)
    except UserError:
        return None  # the card links the file, and the browser reports that it is missing
    return np.nan_to_num(samples) if len(samples) else None


def _sounds(clip: Mapping[str, Any], links: Links) -> dict[tuple[str, str], np.ndarray]:
    """(track, system) -> float32[S] of systems with players; a mix without a file is the stems' sum."""
    sounds = {}
    for track in _TRACKS:
        for system, path in _compared(clip, track).items():
            samples = _read(links.path(path))
            if samples is not None:
                sounds[track, system] = samples
    for system in _COMPARED:
        speech, background = sounds.get(("speech", system)), sounds.get(("background", system))
        if speech is not None and background is not None and ("mix", system) not in sounds:
            mix = np.zeros(max(len(speech), len(background)), np.float32)
            mix[: len(speech)] += speech
            mix[: len(background)] += background
            sounds["mix", system] = mix
    return sounds


def _pictures(sounds: Mapping[tuple[str, str], np.ndarray]) -> dict[str, str]:
    """Spectrograms of the stems; those of one stem share a colour scale."""
    pictures = {}
    for track in ("speech", "background"):
        levels_db = {
            system: mel_levels_db(samples, SAMPLE_RATE_HZ, _COLUMNS)
            for (of, system), samples in sounds.items()
            if of == track
        }
        top_db = max((float(level.max()) for level in levels_db.values()), default=0.0)
        for system, level in levels_db.items():
            pictures[f"picture {track} {system}"] = webp_uri(paint_spectrogram(level, top_db))
    return pictures


def _media(
    sounds: Mapping[tuple[str, str], np.ndarray], clip: Mapping[str, Any], links: Links
) -> dict[str, str]:
    media = {
        f"{track} {system}": data_uri("audio/ogg", opus_bytes(samples, SAMPLE_RATE_HZ, OPUS_BIT_RATE))
        for (track, system), samples in sounds.items()
    }
    video = clip["files"].get("video")
    if media and video and _fits_in_page(links.path(video)):
        media["video"] = film_uri(links.path(video), links.path(video).read_bytes())
    return media


def _fits_in_page(film: pathlib.Path) -> bool:
    try:
        if film.stat().st_size > MAX_FILM_BYTES:
            return False
        with av.open(f"file:{film}") as container:
            return is_playable(film, container.streams.video[0].codec_context.name)
    except (av.error.FFmpegError, OSError, IndexError):
        return False


def _card(clip: Mapping[str, Any], embedded: _Embedded, links: Links) -> str:
    files = clip["files"]
    text = clip["text"]
    script = f"<q>{html.escape(text)}</q>" if text else ("no speech" if text == "" else "script unknown")
    facts = [html.escape(clip["group"]), f"{clip['duration_s']:.2f} s", script]
    rows = []
    for track in _TRACKS:
        paths = _compared(clip, track)
        systems = [system for system in _COMPARED if system in paths or f"{track} {system}" in embedded]
        takes = "".join(_take(track, system, paths.get(system), clip, embedded, links) for system in systems)
        if takes:
            rows.append(f'<section class="track {track}"><h4>{track}</h4>{takes}</section>')
    others = [
        links.anchor(f"{system} {track}", path)
        for track in _TRACKS
        for system, path in _takes(clip, track).items()
        if system not in _COMPARED
    ]
    others += [links.anchor(name, files[key]) for key, name in _EXTRA_FILES.items() if files.get(key)]
    more = f'<p class="note">Files: {", ".join(others)}</p>' if others else ""
    body = "".join(rows) or '<p class="note">No track of this clip was kept.</p>'
    return (
        f'<article class="clip"><header><h3>{html.escape(clip["id"])}</h3><p class="score"></p>'
        f'<p class="facts">{" · ".join(fact for fact in facts if fact)}</p></header>'
        f'<div class="media">{_film(files, embedded, links)}<div class="tracks">{body}{more}</div></div>'
        "</article>"
    )


def _film(files: Mapping[str, Any], embedded: _Embedded, links: Links) -> str:
    if not files.get("video"):
        return ""
    source = embedded.get("video") or links.url(files["video"])
    # Muted: it is synchronized with the track that plays.
    return (
        f'<div class="film"><video muted playsinline preload="metadata" aria-label="film" src="{source}">'
        "</video></div>"
    )


def _take(
    track: str, system: str, path: str | None, clip: Mapping[str, Any], embedded: _Embedded, links: Links
) -> str:
    """One row of a card: system, spectrogram with marks of the contacts, player."""
    name = html.escape(f"{system} {track}")
    picture = embedded.get(f"picture {track} {system}")
    plot = ""
    if picture:
        plot = (
            f'<div class="plot"><img alt="mel spectrogram: {name}" src="{picture}">'
            f'{_marks(clip) if track == "background" else ""}<div class="head"></div></div>'
        )
    source = embedded.get(f"{track} {system}")
    if source is None:
        source = links.url(path)
    return (
        f'<div class="take"><span class="who">{html.escape(system)}</span>{plot}'
        f'<audio controls preload="metadata" aria-label="{name}" src="{source}"></audio></div>'
    )


def _marks(clip: Mapping[str, Any]) -> str:
    """Marks at the annotated contacts, if the suite has any."""
    times_s = clip["notes"].get("contacts_s", ())
    duration_s = clip["duration_s"] or 1.0
    mark = '<i class="mark" style="left:{:.2f}%" title="contact at {:.2f} s"></i>'
    return "".join(
        mark.format(100 * time_s / duration_s, time_s) for time_s in times_s if 0 <= time_s <= duration_s
    )

"""Streams beside video and sound: subtitles, data, attachments, covers, further video; chapters and tags.

What the target holds is copied on the video's clock. Text subtitles that it does not hold as they are become
its own kind of text and lose their styles, but for bold and italic letters. Sound is not copied, for the new
tracks replace it.
"""

import io
import pathlib
from typing import Any

import av

from dualdub_jax.media.container import is_mp4, open_media
from dualdub_jax.media.film import Film
from dualdub_jax.media.inventory import STYLED_CODECS, TEXT_CODECS, film_tags, is_own_stream
from dualdub_jax.media.subtitle_encoder import SubtitleEncoder

_COVER = av.stream.Disposition.attached_pic


class OtherStreams:
    """The further streams of a film that a target holds.

    Attributes:
        sources: streams whose packets are to be read and given to `packets`.
    """

    def __init__(
        self, source: av.container.InputContainer, main: av.video.stream.VideoStream, film: Film
    ) -> None:
        """Finds the streams of `source`; `main` is its video stream."""
        self._film = film
        self._start_s = film.start_pts * film.time_base
        self._source, self._main = source, main
        self._targets: dict[int, av.stream.Stream] = {}
        self._converters: dict[int, SubtitleEncoder] = {}

    def add_to(self, target: av.container.OutputContainer, format_name: str, subtitle_codec: str) -> None:
        """Adds all streams that the target holds, chapters and tags; before any packet is written.

        Args:
            target: the copy.
            format_name: of its container.
            subtitle_codec: of text subtitles that it does not hold as they are.
        """
        covers = {}
        for stream in self._source.streams:
            if stream.index == self._main.index or stream.type == "audio" or not is_own_stream(stream):
                continue
            if stream.disposition & _COVER and format_name == "matroska":
                covers = covers or _read_covers(self._film.path)
                if stream.index in covers:
                    name, kind = _cover_file(stream)
                    target.add_attachment(name, kind, covers[stream.index])
            elif _accepts(format_name, stream):
                self._targets[stream.index] = _copy_stream(target, stream)
            elif stream.type == "subtitle" and _codec(stream) in TEXT_CODECS | STYLED_CODECS:
                converter = SubtitleEncoder(target, subtitle_codec)
                _mark(stream, converter.stream)
                self._targets[stream.index] = converter.stream
                self._converters[stream.index] = converter
        target.metadata.update(film_tags(self._source))
        target.set_chapters(self._chapters())

    @property
    def sources(self) -> list[av.stream.Stream]:
        return [
            stream
            for stream in self._source.streams
            if stream.index in self._targets and stream.type != "attachment"
        ]

    def packets(self, packet: av.Packet) -> list[av.Packet]:
        """What to write for a packet of a source: on the film's clock, and nothing outside of the film."""
        if not self._move(packet):
            return []
        if packet.stream_index in self._converters:
            return self._converters[packet.stream_index].convert(packet)
        packet.stream = self._targets[packet.stream_index]
        return [packet]

    def _move(self, packet: av.Packet) -> bool:
        """Moves a packet to the film's clock; False: it is not within the film."""
        stream = self._targets[packet.stream_index]
        if not stream.disposition & _COVER and packet.pts is not None:
            shift = round(self._start_s / packet.time_base)
            end = round(self._film.duration_s / packet.time_base)
            start, stop = packet.pts - shift, packet.pts - shift + (packet.duration or 0)
            if start >= end or max(start, stop) < 0 or packet.is_discard:
                return False
            if packet.stream.type == "video":
                if start < 0:
                    return False
                packet.pts = start
                if packet.dts is not None:
                    packet.dts -= shift
            else:
                packet.pts = packet.dts = max(0, start)
                packet.duration = max(0, min(stop, end) - packet.pts)
        return True

    def _chapters(self) -> list[dict[str, Any]]:
        chapters = []
        for chapter in self._source.chapters():
            unit_s = chapter["time_base"]
            shift, length = round(self._start_s / unit_s), round(self._film.duration_s / unit_s)
            start, end = max(0, chapter["start"] - shift), min(chapter["end"] - shift, length)
            if start < end:
                chapters.append(chapter | {"start": start, "end": end, "id": len(chapters) + 1})
        return chapters


def wants_apple_tags(source: av.container.InputContainer) -> bool:
    """Whether the film has tags by reverse domain names, as phones and cameras of Apple write them."""
    return is_mp4(source) and any(key.startswith("com.") for key in source.metadata)


def copy_tags(stream: av.stream.Stream, copy: av.stream.Stream) -> None:
    """Copies language, title and other tags of a stream."""
    for key, value in stream.metadata.items():
        if not key.upper().startswith("DURATION"):
            copy.metadata["title" if key == "name" else key] = value  # as MP4 has it


def _accepts(format_name: str, stream: av.stream.Stream) -> bool:
    """Whether a container format holds a stream as it is."""
    try:
        with av.open(io.BytesIO(), "w", format=format_name) as target:
            _copy_stream(target, stream)
            target.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _copy_stream(target: av.container.OutputContainer, stream: av.stream.Stream) -> av.stream.Stream:
    copy = target.add_stream_from_template(stream, opaque=True)
    _mark(stream, copy)
    return copy


def _mark(stream: av.stream.Stream, copy: av.stream.Stream) -> None:
    copy_tags(stream, copy)
    copy.disposition = stream.disposition


def _codec(stream: av.stream.Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def _read_covers(path: pathlib.Path) -> dict[int, bytes]:
    """The pictures attached to a film, by stream."""
    covers: dict[int, bytes] = {}
    with open_media(path, "video") as container:
        streams = [stream for stream in container.streams.video if stream.disposition & _COVER]
        for packet in container.demux(*streams):
            if packet.size:
                covers.setdefault(packet.stream_index, bytes(packet))
            if len(covers) == len(streams):
                break
    return covers


def _cover_file(stream: av.stream.Stream) -> tuple[str, str]:
    """Name and media type of a cover."""
    kind = "png" if stream.codec_context.name == "png" else "jpeg"
    name = stream.metadata.get("filename", f"cover.{'png' if kind == 'png' else 'jpg'}")
    return name, stream.metadata.get("mimetype", f"image/{kind}")

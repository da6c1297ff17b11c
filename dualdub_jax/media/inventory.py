"""What a film's container says of it, beside packets and times, and what a copy has lost of that."""

import contextlib
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import av.logging

from dualdub_jax.media.container import is_mp4

# Written by the tools and formats themselves; it describes the file and not the film.
_TECHNICAL = re.compile(
    r"encoder|encoding_tool|(major|compatible)_brands?|minor_version|duration.*|handler_name|vendor_id|bps(-.*)?"
    r"|number_of_(frames|bytes).*|_statistics_.*|source_id.*|language|title|timecode|creation_time|alpha_mode"
    r"|stereo_mode|filename|mimetype|metadatacreator|hasvideo|hasaudio|variant_bitrate|service_.*|name|software"
    # MXF's own
    r"|operational_pattern_ul|(\w+_)?uid|\w+_umid|company_name|product_\w+|application_platform|toolkit_\w+"
    r"|modification_date",
    re.IGNORECASE,
)
# Names of text with few styles, one of which becomes another in a copy, and of text with many.
TEXT_CODECS = {"mov_text", "subrip", "srt", "text", "webvtt"}
STYLED_CODECS = {"ass", "ssa"}
_STYLED = re.compile(r"^(subtitles \()(?:ass|ssa)([,)])")
_KEPT_DISPOSITIONS = av.stream.Disposition.default | av.stream.Disposition.forced
_SIDE_DATA = re.compile(r"^ {6}(?!Display Matrix|CPB)(\S.*)$")


@dataclasses.dataclass(frozen=True)
class Inventory:
    """What a container says.

    Attributes:
        picture: what a player needs to show the pictures right, by name, as text.
        track: title, language and the like of the video track, by name.
        tags: of the file.
        chapters: their titles.
        streams: all other streams but sound, as text.
        num_sounds: sound streams.
    """

    picture: dict[str, str]
    track: dict[str, str]
    tags: dict[str, str]
    chapters: list[str]
    streams: Counter[str]
    num_sounds: int

    @classmethod
    def take(
        cls,
        container: av.container.InputContainer,
        stream: av.video.stream.VideoStream,
        added: Sequence[av.stream.Stream] = (),
    ) -> "Inventory":
        """Takes the inventory of an open film with its video `stream`; streams in `added` do not count."""
        others = [
            other
            for other in container.streams
            if other.index not in {stream.index, *(new.index for new in added)} and is_own_stream(other)
        ]
        return cls(
            picture=_describe_picture(container, stream),
            track=_describe_track(stream),
            tags={key: value for key, value in film_tags(container).items() if key != "timecode"},
            chapters=[chapter["metadata"].get("title", "untitled") for chapter in container.chapters()],
            streams=Counter(describe_stream(other) for other in others if other.type != "audio"),
            num_sounds=sum(other.type == "audio" for other in others),
        )

    def losses(self, copy: "Inventory") -> list[str]:
        """What of this inventory a copy does not have: phrases that follow "does not keep"."""
        phrases = []
        for before, after in ((self.picture, copy.picture), (self.track, copy.track)):
            for name, value in before.items():
                if value and after.get(name) != value and not (name == "codec tag" and name not in after):
                    phrases.append(f"the {name} ({value}{_becomes(after.get(name))})")
        tags = {key.lower(): value for key, value in copy.tags.items()}
        lost = [key for key, value in self.tags.items() if tags.get(key.lower()) != value]
        if lost:
            phrases.append(f"the tags {', '.join(lost)}")
        if len(copy.chapters) < len(self.chapters):
            phrases.append(f"the chapters ({len(self.chapters)})")
        elif copy.chapters != self.chapters:
            phrases.append("the titles of the chapters")
        gained = copy.streams - self.streams
        for name in (self.streams - copy.streams).elements():
            as_text = _STYLED.sub(r"\1text\2", name)
            is_plain = gained[as_text] > 0
            gained[as_text] -= 1
            phrases.append(f"the {'styles of the ' * is_plain}{name}")
        return phrases


def is_own_stream(stream: av.stream.Stream) -> bool:
    """Whether a stream is more than another form of what the file says elsewhere: chapters, a timecode."""
    if stream.type != "data":
        return True
    is_chapter_text = (
        stream.discard == av.stream.Discard.all or stream.metadata.get("handler_name") == "SubtitleHandler"
    )
    return not is_chapter_text and "timecode" not in stream.metadata


def film_tags(container: av.container.InputContainer) -> dict[str, str]:
    """Tags of the film: its title, its author, and others that are not about the file."""
    tags = {key: value for key, value in container.metadata.items() if not _TECHNICAL.fullmatch(key)}
    for key in ("title", "creation_time", "timecode"):
        if key in container.metadata:
            tags[key] = container.metadata[key]
    return tags


def describe_stream(stream: av.stream.Stream) -> str:
    """A stream in a few words."""
    if stream.type == "attachment":
        return f"attachment ({stream.name})"
    name = (stream.codec_context and stream.codec_context.name) or getattr(stream, "name", None) or "unknown"
    if stream.type == "subtitle" and stream.codec_context:
        name = stream.codec_context.codec.canonical_name  # "ass", not its decoder's "ssa"
    if stream.disposition & av.stream.Disposition.attached_pic:
        return f"cover picture ({name})"
    kind = {"subtitle": "subtitles", "video": "further video", "data": "data stream"}.get(
        stream.type, stream.type
    )
    if name in TEXT_CODECS:
        name = "text"
    language = stream.metadata.get("language", "und")
    return f"{kind} ({name}{'' if language == 'und' else ', ' + language})"


def _becomes(value: str | None) -> str:
    return f" becomes {value}" if value else ""


def _describe_picture(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> dict[str, str]:
    context = stream.codec_context
    line, side_data = _dump(container, stream)
    # As in "yuv420p10le(tv, bt2020nc/bt2020/smpte2084, top first)".
    found = re.search(rf"\b{re.escape(context.pix_fmt or '?')}\((.*?)\), ", line)
    details = found.group(1).split(", ") if found else []
    fields = [text for text in details if "first" in text or "coded" in text]
    # "tv", the limited range, is what players assume.
    colours = [text for text in details if text not in (*fields, "progressive", "unknown", "tv")]
    picture = {
        "codec": context.name,
        "profile": str(context.profile or ""),
        "pixel format": context.pix_fmt or "",
        "colours": ", ".join(colours),
        "field order": ", ".join(fields),
        "timecode": stream_tag(stream, "timecode") or _file_tag(container, "timecode"),
        "stereo mode": ""
        if any("stereo" in text.lower() for text in side_data)
        else stream_tag(stream, "stereo_mode"),
    }
    if is_mp4(container):
        with contextlib.suppress(UnicodeDecodeError):
            picture["codec tag"] = context.codec_tag
    for text in side_data:
        name, _, value = text.partition(": ")
        picture[name] = value or "present"
    return picture


def _describe_track(stream: av.video.stream.VideoStream) -> dict[str, str]:
    language = stream_tag(stream, "language")
    track = {
        "track's language": "" if language == "und" else language,
        "track's title": stream_tag(stream, "title") or stream_tag(stream, "name"),
        "track's marks": ", ".join(mark.name for mark in stream.disposition & _KEPT_DISPOSITIONS),
    }
    track |= {
        f"track's tag {key.lower()}": value
        for key, value in stream.metadata.items()
        if not _TECHNICAL.fullmatch(key)
    }
    return track


def stream_tag(stream: av.stream.Stream, key: str) -> str:
    """A tag of a stream, whatever the case of its name; empty if there is none."""
    return next((value for name, value in stream.metadata.items() if name.lower() == key), "")


def _file_tag(container: av.container.InputContainer, key: str) -> str:
    return next((value for name, value in container.metadata.items() if name.lower() == key), "")


def _dump(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> tuple[str, list[str]]:
    """The line of a stream in FFmpeg's description of a file, and the lines of its side data.

    PyAV shows the side data of a stream nowhere else.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        lines = container.dumps_format().splitlines()
    finally:
        av.logging.set_level(level)
    start = next(
        (i for i, line in enumerate(lines) if re.match(rf"  Stream #0:{stream.index}\b", line)), None
    )
    if start is None:
        return "", []
    return lines[start], list(_side_data(lines[start + 1 :]))


def _side_data(lines: list[str]) -> Iterator[str]:
    is_side_data = False
    for line in lines:
        if line.startswith("  Stream #"):
            return
        if line.startswith("    ") and not line.startswith("     "):
            is_side_data = line.strip() == "Side data:"
        elif is_side_data and (found := _SIDE_DATA.match(line)):
            yield found.group(1)


def pixel_aspect(stream: av.video.stream.VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 where the file does not say."""
    return Fraction(stream.sample_aspect_ratio or 1)

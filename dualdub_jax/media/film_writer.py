"""Writing a film with a new sound: its video packets copied, new tracks encoded beside them.

No picture is decoded or encoded again. The film's time zero moves to its first picture, where the new tracks
begin.
What the container says of the picture (shape of pixels, codec tag, colours, orientation, transparency) and of
the film (chapters, tags, further streams) is written again; see `other_streams` for the latter.
"""

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av

from dualdub_jax.media.audio_encoder import AudioEncoder
from dualdub_jax.media.clock import FilmClock
from dualdub_jax.media.container import is_mp4, open_media, video_stream
from dualdub_jax.media.copy_plan import CopyPlan
from dualdub_jax.media.film import Film
from dualdub_jax.media.inventory import pixel_aspect
from dualdub_jax.media.language import stored_language
from dualdub_jax.media.matroska_elements import ROOM, set_display_size
from dualdub_jax.media.mp4_boxes import end_edit_list
from dualdub_jax.media.new_tracks import AudioTrack, NewTracks, SubtitleTrack
from dualdub_jax.media.other_streams import OtherStreams, copy_tags, wants_apple_tags
from dualdub_jax.media.subtitle_encoder import SubtitleEncoder


class ContainerKind(NamedTuple):
    """Names, by libavformat and libavcodec, of a container format and the encoders of its new tracks."""

    format: str
    audio_codec: str
    subtitle_codec: str


# By suffix. WebM allows neither AAC nor SubRip.
CONTAINERS: dict[str, ContainerKind] = {
    ".mp4": ContainerKind("mp4", "aac", "mov_text"),
    ".m4v": ContainerKind("mp4", "aac", "mov_text"),
    ".mov": ContainerKind("mov", "aac", "mov_text"),
    ".mkv": ContainerKind("matroska", "aac", "subrip"),
    ".webm": ContainerKind("webm", "libopus", "webvtt"),
}
_WITH_EDIT_LISTS = {"mp4", "mov"}
# Stereo, spherical and Dolby Vision boxes are not in the first edition of the standard.
_STRICTNESS = {"strict": "unofficial"}
_FIRST_TRACK = 1


class CannotHoldError(Exception):
    """A container cannot hold a film's video as it is; the text says what of it."""


def write_film(
    film: Film,
    plan: CopyPlan,
    new: NewTracks,
    suffix: str,
    file: BinaryIO,
    max_packets: int | None = None,
) -> None:
    """Writes the film's video and other streams with new tracks in place of its sound.

    Args:
        film: the film; its packets are read from `film.path`.
        plan: which of them.
        new: the tracks; they follow the video, in their order, before all other streams.
        suffix: chooses the container, see `CONTAINERS`.
        file: where the bytes go; opened for reading and writing, seekable.
        max_packets: of the video; None: all.

    Raises:
        CannotHoldError: the container cannot hold the video.
        UserError: the film cannot be read.
        OSError: `file` cannot be written.
    """
    kind = CONTAINERS[suffix]
    format_name = kind.format
    if plan.num_hidden and format_name not in _WITH_EDIT_LISTS:
        raise CannotHoldError(f"hide the {plan.num_hidden} pictures outside of the edit list")
    with open_media(film.path, "video") as source:
        stream = video_stream(source, film.path)
        tag = _find_tag(source, stream, format_name)
        with av.open(
            file, "w", format=format_name, container_options=_options(source, film, format_name)
        ) as target:
            target.flags |= av.container.Flags.bitexact.value  # no random numbers in the headers
            video = _add_video(target, stream, format_name, tag)
            if plan.rate is not None:
                video.codec_context.framerate = plan.rate
            feeds = _add_tracks(target, new, kind)
            others = OtherStreams(source, stream, film)
            others.add_to(target, format_name, kind.subtitle_codec)
            clock = OutputClock(film, plan)
            video.time_base = clock.time_base
            num_packets = -1
            for packet in FilmClock(source, stream).packets(*others.sources):
                if packet.stream_index != stream.index:
                    target.mux(others.packets(packet))
                    continue
                num_packets += 1
                if num_packets not in plan:
                    continue
                if max_packets is not None and num_packets >= plan.first + max_packets:
                    break
                clock.move(packet, num_packets)
                # In order of time, so that the muxer never has to hold one stream back for the other.
                for feed in feeds:
                    for packets in feed.until(packet.pts * packet.time_base):
                        target.mux(packets)
                packet.stream = video
                target.mux(packet)
            for packets in _rest(feeds):
                target.mux(packets)
        if format_name in _WITH_EDIT_LISTS and plan.num_hidden:
            end_edit_list(file, _FIRST_TRACK, film.duration_s)
        elif format_name not in _WITH_EDIT_LISTS and stream.sample_aspect_ratio:
            set_display_size(file, pixel_aspect(stream))


def _options(source: av.container.InputContainer, film: Film, format_name: str) -> dict[str, str]:
    if format_name not in _WITH_EDIT_LISTS:
        return {}
    options = _STRICTNESS | {"movie_timescale": str(_timescale(film))}
    if wants_apple_tags(source):
        options["movflags"] = "use_metadata_tags"
    return options


class _Feed:
    """The packets of a new track, taken as far as they are due."""

    def __init__(self, packets: Iterator[tuple[Fraction, list[av.Packet]]]) -> None:
        self._packets = packets
        self.until_s: Fraction | None = Fraction(0)  # None: at its end

    def next(self) -> list[av.Packet]:
        self.until_s, packets = next(self._packets, (None, []))
        return packets

    def until(self, time_s: Fraction) -> Iterator[list[av.Packet]]:
        while self.until_s is not None and self.until_s <= time_s:
            yield self.next()


def _rest(feeds: Sequence[_Feed]) -> Iterator[list[av.Packet]]:
    """What is left of all feeds, side by side."""
    while going := [feed for feed in feeds if feed.until_s is not None]:
        yield min(going, key=lambda feed: feed.until_s).next()


def _add_tracks(target: av.container.OutputContainer, new: NewTracks, kind: ContainerKind) -> list[_Feed]:
    feeds = []
    for track in new.audio:
        audio = AudioEncoder(target, kind.audio_codec, track)
        _name(audio.stream, track, kind)
        feeds.append(_Feed(audio.packets()))
    if new.subtitles is not None:
        subtitles = SubtitleEncoder(target, kind.subtitle_codec)
        _name(subtitles.stream, new.subtitles, kind)
        feeds.append(_Feed(subtitles.packets(new.subtitles)))
    return feeds


def _name(stream: av.stream.Stream, track: AudioTrack | SubtitleTrack, kind: ContainerKind) -> None:
    stream.metadata["title"] = track.title
    if kind.format in _WITH_EDIT_LISTS:
        stream.metadata["handler_name"] = track.title  # which players of MP4 show
    if track.language is not None:
        stream.metadata["language"] = stored_language(track.language, kind.format)


def _timescale(film: Film) -> int:
    """Units a second for durations of the presentation: exact for most films."""
    base = film.time_base
    return base.denominator if base.numerator == 1 and 1_000 <= base.denominator <= 1_000_000 else 90_000


def _add_video(
    target: av.container.OutputContainer,
    stream: av.video.stream.VideoStream,
    format_name: str,
    tag: str | None = None,
) -> av.video.stream.VideoStream:
    """Adds the video stream with all that its container says of it.

    Raises:
        CannotHoldError: the container does not know the codec.
    """
    try:
        video = target.add_stream_from_template(stream, opaque=True)  # needs no encoder of that codec
    except ValueError:
        raise CannotHoldError(f"hold {stream.codec_context.codec.canonical_name} video as it is") from None
    video.codec_context.sample_aspect_ratio = pixel_aspect(stream)
    if tag is not None:
        video.codec_context.codec_tag = tag
    copy_tags(stream, video)
    video.disposition = stream.disposition or av.stream.Disposition.default
    if stream.sample_aspect_ratio and format_name not in _WITH_EDIT_LISTS:
        video.metadata["title"] = video.metadata.get("title", "") + ROOM
    return video


def _find_tag(
    source: av.container.InputContainer, stream: av.video.stream.VideoStream, format_name: str
) -> str | None:
    """The codec tag to write; None: the container's usual one.

    Raises:
        CannotHoldError: the container does not take the video with any.
    """
    tags: list[str | None] = [None]
    if is_mp4(source):
        tags = [_tag(stream), None]
    elif format_name in _WITH_EDIT_LISTS and stream.codec_context.name == "hevc":
        tags = ["hvc1", None]  # the one that Apple's players take
    options = _STRICTNESS if format_name in _WITH_EDIT_LISTS else {}
    for tag in tags:
        try:
            with av.open(io.BytesIO(), "w", format=format_name, container_options=options) as target:
                _add_video(target, stream, format_name, tag)
                target.start_encoding()  # writes the header, where a muxer refuses a codec
        except (av.error.FFmpegError, ValueError):
            continue
        return tag
    raise CannotHoldError(f"hold {stream.codec_context.codec.canonical_name} video as it is")


def _tag(stream: av.video.stream.VideoStream) -> str | None:
    try:
        return stream.codec_context.codec_tag
    except UnicodeDecodeError:
        return None


class OutputClock:
    """Moves packets to a clock that begins with the first picture and ends with the film's duration.

    Matroska rounds times and lengths to milliseconds, so that the last packet may end a little before or
    after the film does: on a finer clock its length is exact.
    """

    def __init__(self, film: Film, plan: CopyPlan) -> None:
        """Begins the clock of a copy."""
        self._start_pts, self._plan = film.start_pts, plan
        self._refine = max(1, round(film.time_base * 90_000)) if film.time_base > Fraction(1, 2_000) else 1
        self.time_base = film.time_base / self._refine
        self._end_pts = round(film.duration_s / self.time_base)

    def move(self, packet: av.Packet, index: int) -> None:
        """Moves a packet; `index` is its place among those of the video."""
        is_last = packet.pts == self._plan.last_pts
        dts = packet.dts if self._plan.dts is None else int(self._plan.dts[index])
        packet.pts = (packet.pts - self._start_pts) * self._refine
        packet.dts = (dts - self._start_pts) * self._refine
        packet.duration = self._end_pts - packet.pts if is_last else (packet.duration or 0) * self._refine
        packet.time_base = self.time_base

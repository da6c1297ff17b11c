"""Opening media files: naming what is wrong with one, choosing its video stream, reading its packets."""

import pathlib
from collections.abc import Iterator

import av

from dualdub_jax.errors import UserError

# Text files open as "tty" (ANSI art): they are not films, whatever libavformat thinks.
_NOT_MEDIA = {"tty", "bin", "xbin", "adf", "idf"}
# Lists of other files, which would be read with them, and kinds that are no files.
_LISTS = {"hls", "dash", "concat", "imf", "sdp", "rtsp", "rtp", "lavfi"}
_FORMATS = ",".join(sorted(av.formats_available - _LISTS))
_SEEK_MARGIN = 10_000_000  # microseconds
_EXAMPLES = {
    "video": "a video file such as MP4 or MKV",
    "sound": "a sound file such as WAV or FLAC, or a video with sound",
}
_MAX_EMPTY_VOP = (
    19  # bytes: MPEG-4 pictures without content keep the last one on screen, or stand for a B-frame
)
# First boxes of an MP4 or QuickTime file.
_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}


def open_media(path: pathlib.Path | str, kind: str) -> av.container.InputContainer:
    """Opens a media file.

    Args:
        path: the file.
        kind: "video" or "sound", for the messages.

    Raises:
        UserError: the file is missing, a folder, unreadable, empty, or not a media file.
    """
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give a {kind} file")
        if path.exists() and not path.is_file():  # reading could wait for ever, and cannot be repeated
            raise UserError(f"{path}: is a pipe or a device; save it as a {kind} file first")
        with path.open("rb") as file:
            head = file.read(12)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path of a {kind} file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); give a readable {kind} file") from None
    if not head:
        raise UserError(f"{path}: the file is empty; give a {kind} file with something in it")
    try:
        # "file:" keeps a colon in the name from being read as a protocol, the whitelist the network out.
        container = av.open(
            f"file:{path}",
            options={"protocol_whitelist": "file,crypto,data", "format_whitelist": _FORMATS},
            metadata_errors="backslashreplace",  # titles of old files are in any encoding
        )
    except (av.error.FFmpegError, OSError, ValueError):
        if head[4:8] in _MP4_BOXES and not _has_mp4_index(path):
            raise UserError(
                f"{path}: the MP4 file has no index (no moov box): it was cut off while being written or "
                "copied; copy it again or repair it first"
            ) from None
        raise UserError(f"{path}: not a media file; give {_EXAMPLES[kind]}") from None
    if container.format.name in _NOT_MEDIA:
        container.close()
        raise UserError(f"{path}: not a media file but text; give {_EXAMPLES[kind]}")
    return container


def _has_mp4_index(path: pathlib.Path) -> bool:
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if header[4:8] == b"moov":
                return position + length <= size
            if length == 1 and len(header) == 16:
                length = int.from_bytes(header[8:16], "big")
            if length < 8:
                return False
            position += length
    return False


def is_mp4(container: av.container.InputContainer) -> bool:
    """Whether it is an MP4 or QuickTime file."""
    return "mp4" in container.format.name


def is_matroska(container: av.container.InputContainer) -> bool:
    """Whether it is a Matroska or WebM file."""
    return "matroska" in container.format.name


def find_video_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream | None:
    """The container's main video stream; None: there is none. Cover art of music is not video."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.still_image)
    ]
    if not streams:
        return None
    best = container.streams.best("video")
    return next((s for s in streams if best is not None and s.index == best.index), streams[0])


def video_stream(container: av.container.InputContainer, path: pathlib.Path) -> av.video.stream.VideoStream:
    """The container's main video stream, see `find_video_stream`.

    Raises:
        UserError: there is none, or its codec is unknown.
    """
    stream = find_video_stream(container)
    if stream is None:
        has = "only sound" if container.streams.audio else "no sound either"
        raise UserError(f"{path}: no video stream ({has}); give a file that has one")
    if stream.codec_context is None:
        raise UserError(f"{path}: the video's codec is not known; convert it to H.264 first")
    return stream


def rewind(container: av.container.InputContainer, path: pathlib.Path) -> None:
    """Goes back to the first packet.

    Raises:
        UserError: the format cannot seek.
    """
    # Negative times occur, and seeking by them is inexact: aim well before the first one.
    start = container.start_time - _SEEK_MARGIN if (container.start_time or 0) < 0 else 0
    # By time; at any frame, where none is marked as a key frame; by bytes, where there are no times.
    for options in ({}, {"any_frame": True}, {"unsupported_byte_offset": True}):
        try:
            container.seek(0 if "unsupported_byte_offset" in options else start, **options)
            return
        except OSError:  # FFmpeg's errors of seeking are OSErrors
            continue
    raise UserError(
        f"{path}: {container.format.name} cannot be rewound; put the video into an MKV or MP4 file"
    )


def read_packets(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """Packets until the end of the file, or until it cannot be read further; no flushing packet."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        if packet.size:
            yield packet


def holds_picture(packet: av.Packet, codec: str) -> bool:
    """Whether a packet has a picture that is meant to be shown.

    Pictures outside of an edit list are not, nor those that a codec decodes only to predict others from.
    """
    if packet.is_discard:
        return False
    if codec == "vp8":
        return bool(bytes(packet)[0] & 0x10)  # show_frame
    return not (codec == "mpeg4" and packet.size <= _MAX_EMPTY_VOP)

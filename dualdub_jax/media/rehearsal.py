"""Whether a container can hold a film's video as it is: its beginning is written in memory and read again.

No table of codecs and containers is right for long. A copy is refused if it shows the pictures otherwise
than the film: none, others, of another shape, turned or without their transparency. What else it does not
keep is listed for the user.
"""

import dataclasses
import io
import pathlib
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
import numpy as np

from dualdub_jax.errors import UserError
from dualdub_jax.media.clock import FilmClock
from dualdub_jax.media.container import find_video_stream, open_media, video_stream
from dualdub_jax.media.copy_plan import CopyPlan
from dualdub_jax.media.film import Film
from dualdub_jax.media.film_writer import CONTAINERS, CannotHoldError, write_film
from dualdub_jax.media.inventory import Inventory, pixel_aspect, stream_tag
from dualdub_jax.media.language import stored_language
from dualdub_jax.media.new_tracks import AudioTrack, NewTracks
from dualdub_jax.media.orientation import Orientation, orientation_of

_NUM_PICTURES = 12
_MARGIN_PACKETS = 24  # to copy beyond them, for codecs that hold pictures back
_RATE_HZ = 16_000
_ROUNDING_S = Fraction(1, 1000)  # Matroska counts milliseconds


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What a check of a copy has found.

    Attributes:
        plan: the packets to copy.
        losses: what the file will not keep of the film, one sentence each.
    """

    plan: CopyPlan
    losses: list[str]


def check_container(film: Film, out: pathlib.Path, num_kept: int = 0) -> Rehearsal:
    """Checks that `out` can hold the film's video as it is; nothing is written.

    Args:
        film: the film.
        out: the name that chooses the container.
        num_kept: streams of the film's own sound that the new tracks will contain.

    Raises:
        UserError: an unknown suffix, a video that the container cannot hold as it is, or a film whose packets
            have no presentation times.
    """
    if out.suffix.lower() not in CONTAINERS:
        raise UserError(f"{out}: unknown kind of file; end the name in one of {', '.join(CONTAINERS)}")
    if not film.has_timestamps:
        raise UserError(
            f"{film.path}: its packets have no times, so they cannot be copied; put the video into an "
            "MKV or MP4 file first"
        )
    plan = _make_plan(film)
    try:
        return Rehearsal(plan, _rehearse(film, plan, out, num_kept))
    except CannotHoldError as error:
        reason = error
    own = film.path.suffix.lower()
    suffixes = [suffix for suffix in (own, ".mkv", ".mov") if suffix in CONTAINERS]
    others = [out.with_suffix(suffix) for suffix in suffixes if suffix != out.suffix.lower()]
    others = [other for other in others if other.absolute() != film.path.absolute()]
    fitting = next((other for other in others if _holds(film, plan, other)), None)
    mend = f"try -o {fitting.name}" if fitting else "convert the video to H.264 first"
    raise UserError(f"{out}: {out.suffix[1:].upper()} cannot {reason} in {film.path}; {mend}")


def _make_plan(film: Film) -> CopyPlan:
    with open_media(film.path, "video") as source:
        plan = CopyPlan.make(source, video_stream(source, film.path), film)
    if plan.num_hidden_within:
        raise UserError(
            f"{film.path}: its edit list hides {plan.num_hidden_within} pictures between others, and a copy "
            "would show them; export the film without edits first"
        )
    return plan


def list_losses(
    film: Film, file: BinaryIO, out: pathlib.Path, new: NewTracks, num_kept: int = 0
) -> list[str]:
    """What a written copy does not keep of the film and its new tracks, one sentence each.

    Args:
        film: the film.
        file: the copy.
        out: its name.
        new: its tracks, which replace the film's sound on purpose.
        num_kept: streams of the film's own sound that they contain.
    """
    with open_media(film.path, "video") as source:
        before = Inventory.take(source, video_stream(source, film.path))
    return _list_losses(film, before, file, out, new, num_kept)


def _list_losses(
    film: Film, before: Inventory, file: BinaryIO, out: pathlib.Path, new: NewTracks, num_kept: int
) -> list[str]:
    file.seek(0)
    with av.open(file, "r", metadata_errors="backslashreplace") as copy:
        # The new tracks follow the video.
        tracks = [*new.audio, *([new.subtitles] if new.subtitles else [])]
        added = list(copy.streams)[1 : 1 + len(tracks)]
        losses = before.losses(Inventory.take(copy, find_video_stream(copy), added))
        format_name = CONTAINERS[out.suffix.lower()].format
        languages = {
            track.language
            for track, stream in zip(tracks, added, strict=True)
            if track.language
            and stored_language(track.language, format_name) != (stream_tag(stream, "language") or "und")
        }
    sentences = [f"{out}: {out.suffix[1:].upper()} does not keep {loss} of {film.path}" for loss in losses]
    sentences += [
        f"{out}: {out.suffix[1:].upper()} does not keep the language {name} of the new tracks"
        for name in sorted(languages)
    ]
    if num_lost := before.num_sounds - num_kept:
        count = f"{num_lost} stream{'s' * (num_lost > 1)}"
        sentences.append(f"{out}: the soundtrack replaces the sound of {film.path} ({count})")
    return sentences


def _holds(film: Film, plan: CopyPlan, out: pathlib.Path) -> bool:
    try:
        _rehearse(film, plan, out)
    except CannotHoldError:
        return False
    return True


def _rehearse(film: Film, plan: CopyPlan, out: pathlib.Path, num_kept: int = 0) -> list[str]:
    """Writes the beginning of the film in memory; returns what it does not keep.

    Raises:
        CannotHoldError: the pictures are not shown as in the film.
    """
    file = io.BytesIO()
    num_packets = plan.first_shown - plan.first + _NUM_PICTURES + _MARGIN_PACKETS
    new = NewTracks([AudioTrack(np.zeros(_RATE_HZ // 2, np.float32), _RATE_HZ)])
    try:
        write_film(film, plan, new, out.suffix.lower(), file, num_packets)
    except (av.error.FFmpegError, ValueError):
        raise CannotHoldError(f"hold {film.codec} video as it is") from None
    with open_media(film.path, "video") as source:
        stream = video_stream(source, film.path)
        inventory = Inventory.take(source, stream)
        before = list(_pictures(source, stream, film.start_pts * film.time_base))
        aspect = pixel_aspect(stream)
    file.seek(0)
    with av.open(file, "r") as copy:
        stream = find_video_stream(copy)
        after = [] if stream is None else list(_pictures(copy, stream, Fraction(0)))
        aspect_after = aspect if stream is None else pixel_aspect(stream)
    _compare(film, before, after)
    if abs(aspect_after - aspect) * film.size[0] > aspect:
        raise CannotHoldError(f"keep the shape of the pixels ({aspect.numerator}:{aspect.denominator})")
    return _list_losses(film, inventory, file, out, new, num_kept)


class _Picture(NamedTuple):
    """A decoded picture: when it is shown, how it is turned, whether it is transparent, and a digest."""

    time_s: Fraction
    orientation: Orientation
    has_alpha: bool
    content: tuple


def _pictures(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, start_s: Fraction
) -> Iterator[_Picture]:
    """The first undamaged pictures from `start_s` on, times counted from there."""
    stream.codec_context.thread_count = 1
    is_layered = stream_tag(stream, "alpha_mode") == "1"  # the transparency is beside the packets
    has_layer = False
    num_left = _NUM_PICTURES
    for packet in FilmClock(container, stream).packets():
        has_layer |= is_layered and packet.has_sidedata("matroska_block_additional")
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:
            continue
        for picture in pictures:
            if picture.pts is None or picture.is_corrupt:
                continue
            time_s = picture.pts * stream.time_base - start_s
            if time_s < 0:
                continue
            content = (picture.format.name, picture.width, picture.height, _digest(picture))
            yield _Picture(time_s, orientation_of(picture), has_layer, content)
            num_left -= 1
            if not num_left:
                return


def _digest(picture: av.VideoFrame) -> int:
    try:
        pixels = picture.to_ndarray()
    except ValueError:  # a rare format
        pixels = picture.reformat(format="rgba64le").to_ndarray()
    return zlib.crc32(np.ascontiguousarray(pixels))


def _compare(film: Film, before: list[_Picture], after: list[_Picture]) -> None:
    if any(picture.has_alpha for picture in before) and not any(picture.has_alpha for picture in after):
        raise CannotHoldError("keep the transparency of the video")
    if not after:
        raise CannotHoldError(f"hold {film.codec} video as it is")
    for first, second in zip(before, after, strict=False):
        if abs(first.time_s - second.time_s) > max(film.time_base, _ROUNDING_S):
            raise CannotHoldError("keep the times of the pictures")
        if first.orientation != second.orientation:
            raise CannotHoldError("keep how pictures are turned or mirrored")
        if first.content != second.content:
            raise CannotHoldError(f"hold {film.codec} video as it is")

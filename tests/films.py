"""Little films for the tests, made with PyAV: every odd thing that a real film can be.

Each frame of a film carries its own number as a brightness (`frame_level`), so that a test can tell
which frame it was shown.
"""

import dataclasses
import pathlib
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from dualdub_jax.media.film import Film, FilmReader
from dualdub_jax.media.frames import FrameSpec

SAMPLE_RATE_HZ = 16_000
GRID_FRAMES = FrameSpec(Fraction(25), 64)


def frame_level(index: int) -> int:
    """Brightness of frame `index`: 40 levels 5 apart, enough to survive the encoder.

    They rise and fall by 10 a frame, for a jump would be a change of shot.
    """
    step = index % 40
    return 20 + 10 * step if step < 20 else 215 - 10 * (step - 20)


def make_film(
    path: pathlib.Path | str,
    *,
    num_frames: int = 50,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (64, 48),
    times: Sequence[Fraction] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    format: str | None = None,
    has_audio: bool = False,
    start: Fraction = Fraction(0),
    rotation: int = 0,
    num_b_frames: int = 0,
    options: dict[str, str] | None = None,
    noise: bool = False,
    left: int | None = None,
    pixel_aspect: Fraction = Fraction(1),
    is_mirrored: bool = False,
    last_stay: Fraction | None = None,
    pix_fmt: str | None = None,
    codec_options: dict[str, str] | None = None,
    codec_tag: str | None = None,
    title: str | None = None,
) -> pathlib.Path:
    """Encodes a film.

    Args:
        path: the file; its suffix chooses the container unless `format` is given.
        num_frames: frames in all.
        rate: frames per second, also of a film with `times` (then only a hint in the header).
        size: width and height in pixels; any, odd ones too (the pixel format follows).
        times: presentation time of every frame, seconds, for a film of variable rate.
        time_base: of the timestamps; the inverse of `rate` unless given.
        has_audio: adds a 440 Hz tone, 44.1 kHz stereo AAC.
        start: added to all timestamps, seconds.
        rotation: degrees that a player turns the picture by, counter-clockwise.
        num_b_frames: B-frames between references, so that packets are not in the order of presentation.
        options: more options of the muxer.
        noise: adds noise to the picture, so that packets have some size.
        pixel_aspect: width of a pixel over its height, as broadcasts and DVDs have it.
        left: brightness of the left quarter of all frames, to see how a picture was turned.
        is_mirrored: a player exchanges left and right after the rotation.
        last_stay: how long the last picture stays, seconds, if the container can say so.
        pix_fmt: pixel format, if not the usual one.
        codec_options: more options of the encoder.
        codec_tag: of the video in MP4 and QuickTime files.
        title: of the film.
    """
    path = pathlib.Path(path)
    rate = Fraction(rate)
    time_base = time_base or 1 / rate
    odd = size[0] % 2 or size[1] % 2
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        if title is not None:
            container.metadata["title"] = title
        video = container.add_stream(codec, rate=rate)
        video.width, video.height = size
        video.pix_fmt = pix_fmt or ("rgb24" if codec == "png" else "yuv444p" if odd else "yuv420p")
        video.codec_context.time_base = time_base
        video.time_base = time_base
        if codec == "libx264":
            video.options = {"bf": str(num_b_frames), "crf": "12", "preset": "ultrafast", "g": "12"}
        video.options = dict(video.options) | (codec_options or {})
        if codec_tag:
            video.codec_context.codec_tag = codec_tag
        if pixel_aspect != 1:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation or is_mirrored:
            video.set_display_rotation(rotation, hflip=is_mirrored)
        audio = None
        if has_audio:
            audio = container.add_stream("aac", rate=44_100, layout="stereo")
        for index in range(num_frames):
            picture = np.full((size[1], size[0], 3), frame_level(index), np.uint8)
            if noise:
                picture = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
            if left is not None:
                picture[:, : size[0] // 4] = left
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            seconds = (times[index] if times is not None else index / rate) + start
            frame.pts = round(seconds / time_base)
            frame.time_base = time_base
            last_pts = frame.pts
            container.mux(_with_stay(video.encode(frame), last_pts, None))
        container.mux(_with_stay(video.encode(None), last_pts, last_stay))
        if audio is not None:
            num_samples = int(44_100 * num_frames / rate)
            tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / 44_100)
            for first in range(0, num_samples - 1023, 1024):
                block = np.stack([tone[first : first + 1024]] * 2).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                frame.sample_rate = 44_100
                frame.pts = first + round(start * 44_100)
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def _with_stay(packets: list[av.Packet], last_pts: int, stay: Fraction | None) -> list[av.Packet]:
    for packet in packets:
        if stay is not None and packet.pts == last_pts:
            packet.duration = round(stay / packet.time_base)
    return packets


def trim(path: pathlib.Path, target: pathlib.Path, start: Fraction, shown: Fraction) -> pathlib.Path:
    """Copies an MP4 film made by `make_film` with its edit list cut: `shown` seconds from `start` on."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        unit = container.streams.video[0].time_base
    header, edit = data.index(b"mvhd") + 4, data.index(b"elst") + 12
    (timescale,) = struct.unpack_from(">I", data, header + 12)
    _, media_time = struct.unpack_from(">Ii", data, edit)
    struct.pack_into(">Ii", data, edit, round(shown * timescale), media_time + round(start / unit))
    target.write_bytes(bytes(data))
    return target


def make_rich_film(path: pathlib.Path) -> pathlib.Path:
    """A film with a title, chapters, languages and subtitles; an MKV has a font, an MP4 a cover."""
    is_mkv = path.suffix == ".mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.metadata.update(language="ger", title="Angle 1")
        captions = container.add_mux_stream("subrip" if is_mkv else "mov_text")
        captions.time_base = Fraction(1, 1000)
        captions.metadata["language"] = "eng"
        cover = None
        if is_mkv:
            container.add_attachment("letters.ttf", "font/ttf", b"a font")
        else:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width = cover.height = 32
            cover.pix_fmt = "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
        container.metadata.update(title="The film", artist="Somebody", creation_time="2020-01-02T03:04:05Z")
        container.set_chapters(
            [
                {"id": i, "start": 10 * i, "end": 10 * i + 10, "time_base": Fraction(1, 25)}
                | {"metadata": {"title": f"Part {i}"}}
                for i in range(2)
            ]
        )
        if cover is not None:
            shot = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(cover.encode(shot.reformat(format="yuvj420p")))
            container.mux(cover.encode(None))
        for index in range(20):
            picture = np.full((48, 64, 3), frame_level(index), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if index == 5:
                text = b"Hello there"
                caption = av.Packet(text if is_mkv else len(text).to_bytes(2, "big") + text)
                caption.stream, caption.time_base = captions, Fraction(1, 1000)
                caption.pts, caption.dts, caption.duration = 200, 200, 300
                container.mux(caption)
        container.mux(video.encode(None))
    return path


def make_shots(path: pathlib.Path, *shots: tuple[tuple[int, int, int], int]) -> pathlib.Path:
    """A film of shots at 25 frames a second: noise around a colour, RGB, and the number of frames of each."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for colour, num_frames in shots:
            for _ in range(num_frames):
                picture = np.clip(rng.normal(colour, 8, (48, 64, 3)), 0, 255).astype(np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


def make_sound_only(path: pathlib.Path | str, *, seconds: float = 1.0, cover: bool = False) -> pathlib.Path:
    """A file with sound and no video stream; with `cover`, an attached picture, which is none either."""
    path = pathlib.Path(path)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac" if path.suffix in (".mp4", ".m4a") else "flac", rate=16_000)
        audio.layout = "mono"
        picture = None
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        block = np.zeros((1, int(seconds * 16_000)), np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = 16_000
        if audio.codec_context.name == "flac":
            frame = av.AudioFrame.from_ndarray((block * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate = 16_000
        frame.pts = 0
        if picture is not None:
            shot = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(shot.reformat(format="yuvj420p")))
            container.mux(picture.encode(None))
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def truncate(path: pathlib.Path, target: pathlib.Path, num_bytes: int) -> pathlib.Path:
    """Copies all but the last `num_bytes` bytes."""
    target.write_bytes(path.read_bytes()[:-num_bytes])
    return target


def damage_last_packets(path: pathlib.Path, target: pathlib.Path, num_packets: int) -> pathlib.Path:
    """Copies the film with the last `num_packets` video packets overwritten, their lengths untouched."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    rng = np.random.default_rng(1)
    for position, size in packets[-num_packets:]:
        data[position : position + size] = rng.integers(0, 256, size, np.uint8).tobytes()
    target.write_bytes(bytes(data))
    return target


def video_packets(path: pathlib.Path | str) -> list[bytes]:
    """The bytes of every packet of the (first) video stream."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]


def decode_audio(path: pathlib.Path | str) -> tuple[np.ndarray, int, float]:
    """The first audio stream as `float32[S]` (mono), its rate, and the time of its first sample, seconds."""
    blocks, rate, first = [], 0, None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            first = frame.time if first is None else first
            rate = frame.sample_rate
            blocks.append(frame.to_ndarray().astype(np.float32).reshape(len(frame.layout.channels), -1))
    return np.concatenate(blocks, axis=1).mean(0), rate, float(first or 0.0)


@dataclasses.dataclass(frozen=True)
class ReadFilm:
    """All that a `FilmReader` gives: metadata, frames uint8[T, size, size, 3], thumbnails."""

    film: Film
    frames: np.ndarray
    strip: np.ndarray

    @property
    def num_samples(self) -> int:
        return self.film.num_samples(SAMPLE_RATE_HZ)


def read_film(path: pathlib.Path | str, spec: FrameSpec = GRID_FRAMES) -> ReadFilm:
    """Reads a whole film."""
    with FilmReader(path) as reader:
        num_frames = reader.film.num_frames(spec.frame_rate, SAMPLE_RATE_HZ)
        frames = np.concatenate(list(reader.blocks(spec, num_frames)))
        film, strip = reader.finish()
    return ReadFilm(film, frames, strip)

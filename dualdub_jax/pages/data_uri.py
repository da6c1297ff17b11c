"""Media as data URIs, so that a page with its pictures and sounds is one file."""

import base64
import io
import pathlib
from fractions import Fraction

import av
import numpy as np
import soundfile

from dualdub_jax.pages.track_pictures import Samples

_BLOCK_SAMPLES = 1 << 16
# What browsers play.
_PLAYABLE = {".mp4": {"h264", "av1"}, ".m4v": {"h264", "av1"}, ".webm": {"vp8", "vp9", "av1"}}


def is_playable(path: pathlib.Path, codec: str) -> bool:
    """Whether browsers play such a film."""
    return codec in _PLAYABLE.get(path.suffix.lower(), ())


def data_uri(kind: str, data: bytes) -> str:
    """A data URI of media type `kind`, base64-encoded."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def film_uri(path: pathlib.Path, data: bytes) -> str:
    """A data URI of a film's content; its media type follows from the suffix of `path`."""
    return data_uri("video/webm" if path.suffix.lower() == ".webm" else "video/mp4", data)


def png_uri(picture: np.ndarray) -> str:
    """uint8[height, width, 3], RGB, without loss."""
    return data_uri("image/png", _encode_picture(picture, "png", "rgb24"))


def jpeg_uri(picture: np.ndarray) -> str:
    """uint8[height, width, 3], RGB, with loss, for photographs."""
    return data_uri("image/jpeg", _encode_picture(picture, "mjpeg", "yuvj420p"))


def webp_uri(picture: np.ndarray) -> str:
    """uint8[height, width, 3], RGB, with loss: a third of the PNG's size for spectrograms."""
    return data_uri("image/webp", _encode_picture(picture, "libwebp", "yuv420p"))


def flac_bytes(track: Samples, rate_hz: int, max_bytes: int | None = None) -> bytes | None:
    """A FLAC file, 16 bits, without loss.

    Args:
        track: float32[S], or [S, 2] in stereo, in [-1, 1], read in blocks.
        rate_hz: of `track`.
        max_bytes: None: no limit.

    Returns:
        The file's content; None if it is larger than `max_bytes`.
    """
    file = io.BytesIO()
    shape = track[:0].shape
    num_channels = 1 if len(shape) == 1 else shape[1]
    with soundfile.SoundFile(file, "w", rate_hz, num_channels, "PCM_16", format="FLAC") as encoder:
        for first in range(0, len(track), _BLOCK_SAMPLES):
            encoder.write(track[first : first + _BLOCK_SAMPLES])
            if max_bytes is not None and file.tell() > max_bytes:
                return None
    return file.getvalue() if max_bytes is None or file.tell() <= max_bytes else None


def opus_bytes(track: np.ndarray, rate_hz: int, bit_rate: int) -> bytes:
    """An Ogg Opus file of float32[S] in [-1, 1]: a quarter of the FLAC's size, for listening.

    Args:
        track: float32[S].
        rate_hz: one that Opus knows: 8000, 12000, 16000, 24000 or 48000.
        bit_rate: bits a second.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        options = {"compression_level": "6"}  # four times as fast as the usual 10, 5% larger
        stream = container.add_stream(
            "libopus", rate=rate_hz, layout="mono", bit_rate=bit_rate, options=options
        )
        pcm = np.round(np.clip(track, -1.0, 1.0) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def _encode_picture(picture: np.ndarray, codec: str, pixel_format: str) -> bytes:
    """Encodes uint8[height, width, 3] as one image file."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt = pixel_format
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])

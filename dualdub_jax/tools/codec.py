"""`dualdub codec`: what a codec does to a sound, as tokens in a file and as sound.

A sound of any length is read, encoded, decoded and written in blocks; only its tokens are held.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
import soundfile

from dualdub_jax.codecs.base import Codec
from dualdub_jax.codecs.windowed_encoding import encode_windows
from dualdub_jax.dubbing.progress import Advance, Progress, make_progress
from dualdub_jax.dubbing.track_decoder import BufferedTrackDecoder, decode_track
from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import Outputs, check_outputs
from dualdub_jax.media.sound_file import read_blocks, read_mono, stated_seconds
from dualdub_jax.tools.named_codec import NamedCodec, bits_per_frame, load_codec
from dualdub_jax.tools.token_file import TokenFile, check_tokens, read_tokens, write_tokens

_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
_MOST_WAV_SAMPLES = 2**31 - 2**16  # of 16 bits, in 4 GB
_SPEAKER_S = 10  # of the sound itself, for a decoder that is conditioned on a speaker
_ONE_CALL_S = 10  # longer sounds are decoded by the codec's stream


def run(args: argparse.Namespace) -> int:
    """Runs `dualdub codec encode`, `decode` or `roundtrip`; returns the exit status."""
    check_outputs([args.out], [path for path in (args.file, args.voice) if path is not None])
    progress = make_progress()
    if args.command == "codec encode":
        _, content = _encode(args, progress)
        write_tokens(args.out, content)
    else:
        if args.out.suffix.lower() not in _FORMATS:
            raise UserError(f"{args.out}: expected a name that ends with {' or '.join(_FORMATS)}")
        read = _read if args.command == "codec decode" else _encode
        _decode(*read(args, progress), args.out, progress)
    print(f"wrote {args.out}")
    return 0


def _encode(args: argparse.Namespace, progress: Progress) -> tuple[NamedCodec, TokenFile]:
    named = load_codec(args.codec, args.codebooks, args.allow_code)
    print(named.summary)
    with progress.step("encode") as advance:
        content = encode_sound(named, args.file, args.voice, advance)
    _print_pace(content, progress.seconds["encode"])
    num_bits = len(content.tokens) * bits_per_frame(named.codec)
    print(f"{content.tokens.size} tokens, {num_bits / 8000:.2f} kB")
    return named, content


def _read(args: argparse.Namespace, progress: Progress) -> tuple[NamedCodec, TokenFile]:
    content = read_tokens(args.file)
    num_codebooks = content.tokens.shape[1]
    named = load_codec(args.codec or content.codec, num_codebooks, args.allow_code, file=args.file)
    check_tokens(args.file, content, named)
    if args.voice is not None:
        content = dataclasses.replace(content, speaker=_speaker(named.codec, args.voice))
    print(named.summary)
    return named, content


def _decode(named: NamedCodec, content: TokenFile, out: pathlib.Path, progress: Progress) -> None:
    with progress.step("decode") as advance:
        num_clipped = decode_sound(named.codec, content, out, advance)
    _print_pace(content, progress.seconds["decode"])
    if num_clipped:
        print(f"warning: {num_clipped} samples beyond full scale were clipped", file=sys.stderr)


def _print_pace(content: TokenFile, elapsed_s: float) -> None:
    seconds = content.num_samples / content.sample_rate_hz
    print(f"{seconds:.3f} s of sound at {seconds / elapsed_s:.2f} x realtime, compilation included")


def encode_sound(
    named: NamedCodec, path: pathlib.Path, voice: pathlib.Path | None, advance: Advance
) -> TokenFile:
    """Encodes the sound of any media file.

    Args:
        named: the codec.
        path: of the sound; channels are averaged, and other sample rates resampled.
        voice: recording of the speaker on whom the codec's decoder is conditioned; None: the sound itself.
        advance: of the progress.

    Raises:
        UserError: as `read_blocks`; a sound without a sample; a voice for a codec without that condition.
    """
    spec, codec = named.codec.spec, named.codec
    total_s = stated_seconds(path)
    num_samples = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal num_samples
        for block in read_blocks(path, spec.sample_rate_hz):
            num_samples += len(block)
            yield block
            advance(min(1.0, num_samples / spec.sample_rate_hz / total_s) if total_s else 0.0)

    parts = list(encode_windows(codec, counted()))
    if not num_samples:
        raise UserError(f"{path}: its sound has no samples; give a file with sound in it")
    speaker = None
    if voice is not None or "speaker" in spec.decode_conditions:
        speaker = _speaker(codec, path if voice is None else voice)
    tokens = np.concatenate(parts)
    return TokenFile(tokens, named.name, named.fingerprint, spec.sample_rate_hz, num_samples, speaker)


def _speaker(codec: Codec, path: pathlib.Path) -> np.ndarray:
    """float32[D] of a recording."""
    if "speaker" not in codec.spec.decode_conditions:
        raise UserError("--voice: this codec's decoder has no speaker condition; leave the option out")
    samples = read_mono(path, codec.spec.sample_rate_hz, _SPEAKER_S)
    hop = codec.spec.samples_per_frame
    samples = np.pad(samples, (0, -len(samples) % hop))
    return np.asarray(codec.encode_speaker(samples[None]))[0]


def decode_sound(codec: Codec, content: TokenFile, out: pathlib.Path, advance: Advance) -> int:
    """Decodes tokens to a 16-bit sound file of exactly `content.num_samples`, whole or not at all.

    Returns:
        Number of samples that exceeded full scale and are clipped.

    Raises:
        UserError: values that are not finite, or a file that cannot be written.
    """
    spec, conditions = codec.spec, None
    if content.speaker is not None:
        conditions = {"speaker": content.speaker[None]}
    decoder = BufferedTrackDecoder(
        decode=lambda tokens: np.asarray(codec.decode(tokens[None], None, conditions))[0],
        open_stream=lambda: codec.stream(conditions, chunk_frames=round(spec.frame_rate)),
        sample_rate_hz=spec.sample_rate_hz,
        max_frames=round(_ONE_CALL_S * spec.frame_rate),
    )
    kind = _FORMATS[out.suffix.lower()]
    if kind == "WAV" and content.num_samples > _MOST_WAV_SAMPLES:
        kind = "RF64"
    num_clipped = num_done = 0
    with Outputs() as outputs:
        with (
            outputs.open(out) as file,
            soundfile.SoundFile(file, "w", spec.sample_rate_hz, 1, "PCM_16", format=kind) as sound,
        ):
            for block in decode_track(decoder, content.tokens, spec.sample_rate_hz, content.num_samples):
                if not np.isfinite(block).all():
                    raise UserError(
                        f"{content.codec}: decodes to values that are not numbers; convert the weights again"
                    )
                num_clipped += int((np.abs(block) > 1.0).sum())
                sound.write(np.clip(np.round(block * 32768.0), -32768, 32767).astype(np.int16))
                num_done += len(block)
                advance(num_done / content.num_samples)
        outputs.commit()
    return num_clipped

"""A record: what a dataset holds of one clip on disk, and how its fields are read.

Every builder writes `RECORD` (one ArrayRecord entry a clip, through TFDS) and every reader goes through the
functions below. A record has no time grid: lengths are in seconds, and each stem's own header has its sample
rate. A reader asks for the rate that it needs. A field that breaks the schema is a `UserError` that names
the dataset and the clip. Source: our choice.
"""

import io
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import soundfile
import soxr
import tensorflow_datasets as tfds

from dualdub_jax.errors import UserError

Record = Mapping[str, Any]

MAX_SAMPLE_RATE_HZ = 48_000

# Field -> meaning. Every builder writes all fields; absent media are empty bytes.
RECORD: dict[str, str] = {
    "id": "str, unique in the dataset",
    "duration_s": "float64, length of the clip, seconds",
    "video": "bytes, encoded video file (H.264 in MP4); empty: none",
    "speech": "bytes, FLAC, mono, any rate up to 48 kHz, as long as the clip; empty: not a target",
    "background": "bytes, FLAC, mono, any rate up to 48 kHz, as long as the clip; empty: not a target",
    "voice": "bytes, FLAC, mono, any rate up to 48 kHz, the same speaker in another utterance; empty: none",
    "script": "str, the words spoken in the clip; empty with has_script: no speech",
    "has_script": "bool, False: the script is unknown",
    "video_features": "bytes, .npy, float16 or float32 [F, D], precomputed video features; empty: none",
    "video_features_rate_hz": "float64, frame rate of video_features; 0 without them",
    "licence": "str, the clip's licence, such as CC-BY-4.0; empty: unknown",
    "events": "str, JSON object of annotations; training reads speech.words and speech.phonemes, "
    "[[text, start_s, end_s], …] over all words of the script, speech.written, the script with case and "
    "punctuation, and acoustics, {rt60_s, noise_dbfs}, which both stems share",
}


def record_features() -> tfds.features.FeaturesDict:
    """The TFDS features of `RECORD`, for a builder's `_info`.

    Media are opaque bytes: the decoding features of TFDS would import TensorFlow, and decoding is ours.
    """
    encoded = tfds.features.Tensor(shape=(), dtype=np.object_)
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "duration_s": np.float64,
            "video": encoded,
            "speech": encoded,
            "background": encoded,
            "voice": encoded,
            "script": tfds.features.Text(),
            "has_script": np.bool_,
            "video_features": encoded,
            "video_features_rate_hz": np.float64,
            "licence": tfds.features.Text(),
            "events": tfds.features.Text(),
        }
    )


def make(**fields: Any) -> dict[str, Any]:
    """A record of the given fields; those that are not given mean "absent".

    Args:
        fields: of `RECORD`; `id` and `duration_s` at least. A `script` sets `has_script`.
    """
    absent: dict[str, Any] = dict.fromkeys(RECORD, b"")
    absent |= {"script": "", "has_script": "script" in fields, "licence": "", "events": "{}"}
    return {**absent, "video_features_rate_hz": 0.0, **fields}


def check(record: Record) -> None:
    """Checks what a builder made, without decoding media.

    Raises:
        ValueError: a field that is missing or unknown: a fault of the builder.
        UserError: a duration that is not positive, or a stem that is not mono FLAC as long as the clip.
    """
    if set(record) != set(RECORD):
        wrong = ", ".join(sorted(set(record) ^ set(RECORD)))
        raise ValueError(f"record {record.get('id')!r}: fields that lack or are unknown: {wrong}")
    clip = text(record["id"])
    length_s = duration_s(record, clip)
    for stream in ("speech", "background"):
        if record[stream]:
            where = f"{clip}: its {stream} stem"
            with _open_flac(record[stream], where) as file:
                _check_length(file.frames, where, length_s, file.samplerate)
    if record["voice"]:
        _open_flac(record["voice"], f"{clip}: its voice").close()
    if record["video_features"]:
        decode_features(record, clip)
    events(record)


def clip_id(source_name: str, record: Record) -> str:
    """The clip's name in ids and errors, "dataset:id", unique in a mixture."""
    return f"{source_name}:{text(record['id'])}"


def text(value: str | bytes) -> str:
    """A text field as `str`; TFDS yields UTF-8 bytes.

    Raises:
        UserError: not UTF-8.
    """
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise UserError(f"a text {value[:40]!r} is not UTF-8; build the dataset again") from None


def script(record: Record) -> str | None:
    """The script; "" is a clip without speech, None an unknown script."""
    return text(record["script"]) if record["has_script"] else None


def written_script(record: Record, clip: str) -> str | None:
    """The script with case and punctuation, as many words as `script`; without such, `script`.

    Raises:
        UserError: annotated, but not as a text of as many words.
    """
    words = script(record)
    speech = events(record, clip).get("speech") or {}
    written = speech.get("written") if isinstance(speech, dict) else None
    if words is None or written is None:
        return words
    if not isinstance(written, str) or len(written.split()) != len(words.split()):
        raise UserError(
            f"{clip}: speech.written of its events is not its script of {len(words.split())} words; build "
            "the dataset again"
        )
    return written


def duration_s(record: Record, clip: str) -> float:
    """The clip's length, seconds.

    Raises:
        UserError: not a positive number.
    """
    value = float(record["duration_s"])
    if not (np.isfinite(value) and value > 0):
        raise UserError(f"{clip}: duration_s is {value}, expected a positive number; build the dataset again")
    return value


def events(record: Record, clip: str = "") -> Mapping[str, Any]:
    """The clip's annotations.

    Args:
        record: whose annotations.
        clip: for errors; "" is the record's id.

    Raises:
        UserError: not a JSON object.
    """
    try:
        annotations = json.loads(text(record["events"]) or "{}")
    except json.JSONDecodeError as error:
        annotations = error
    if not isinstance(annotations, dict):
        raise UserError(
            f"{clip or text(record['id'])}: its events are no JSON object; build the dataset again"
        )
    return annotations


def timings(record: Record, clip: str, kind: str) -> list[tuple[str, float, float]]:
    """The times of words or phonemes: (text, start, end) in seconds, in the order spoken; [] if unknown.

    Args:
        record: whose events.
        clip: for errors.
        kind: "words" or "phonemes".

    Raises:
        UserError: annotated, but not as [[text, start_s, end_s], …].
    """
    speech = events(record, clip).get("speech") or {}
    found = speech.get(kind) or [] if isinstance(speech, dict) else speech
    try:
        rows = [(name, float(start_s), float(end_s)) for name, start_s, end_s in found]
        is_valid = all(isinstance(name, str) and math.isfinite(a) and a <= b for name, a, b in rows)
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise UserError(
            f"{clip}: speech.{kind} of its events are not [[text, start_s, end_s], …] with each start before "
            "its end; build the dataset again"
        )
    return rows


def read_acoustics(record: Record, clip: str) -> np.ndarray:
    """The acoustics that both stems share, float32[2]: RT60 in seconds, noise level in dBFS; NaN: unknown.

    Raises:
        UserError: annotated, but not as a positive RT60 and a finite level.
    """
    annotations = events(record, clip)
    acoustics = annotations.get("acoustics") or annotations.get("room")  # `room` in older datasets
    if not acoustics:
        return np.full(2, np.nan, np.float32)
    try:
        values = np.array([acoustics["rt60_s"], acoustics["noise_dbfs"]], np.float32)
    except (KeyError, TypeError, ValueError):
        values = np.full(2, np.nan, np.float32)
    if not (np.isfinite(values).all() and values[0] > 0):
        raise UserError(
            f"{clip}: acoustics of its events are {acoustics}, expected a positive rt60_s and a finite "
            "noise_dbfs; build the dataset again"
        )
    return values


def check_stem(
    record: Record, clip: str, stream: str, start_s: Fraction = Fraction(0), end_s: Fraction | None = None
) -> None:
    """Decodes what `decode_stem` would for a part of a stem, without resampling; an absent stem is fine.

    Raises:
        UserError: as `decode_stem`.
    """
    if record[stream]:
        end = None if end_s is None else math.ceil(end_s)
        where = f"{clip}: its {stream} stem"
        _decode_around(record[stream], where, duration_s(record, clip), math.floor(start_s), end)


def decode_stem(
    flac: bytes, clip: str, duration_s: float, sample_rate_hz: int, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Decodes a stem, or a part of it, and resamples it when it is stored at another rate.

    Args:
        flac: the encoded stem.
        clip: the clip's name, for errors.
        duration_s: length of the clip, seconds.
        sample_rate_hz: of the result.
        start: first sample of the result, at that rate; what lies seconds before it is not decoded.
        stop: last one, exclusive; None: to the end.

    Returns:
        float32[S], in [-1, 1], of the S = round(duration_s * sample_rate_hz) samples those of the part.

    Raises:
        UserError: not mono audio, or more than one sample longer or shorter than the clip.
    """
    end_s = None if stop is None else -(-stop // sample_rate_hz)
    where = f"{clip}: its stem"
    samples, stored_hz, first_s = _decode_around(flac, where, duration_s, start // sample_rate_hz, end_s)
    samples = _resample(samples, stored_hz, sample_rate_hz)[max(start - first_s * sample_rate_hz, 0) :]
    length = round(duration_s * sample_rate_hz)
    num_samples = max((length if stop is None else min(stop, length)) - start, 0)
    return np.pad(samples[:num_samples], (0, max(num_samples - len(samples), 0)))


def decode_voice(flac: bytes, clip: str, sample_rate_hz: int) -> np.ndarray:
    """Decodes a reference recording: float32[S] at `sample_rate_hz`, in [-1, 1].

    Raises:
        UserError: not mono audio.
    """
    where = f"{clip}: its voice"
    with _open_flac(flac, where) as file:
        return _resample(_read(file, where), file.samplerate, sample_rate_hz)


def decode_features(record: Record, clip: str) -> tuple[np.ndarray, Fraction]:
    """Reads precomputed video features.

    Returns:
        float32[F, D], and their frame rate, Hz: row f describes [f, f + 1) / rate seconds. NTSC rates are
        exact (30000/1001 and not 29.97).

    Raises:
        UserError: no .npy of finite float16 or float32 [F, D] with F and D at least 1, no positive rate, or
            more than one row longer or shorter than the clip.
    """
    where = f"{clip}: its video_features"
    try:
        file = io.BytesIO(record["video_features"])
        features = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{where} are not a .npy array ({error}); build the dataset again") from error
    if features.ndim != 2 or not features.size or features.dtype not in (np.float16, np.float32):
        raise UserError(
            f"{where} are {features.dtype.name}{list(features.shape)}, expected float16 or float32 [F, D]; "
            "build the dataset again"
        )
    if not np.isfinite(features).all():
        raise UserError(f"{where} hold numbers that are not finite; build the dataset again")
    rate_hz = float(record["video_features_rate_hz"])
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise UserError(f"{where} have the rate {rate_hz} Hz, expected above 0; build the dataset again")
    expected = duration_s(record, clip) * rate_hz
    if abs(len(features) - expected) > 1:
        raise UserError(
            f"{where} have {len(features)} rows, expected {expected:.1f} at {rate_hz:.3f} Hz; "
            "build the dataset again"
        )
    return features.astype(np.float32), Fraction(rate_hz).limit_denominator(10_000)


def level_dbfs(samples: np.ndarray) -> float:
    """Root mean square level of float[S], dBFS, at least -200."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    return 20 * float(np.log10(max(rms, 1e-10)))


def sample_rate_hz(flac: bytes, clip: str) -> int:
    """The rate at which a stem or a voice is stored, Hz, from its header."""
    with _open_flac(flac, f"{clip}: its stem") as file:
        return file.samplerate


def encode_flac(samples: np.ndarray, sample_rate_hz: int) -> bytes:
    """Encodes float[S] in [-1, 1] as mono 16-bit FLAC; what lies outside is clipped."""
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def encode_features(features: np.ndarray) -> bytes:
    """Encodes float16 or float32 [F, D] as the .npy of `video_features`."""
    file = io.BytesIO()
    np.save(file, features, allow_pickle=False)
    return file.getvalue()


def _decode_around(
    flac: bytes, where: str, duration_s: float, start_s: int, end_s: int | None
) -> tuple[np.ndarray, int, int]:
    """A part of a stem with a second on both sides, in which the filter of a resampler fades.

    It begins at a whole second, which is a sample at every rate.

    Returns:
        float32[S], its sample rate, Hz, and when it begins, seconds.
    """
    with _open_flac(flac, where) as file:
        rate_hz, length = file.samplerate, file.frames
        _check_length(length, where, duration_s, rate_hz)
        first_s = min(max(start_s - 1, 0), length // rate_hz)
        last = length if end_s is None else min((end_s + 1) * rate_hz, length)
        samples = _read(file, where, first_s * rate_hz, last - first_s * rate_hz)
    if len(samples) < last - first_s * rate_hz:  # cut off, whatever its header says
        _check_length(first_s * rate_hz + len(samples), where, duration_s, rate_hz)
    return samples, rate_hz, first_s


def _read(file: soundfile.SoundFile, where: str, start: int = 0, num_samples: int = -1) -> np.ndarray:
    """float32[S] from a sample on; -1: all that follow."""
    try:
        if start:
            file.seek(start)
        return file.read(num_samples, dtype="float32")
    except soundfile.SoundFileError as error:
        raise UserError(f"{where} cannot be decoded: {_cause(error)}; build the dataset again") from error


def _open_flac(flac: bytes, where: str) -> soundfile.SoundFile:
    try:
        file = soundfile.SoundFile(io.BytesIO(flac))
    except soundfile.SoundFileError as error:
        raise UserError(f"{where} cannot be decoded: {_cause(error)}; build the dataset again") from error
    if file.channels != 1 or file.samplerate > MAX_SAMPLE_RATE_HZ:
        raise UserError(
            f"{where} has {file.channels} channels at {file.samplerate} Hz, expected 1 channel at up to "
            f"{MAX_SAMPLE_RATE_HZ} Hz; build the dataset again"
        )
    return file


def _cause(error: soundfile.SoundFileError) -> str:
    """The text without the name of the file, which is an object in memory."""
    return str(error).rpartition(": ")[2].rstrip(".")


def _check_length(num_samples: int, where: str, duration_s: float, rate_hz: int) -> None:
    expected = round(duration_s * rate_hz)
    if abs(num_samples - expected) > 1:
        raise UserError(
            f"{where} has {num_samples} samples, expected {expected} for {duration_s:.3f} s at "
            f"{rate_hz} Hz; build the dataset again"
        )


def _resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    return samples if from_hz == to_hz else soxr.resample(samples, from_hz, to_hz)

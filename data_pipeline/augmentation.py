"""Augmentation of clips for stages that predict both streams: level, shared room, speech of other clips.

All of it leaves what is seen in step with what sounds: a background stem is never moved to another video.

- **Level**: the background gets louder or quieter relative to the speech.
- **Room**: both stems get the same synthetic reverberation, a tail of decaying noise.
- **Speech**: a clip without speech (a video and its sound) gets script, speech and voice of a clip of another
  dataset, from a random time on. The speaker is not seen, as in narration: pairs of both streams are scarce,
  and each stream alone is not.

An augmented clip has no stored tokens; its stems are encoded anew (`stem.py`). Random decisions are drawn
with the generator of the example, so that they depend on seed and position alone. Source: our choice; the
reverberation follows the augmentation of the codec (`codecs/mel_rvq/training/acoustics.py`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import soxr

from dualdub_jax.config import AugmentationConfig, StageConfig
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.mixture import Source
from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.data_pipeline.replacement import Example, Transform
from dualdub_jax.errors import UserError
from dualdub_jax.types import STREAMS

# Beside the fields of a record: its stems are other ones in each epoch.
AUGMENTED = "is_augmented"

_ROOM = ("acoustics", "room")  # annotations that another room or level makes wrong
_TOKENS = tuple(f"{stream}_tokens" for stream in STREAMS)
_MAX_DRAWS = 16  # of a clip whose speech fits
_TAIL_RATE_HZ = 24_000
_PREDELAY_S = 0.004
_TAIL_DB = -3.0  # energy of the tail relative to the direct sound at the longest reverberation
_LONGEST_RT60_S = 0.8


class _Stem(NamedTuple):
    """Samples float32[S] at a sample rate."""

    samples: np.ndarray
    rate_hz: int


def check_augmentation(stage: StageConfig, where: str) -> None:
    """Checks the augmentation of a stage.

    Args:
        stage: with its mixture.
        where: the stage, for messages.

    Raises:
        UserError: a share outside 0 to 1, a negative level, reverberation times that are not two positive
            numbers in order, or speech of a dataset that the mixture does not have.
    """
    settings, where = stage.augmentation, f"{where}: augmentation"
    for name in ("level_rate", "room_rate", "speech_rate"):
        if not 0 <= getattr(settings, name) <= 1:
            raise UserError(f"{where}.{name}: is {getattr(settings, name)}, expected a share from 0 to 1")
    if settings.level_db < 0:
        raise UserError(f"{where}.level_db: is {settings.level_db}, expected at least 0; set it above")
    times = settings.rt60_s
    if len(times) != 2 or not 0 < times[0] <= times[1]:
        raise UserError(
            f"{where}.rt60_s: is {list(times)}, expected the shortest and the longest time in seconds, such "
            "as [0.1, 0.8]"
        )
    names = [source.name for source in stage.mixture]
    if settings.speech_rate and settings.speech_from not in names:
        raise UserError(
            f"{where}.speech_from: {settings.speech_from!r} is no dataset of the stage's mixture; name one "
            f"of {', '.join(names)}, or set speech_rate to 0"
        )


def is_augmenting(settings: AugmentationConfig) -> bool:
    """Whether any clip is changed."""
    return bool(settings.level_rate or settings.room_rate or settings.speech_rate)


class Augment:
    """Augments the records of a dataset before another transform; a `replacement.Transform`.

    Args:
        transform: of the augmented records.
        settings: of the stage.
        source_name: name of the dataset, for ids and errors.
        speech: the dataset `settings.speech_from`; None: none.
    """

    def __init__(
        self, transform: Transform, settings: AugmentationConfig, source_name: str, speech: Source | None
    ) -> None:
        self._transform, self._settings = transform, settings
        self._source_name, self._speech = source_name, speech

    def begin(self, rng: np.random.Generator) -> Callable[[Record], Example]:
        """See `replacement.Transform`."""
        make = self._transform.begin(rng)
        return lambda record: make(self.record(record, rng))

    def record(self, record: Record, rng: np.random.Generator) -> Record:
        """The augmented record; the same one if nothing is drawn for it.

        Raises:
            UserError: a stem that cannot be decoded.
        """
        settings, made = self._settings, record
        if rng.random() < settings.speech_rate and record["background"] and not record["speech"]:
            made = self._with_speech(record, rng)
        has_both = bool(made["speech"] and made["background"])
        gain_db = 0.0
        if rng.random() < settings.level_rate and has_both:
            gain_db = float(rng.uniform(-settings.level_db, settings.level_db))
        tail = None
        if rng.random() < settings.room_rate and (made["speech"] or made["background"]):
            tail = room_tail(rng, float(rng.uniform(*settings.rt60_s)))
        if gain_db or tail is not None:
            made = self._with_sound(made, gain_db, tail)
        if made is record:
            return record
        return {key: value for key, value in made.items() if key not in _TOKENS} | {AUGMENTED: True}

    def _with_speech(self, record: Record, rng: np.random.Generator) -> Record:
        """The record with the speech of a clip that is not longer; itself if none is found."""
        clip = clip_id(self._source_name, record)
        length_s = record_lib.duration_s(record, clip)
        for _ in range(_MAX_DRAWS):
            index = int(rng.integers(len(self._speech.records)))
            try:
                other = self._speech.records[index]
                other_clip = clip_id(self._speech.name, other)
                spare_s = length_s - record_lib.duration_s(other, other_clip)
                if not other["speech"] or spare_s < 0:
                    continue
                stem = _decode(other, "speech", other_clip)
                events = record_lib.events(other, other_clip)
            except UserError:
                continue  # named and counted where its own dataset is read
            first = round(float(rng.uniform(0, spare_s)) * stem.rate_hz)
            samples = np.zeros(round(length_s * stem.rate_hz), np.float32)
            kept = stem.samples[: len(samples) - first]
            samples[first : first + len(kept)] = kept
            own = {key: value for key, value in record_lib.events(record, clip).items() if key not in _ROOM}
            return {
                **record,
                "id": f"{record_lib.text(record['id'])}+{other_clip}",
                "speech": record_lib.encode_flac(samples, stem.rate_hz),
                "script": other["script"],
                "has_script": other["has_script"],
                "voice": other["voice"],
                "events": json.dumps({**own, "speech": _later(events.get("speech"), first / stem.rate_hz)}),
            }
        return record

    def _with_sound(self, record: Record, gain_db: float, tail: np.ndarray | None) -> Record:
        """The record with other stems, both scaled alike where one would be clipped."""
        clip = clip_id(self._source_name, record)
        stems = {stream: _decode(record, stream, clip) for stream in STREAMS if record[stream]}
        if tail is not None:
            stems = {stream: reverberate(stem, tail) for stream, stem in stems.items()}
        gains_db = {"speech": 0.0, "background": gain_db}
        changed = {
            stream: _Stem(stem.samples * np.float32(10 ** (gains_db[stream] / 20)), stem.rate_hz)
            for stream, stem in stems.items()
        }
        peak = max(1.0, *(float(np.abs(stem.samples).max(initial=0.0)) for stem in changed.values()))
        flacs = {
            stream: record_lib.encode_flac(stem.samples / peak, stem.rate_hz)
            for stream, stem in changed.items()
        }
        events = dict(record_lib.events(record, clip))
        known = record_lib.read_acoustics(record, clip)
        for key in _ROOM:
            events.pop(key, None)
        if tail is None and np.isfinite(known).all():
            noise_dbfs = float(known[1]) + gain_db - 20 * np.log10(peak)
            events["acoustics"] = {"rt60_s": float(known[0]), "noise_dbfs": noise_dbfs}
        return {**record, **flacs, "events": json.dumps(events)}


def room_tail(rng: np.random.Generator, rt60_s: float) -> np.ndarray:
    """The tail of a room's impulse response, without the direct sound: float32[S] at 24 kHz.

    Its energy grows with the reverberation time, to 3 dB below the direct sound at 0.8 s.
    """
    seconds = np.arange(int(rt60_s * _TAIL_RATE_HZ)) / _TAIL_RATE_HZ
    tail = rng.standard_normal(len(seconds)) * np.exp(-np.log(1e3) * seconds / rt60_s)
    tail[seconds < _PREDELAY_S] = 0.0
    energy = 10 ** (_TAIL_DB / 10) * rt60_s / _LONGEST_RT60_S
    return (tail * np.sqrt(energy / max(np.sum(tail**2), 1e-12))).astype(np.float32)


def reverberate(stem: _Stem, tail: np.ndarray) -> _Stem:
    """A stem in a room, cut to its own length.

    Args:
        stem: dry.
        tail: of the room, see `room_tail`.
    """
    import scipy.signal  # takes a second that most decoding processes do not need

    at_rate = soxr.resample(tail, _TAIL_RATE_HZ, stem.rate_hz) * np.float32(_TAIL_RATE_HZ / stem.rate_hz)
    wet = scipy.signal.fftconvolve(stem.samples, at_rate)[: len(stem.samples)]
    return _Stem(stem.samples + wet.astype(np.float32), stem.rate_hz)


def _decode(record: Record, stream: str, clip: str) -> _Stem:
    rate_hz = record_lib.sample_rate_hz(record[stream], clip)
    length_s = record_lib.duration_s(record, clip)
    return _Stem(record_lib.decode_stem(record[stream], clip, length_s, rate_hz), rate_hz)


def _later(speech: Mapping[str, Any] | None, seconds: float) -> Mapping[str, Any] | None:
    """Annotations of speech whose times begin later."""
    if not isinstance(speech, Mapping):
        return speech
    timed: dict[str, Sequence[Any]] = {
        kind: [[name, start_s + seconds, end_s + seconds] for name, start_s, end_s in speech[kind]]
        for kind in ("words", "phonemes")
        if speech.get(kind)
    }
    return {**speech, **timed}

"""Records to crops of one stem, on which its codec and its waveform decoder are trained."""

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.data_pipeline.reference_voice import decode_voice, no_voice
from dualdub_jax.data_pipeline.replacement import PassOverError
from dualdub_jax.errors import UserError
from dualdub_jax.text.phonemes import LABELS_PER_FRAME, PAUSE, SYMBOLS, plain
from dualdub_jax.types import Stream


class CropStem:
    """Record to a random crop of one stem, for the training of that stream's codec.

    A `replacement.Transform`.

    A crop is "waveform", float32[crop_frames * samples_per_frame], "phonemes", int32[crop_frames * 2] (the
    phoneme of each half frame, -1 where unknown), "acoustics" and "example_ids"; of speech also "voice" and
    "voice_mask", the reference recording at the codec's rates.

    A crop is digital silence with probability `silence_rate` (a codec must model silence, but many clips are
    silent in one stream and would outnumber the rest); any other crop contains sound, and silent stems are
    passed over.

    Args:
        source_name: name of the dataset, for ids and errors.
        stream: whose stem.
        spec: of the stream's codec, at its own rates.
        crop_frames: length of a crop, frames of the codec.
        voice_s: length of the reference recording, seconds.
        silence_rate: share of silent crops.
        target: sample rate and number of samples of "target_waveform", the stem from the beginning of the
            crop on at another rate; None: none.
        where: key of the mixture, for errors; None: that of the stream's codec.
    """

    def __init__(
        self,
        source_name: str,
        stream: Stream,
        spec: CodecSpec,
        crop_frames: int,
        voice_s: Fraction,
        silence_rate: float = 0.02,
        target: tuple[int, int] | None = None,
        where: str | None = None,
    ) -> None:
        self._source_name = source_name
        self._stream = stream
        self._target = target
        self._where = where or f"streams.{stream}.codec.training.mixture"
        self._spec = spec
        self._num_samples = crop_frames * spec.samples_per_frame
        self._num_voice_frames = math.ceil(voice_s * spec.frame_rate)
        self._num_labels = crop_frames * LABELS_PER_FRAME
        self._silence_rate = silence_rate

    def begin(self, rng: np.random.Generator) -> Callable[[Record], dict[str, Any]]:
        """See `replacement.Transform`."""
        if rng.random() < self._silence_rate:
            return self._silence
        return functools.partial(self.crop, rng=rng)

    def _silence(self, record: Record) -> dict[str, Any]:
        return {
            "waveform": np.zeros(self._num_samples, np.float32),
            "phonemes": np.full(self._num_labels, PAUSE, np.int32),
            "acoustics": np.full(2, np.nan, np.float32),
            "example_ids": f"{self._source_name}:silence",
            **({} if self._target is None else {"target_waveform": np.zeros(self._target[1], np.float32)}),
            **self._voice(record),
        }

    def crop(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """A random crop with sound in it.

        Raises:
            UserError: a record that breaks the schema or has no such stem.
            PassOverError: the stem is silent.
        """
        clip = clip_id(self._source_name, record)
        samples = self.stem(record)
        if not samples.any():
            raise PassOverError(f"is silent in {self._stream}; take {self._source_name} out of {self._where}")
        start = self._draw_start(samples, rng)
        return {
            "waveform": self._crop(samples, start),
            "phonemes": self._phonemes(record, clip, start, len(samples)),
            "acoustics": record_lib.read_acoustics(record, clip),
            "example_ids": clip,
            **self._target_waveform(record, start),
            **self._voice(record),
        }

    def stem(self, record: Record, sample_rate_hz: int | None = None) -> np.ndarray:
        """The whole stem, float32[S]; a `UserError` if the clip has none. None: the codec's sample rate."""
        clip = clip_id(self._source_name, record)
        if not record[self._stream]:
            raise UserError(
                f"{clip}: has no {self._stream} stem; take {self._source_name} out of {self._where}"
            )
        duration_s = record_lib.duration_s(record, clip)
        rate_hz = sample_rate_hz or self._spec.sample_rate_hz
        return record_lib.decode_stem(record[self._stream], clip, duration_s, rate_hz)

    def _target_waveform(self, record: Record, start: int) -> dict[str, np.ndarray]:
        """The crop at the rate of the target; `start` is in samples of the codec's rate."""
        if self._target is None:
            return {}
        rate_hz, num_samples = self._target
        samples = self.stem(record, rate_hz)
        start = min(round(start * rate_hz / self._spec.sample_rate_hz), len(samples) - 1)
        crop = samples[start : start + num_samples]
        return {"target_waveform": np.pad(crop, (0, num_samples - len(crop)), mode="symmetric")}

    def _voice(self, record: Record) -> dict[str, np.ndarray]:
        if self._stream != "speech":
            return {}
        sizes = self._spec.samples_per_frame, self._num_voice_frames
        if not record["voice"]:
            return no_voice(*sizes)
        clip = clip_id(self._source_name, record)
        return decode_voice(record["voice"], clip, self._spec.sample_rate_hz, *sizes)

    def _draw_start(self, samples: np.ndarray, rng: np.random.Generator) -> int:
        last_start = max(len(samples) - self._num_samples, 0)
        start = int(rng.integers(last_start + 1))
        if samples[start : start + self._num_samples].any():
            return start
        # Again, around a random sample that is not zero.
        sounding = int(rng.choice(np.flatnonzero(samples)))
        return int(np.clip(sounding - rng.integers(self._num_samples), 0, last_start))

    def _crop(self, samples: np.ndarray, start: int) -> np.ndarray:
        crop = samples[start : start + self._num_samples]
        # A stem shorter than a crop is padded by reflection: silence would teach that sound stops.
        return np.pad(crop, (0, self._num_samples - len(crop)), mode="symmetric")

    def _phonemes(self, record: Record, clip: str, start: int, num_samples: int) -> np.ndarray:
        """The phoneme of each half of each frame: ids of `phonemes.SYMBOLS`, -1 where unknown."""
        phonemes = record_lib.timings(record, clip, "phonemes") if self._stream == "speech" else []
        if not phonemes:
            return np.full(self._num_labels, -1, np.int32)
        samples_per_label = self._num_samples // self._num_labels
        middles = start + samples_per_label * (np.arange(self._num_labels) + 0.5)
        times_s = middles / self._spec.sample_rate_hz
        found = np.full(self._num_labels, PAUSE, np.int32)
        for name, start_s, end_s in phonemes:
            found[(times_s >= start_s) & (times_s < end_s)] = SYMBOLS.get(plain(name), -1)
        return np.where(middles < num_samples, found, -1).astype(np.int32)

"""From one record to one example, and from examples to a batch: what grain's threads do.

Everything here is a pure function of the record and of grain's generator, so that an example is the same
whichever thread, worker or process makes it. A record that breaks the schema is a `UserError` that names its
dataset and its id. Codec tokens are made later, a batch at a time (`stem_tokens.py`).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.config import Config
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.data_pipeline.replacement import PassOverError
from dualdub_jax.data_pipeline.video_features import FRAME_SPEC, FeatureFrames
from dualdub_jax.errors import UserError
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.models.batch import empty_example
from dualdub_jax.text.phonemes import LABELS_PER_FRAME, PAUSE, SYMBOLS, plain
from dualdub_jax.text.tokenizer import Tokenizer, reads_case
from dualdub_jax.types import STREAMS, Stream

VOICE_SOURCES = ("recording", "target")
_TOLERANCE = 1e-2  # of a frame: TFDS stores seconds in single precision, and n frames must stay n


@dataclasses.dataclass(frozen=True)
class Stem:
    """A stem that waits to be tokenised; empty `flac` means that there is none.

    Attributes:
        clip: "dataset:id", unique in a mixture.
        flac: the encoded stem of the whole clip.
        duration_s: length of the whole clip, seconds.
        clip_frames: the same in grid frames, the last one completed.
        start_frame: first frame of the window in the clip, grid frames.
        num_frames: length of the window's part of the clip, grid frames.
        tokens: int32[clip_frames, Q] of the whole clip, if they are prepared.
    """

    clip: str
    flac: bytes
    duration_s: float
    clip_frames: int
    start_frame: int
    num_frames: int
    tokens: np.ndarray | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the window holds the whole clip, so that it is the same in every epoch."""
        return self.num_frames == self.clip_frames

    def decode(self, spec: CodecSpec) -> np.ndarray:
        """The window's part of the stem, zeros completing the clip's last frame.

        Args:
            spec: of the codec on the grid.

        Returns:
            float32[num_frames * samples_per_frame] at the codec's sample rate.

        Raises:
            UserError: not mono audio, or not as long as the clip.
        """
        samples = record_lib.decode_stem(self.flac, self.clip, self.duration_s, spec.sample_rate_hz)
        samples = np.pad(samples, (0, max(self.clip_frames * spec.samples_per_frame - len(samples), 0)))
        start = self.start_frame * spec.samples_per_frame
        return samples[start : start + self.num_frames * spec.samples_per_frame]


class MakeExample:
    """Record to example: the fields of a batch but the codec tokens, and `stems`, `example_ids` beside them.

    A `replacement.Transform`. Stems are decoded too: a damaged one must not reach the batch.

    A clip longer than the window is cut to a random part of it. That would cut a script too, so a clip with a
    script that is longer than the window is an error.

    Args:
        source_name: name of the dataset, for ids and errors.
        config: for the fields of a batch and the time grid.
        tokenizer: of the scripts.
        drop: parts that examples are made without.
    """

    def __init__(
        self, source_name: str, config: Config, tokenizer: Tokenizer, drop: Sequence[str] = ()
    ) -> None:
        self._source_name = source_name
        self._config, self._grid = config, config.grid
        self._tokenizer, self._drop = tokenizer, frozenset(drop)

    def begin(self, rng: np.random.Generator) -> Callable[[Record], dict[str, Any]]:
        """See `replacement.Transform`."""
        return functools.partial(self.example, rng=rng)

    def example(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """The example of a record.

        Raises:
            UserError: a record that breaks the schema or does not fit the config.
        """
        grid = self._grid
        clip = clip_id(self._source_name, record)
        duration_s = record_lib.duration_s(record, clip)
        clip_frames = num_frames_of(duration_s, grid.frame_rate)
        streams = [stream for stream in STREAMS if stream not in self._drop]
        script = None if "script" in self._drop else record_lib.script(record)
        if clip_frames > grid.num_frames and script:
            raise UserError(
                f"{clip}: has a script and {clip_frames} frames, more than the window of {grid.num_frames}; "
                "raise grid.num_frames, or cut the clip where it is built"
            )
        num_frames = min(clip_frames, grid.num_frames)
        start_frame = int(rng.integers(clip_frames - num_frames + 1))
        example = unfilled_example(self._config)
        example["example_ids"] = clip
        example["frame_mask"][:num_frames] = True
        for stream in streams:
            flac, tokens = bytes(record[stream]), self._tokens(record, clip, stream, clip_frames)
            stem = Stem(clip, flac, duration_s, clip_frames, start_frame, num_frames, tokens)
            if tokens is None or not stem.is_whole:
                record_lib.check_stem(record, clip, stream)
            example["stems"][stream] = stem
            example[f"has_{stream}"] = np.bool_(len(flac) > 0)
        has_video = "video" not in self._drop
        if has_video and "video" in example and record["video"]:
            example["video"][:num_frames] = self._frames(record, clip, start_frame, num_frames)
            example["has_video"] = np.True_
        if has_video and "video_features" in example and (record["video_features"] or record["video"]):
            if FRAME_SPEC in record:
                example["feature_frames"] = self._feature_frames(record, clip, start_frame, num_frames)
            else:
                example["video_features"][:num_frames] = self._features(record, clip, start_frame, num_frames)
            example["has_video"] = np.True_
        acoustics = record_lib.read_acoustics(record, clip)
        if "acoustics" not in self._drop and np.isfinite(acoustics).all():
            example["acoustics"], example["has_acoustics"] = acoustics, np.True_
        if script is not None:
            is_written = reads_case(self._tokenizer)
            text = record_lib.written_script(record, clip) if is_written else script
            self._add_script(example, text, clip)
            self._add_alignment(example, record, script, text, clip)
        elif not example["has_speech"] and self._config.model.background_prompt:
            self._add_script(example, self._config.model.background_prompt, clip)
        if "voice" not in self._drop:
            self._add_voice(example, record, clip, duration_s, rng)
        return example

    def _add_voice(
        self,
        example: dict[str, Any],
        record: Record,
        clip: str,
        duration_s: float,
        rng: np.random.Generator,
    ) -> None:
        grid = self._grid
        if self._config.model.voice_source == "target":
            flac = record["speech"]
            samples = record_lib.decode_stem(flac, clip, duration_s, grid.sample_rate_hz) if flac else None
            if samples is None or not samples.any():  # silence is no voice
                return
        elif record["voice"]:
            samples = record_lib.decode_voice(record["voice"], clip, grid.sample_rate_hz)
        else:
            return
        surplus = len(samples) // grid.samples_per_frame - grid.num_voice_frames
        if surplus > 0:
            samples = samples[int(rng.integers(surplus + 1)) * grid.samples_per_frame :]
        example |= whole_frames(samples, clip, grid.samples_per_frame, grid.num_voice_frames)
        example["has_voice"] = np.True_

    def _frames(self, record: Record, clip: str, start_frame: int, num_frames: int) -> np.ndarray:
        """uint8[num_frames, frame_size, frame_size, 3]."""
        spec = FrameSpec(self._grid.frame_rate, self._grid.frame_size)
        try:
            return decode_frames(record["video"], spec, start_frame, num_frames)
        except ValueError as error:
            raise UserError(f"{clip}: its video {error}; build the dataset again") from error

    def _tokens(self, record: Record, clip: str, stream: Stream, clip_frames: int) -> np.ndarray | None:
        """Prepared tokens of the whole clip, int32[clip_frames, Q]."""
        tokens = record.get(f"{stream}_tokens")
        if tokens is not None and len(tokens) != clip_frames:
            raise UserError(
                f"{clip}: its prepared {stream} tokens have {len(tokens)} frames, the clip {clip_frames}; "
                "remove that sidecar and run: dualdub data prepare"
            )
        return tokens

    def _feature_frames(self, record: Record, clip: str, start_frame: int, num_frames: int) -> FeatureFrames:
        """The frames of which an extractor computes the features that `_features` would read."""
        spec: FrameSpec = record[FRAME_SPEC]
        num_rows = num_frames_of(record_lib.duration_s(record, clip), spec.frame_rate)
        rows = nearest_rows(num_rows, spec.frame_rate, self._grid.frame_rate, start_frame, num_frames)
        first, last = int(rows[0]), int(rows[-1])
        try:
            frames = decode_frames(record["video"], spec, first, last + 1 - first)
        except ValueError as error:
            raise UserError(f"{clip}: its video {error}; build the dataset again") from error
        return FeatureFrames(frames, rows - first)

    def _features(self, record: Record, clip: str, start_frame: int, num_frames: int) -> np.ndarray:
        """Precomputed features, nearest in time to each grid frame, float32[num_frames, D]."""
        if not record["video_features"]:
            raise UserError(
                f"{clip}: has no precomputed video features, which config.model.video.kind="
                f"{self._config.model.video.kind!r} reads; run: dualdub data prepare"
            )
        features, rate = record_lib.decode_features(record, clip)
        dim = self._config.model.video.feature_dim
        if features.shape[1] != dim:
            raise UserError(
                f"{clip}: its video features have {features.shape[1]} dimensions, and "
                f"config.model.video.feature_dim is {dim}; set it to {features.shape[1]}"
            )
        return features[nearest_rows(len(features), rate, self._grid.frame_rate, start_frame, num_frames)]

    def _add_script(self, example: dict[str, Any], script: str, clip: str) -> None:
        ids = self._tokenizer.encode(script)
        limit = self._grid.num_script_tokens
        if len(ids) > limit:
            raise UserError(
                f"{clip}: its script has {len(ids)} tokens with the markers, more than "
                f"grid.num_script_tokens={limit}; raise that, or shorten the script"
            )
        example["has_script"] = np.True_
        example["script_tokens"][: len(ids)] = ids
        example["script_mask"][: len(ids)] = True

    def _add_alignment(
        self, example: dict[str, Any], record: Record, script: str, text: str, clip: str
    ) -> None:
        """The token spoken in each frame, from the times of words; a pause belongs to the token before it.

        `text` is the script as it was tokenised, of as many words.
        """
        timed = record_lib.timings(record, clip, "words")
        if not timed:
            return
        words, phonemes = text.split(), record_lib.timings(record, clip, "phonemes")
        if [word for word, _, _ in timed] != script.split():
            raise UserError(f"{clip}: speech.words of its events are not its script; build the dataset again")
        middles_s = (np.arange(self._grid.num_frames) + 0.5) / float(self._grid.frame_rate)
        places = np.zeros(self._grid.num_frames, np.int32)  # the begin marker
        first = 1
        for i, (_, begins_s, ends_s) in enumerate(timed):
            # Of the script up to this word, for tokenizers whose words are not cut out of a text one by one.
            following = len(self._tokenizer.encode(" ".join(words[: i + 1]))) - 1
            starts_s = [start_s for _, start_s, _ in phonemes if begins_s <= start_s < ends_s]
            if len(starts_s) != following - first:  # tokens are something else: all are as long
                starts_s = np.linspace(begins_s, ends_s, following - first, endpoint=False)
            for token, start_s in enumerate(starts_s, start=first):
                places = np.where(middles_s >= start_s, token, places)
            first = following
        places = np.where(middles_s > timed[-1][2], first, places)  # the end marker
        example["script_alignment"] = np.where(example["frame_mask"], places, -1).astype(np.int32)


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


def num_frames_of(duration_s: float, frame_rate: Fraction) -> int:
    """Frames that a clip touches, at least one."""
    return max(math.ceil(duration_s * float(frame_rate) - _TOLERANCE), 1)


def nearest_rows(
    num_rows: int, rate: Fraction, frame_rate: Fraction, start_frame: int, num_frames: int
) -> np.ndarray:
    """The row of a sequence that is nearest in time to each grid frame.

    Args:
        num_rows: length of the sequence; row f covers [f, f + 1) / rate seconds.
        rate: rows a second.
        frame_rate: grid frames a second.
        start_frame: the first grid frame.
        num_frames: how many grid frames.

    Returns:
        int64[num_frames], the row that covers the middle of each frame, the last one beyond the end.
    """
    middles = [Fraction(2 * t + 1, 2) / frame_rate for t in range(start_frame, start_frame + num_frames)]
    return np.array([min(int(middle * rate), num_rows - 1) for middle in middles], np.int64)


def no_voice(samples_per_frame: int, num_frames: int) -> dict[str, np.ndarray]:
    """`decode_voice` of nothing."""
    return {
        "voice": np.zeros(num_frames * samples_per_frame, np.float32),
        "voice_mask": np.zeros(num_frames, np.bool_),
    }


def decode_voice(
    flac: bytes, clip: str, sample_rate_hz: int, samples_per_frame: int, num_frames: int
) -> dict[str, np.ndarray]:
    """A reference recording: "voice" float32[R * samples_per_frame], "voice_mask" bool[R].

    Args:
        flac: the encoded recording.
        clip: for errors.
        sample_rate_hz: of the result.
        samples_per_frame: of the frames that the mask counts.
        num_frames: R; what is longer is cut.

    Raises:
        UserError: no sound that can be read, or less than a frame of it.
    """
    return whole_frames(
        record_lib.decode_voice(flac, clip, sample_rate_hz), clip, samples_per_frame, num_frames
    )


def whole_frames(
    samples: np.ndarray, clip: str, samples_per_frame: int, num_frames: int
) -> dict[str, np.ndarray]:
    """`decode_voice` of float32[S]."""
    # Whole frames only: a frame that is half padding would look like a voice that fades.
    covered = min(len(samples) // samples_per_frame, num_frames)
    if covered < 1:
        raise UserError(f"{clip}: its voice is shorter than one frame; build the dataset again")
    voice = no_voice(samples_per_frame, num_frames)
    voice["voice"][: covered * samples_per_frame] = samples[: covered * samples_per_frame]
    voice["voice_mask"][:covered] = True
    return voice


def unfilled_example(config: Config) -> dict[str, Any]:
    """An example that has nothing: no codec tokens yet, all masks and `has_*` False, and so no loss."""
    nothing = Stem("", b"", duration_s=0.0, clip_frames=0, start_frame=0, num_frames=0)
    example: dict[str, Any] = empty_example(config)
    for stream in STREAMS:
        del example[f"{stream}_tokens"]
    beside = {"feature_frames": None, "example_ids": "", "bad_records": []}
    return example | {"stems": dict.fromkeys(STREAMS, nothing), **beside}


def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stacks the arrays of examples; ids, stems, frames of features and bad records become lists."""
    batch: dict[str, Any] = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        if name == "stems":
            batch[name] = {stream: [stems[stream] for stems in values] for stream in STREAMS}
        elif name in ("example_ids", "feature_frames"):
            batch[name] = values
        elif name == "bad_records":
            batch[name] = list(itertools.chain(*values))
        else:
            batch[name] = np.stack(values)
    return batch

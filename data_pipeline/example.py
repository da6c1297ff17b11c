"""From a record to an example of the language model: what grain's threads do.

A pure function of the record and of grain's generator, so that an example is the same whichever thread,
worker or process makes it. A record that breaks the schema is a `UserError` that names its dataset and its
id. Codec tokens are made later, a batch at a time (`stem_tokens.py`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dualdub_jax.config import Config
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.augmentation import AUGMENTED
from dualdub_jax.data_pipeline.frame_times import nearest_rows, num_frames_of
from dualdub_jax.data_pipeline.record import Record, clip_id
from dualdub_jax.data_pipeline.reference_voice import whole_frames
from dualdub_jax.data_pipeline.script_fields import script_alignment, script_fields
from dualdub_jax.data_pipeline.stem import Stem
from dualdub_jax.data_pipeline.video_features import FRAME_SPEC, FeatureFrames
from dualdub_jax.errors import UserError
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.models.batch import empty_example
from dualdub_jax.text.tokenizer import Tokenizer, reads_case
from dualdub_jax.types import STREAMS, Stream

VOICE_SOURCES = ("recording", "target")


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
        rate = grid.frame_rate
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
            stem = Stem(
                clip, flac, duration_s, clip_frames, start_frame, num_frames, tokens, AUGMENTED in record
            )
            if tokens is None or not stem.is_constant:
                record_lib.check_stem(
                    record, clip, stream, start_frame / rate, (start_frame + num_frames) / rate
                )
            example["stems"][stream] = stem
            example[f"has_{stream}"] = np.bool_(len(flac) > 0)
        has_video = "video" not in self._drop
        if has_video and "video" in example and record["video"]:
            self._add_frames(example["video"][:num_frames], record, clip, start_frame)
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
            example |= script_fields(text, self._tokenizer, grid, clip)
            example["script_alignment"] = script_alignment(
                record, script, text, self._tokenizer, grid, example["frame_mask"], clip
            )
        elif not example["has_speech"] and self._config.model.background_prompt:
            example |= script_fields(self._config.model.background_prompt, self._tokenizer, grid, clip)
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

    def _add_frames(self, frames: np.ndarray, record: Record, clip: str, start_frame: int) -> None:
        """Decodes into uint8[num_frames, frame_size, frame_size, 3]."""
        spec = FrameSpec(self._grid.frame_rate, self._grid.frame_size)
        try:
            decode_frames(record["video"], spec, start_frame, len(frames), out=frames)
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


def unfilled_example(config: Config) -> dict[str, Any]:
    """An example that has nothing: no codec tokens yet, all masks and `has_*` False, and so no loss."""
    nothing = Stem("", b"", duration_s=0.0, clip_frames=0, start_frame=0, num_frames=0)
    example: dict[str, Any] = empty_example(config)
    for stream in STREAMS:
        del example[f"{stream}_tokens"]
    beside = {"feature_frames": None, "example_ids": "", "bad_records": []}
    return example | {"stems": dict.fromkeys(STREAMS, nothing), **beside}

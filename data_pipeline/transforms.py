"""From one record to one example, and from examples to a batch: what grain's threads do.

Everything here is a pure function of the record and of grain's generator, so that an example is the same
whichever thread, worker or process makes it. A record that breaks the schema is a `UserError` that names
its dataset and its id. Codec tokens are made later, a batch at a time (`stem_tokens.py`).
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from data_pipeline import decoding
from dualdub_jax.config import GridConfig
from dualdub_jax.errors import UserError
from dualdub_jax.text.phonemes import LABELS_PER_FRAME, PAUSE, SYMBOLS, plain
from dualdub_jax.text.tokenizer import Tokenizer
from dualdub_jax.types import STREAMS, Stream

Record = Mapping[str, Any]

# What a clip may have; each has a flag `has_*` in a batch.
PARTS = ("video", "script", "voice", "acoustics", *STREAMS)


@dataclasses.dataclass(frozen=True)
class Stem:
    """A stem that waits to be tokenised; empty `flac` means that there is none.

    Attributes:
        clip: "dataset:id", unique in a mixture.
        flac: the encoded stem of the whole clip.
        clip_frames: length of the whole clip, grid frames.
        start_frame: where the window begins in the clip, grid frames.
        num_frames: length of the window's part of the clip, grid frames.
    """

    clip: str
    flac: bytes
    clip_frames: int
    start_frame: int
    num_frames: int

    @property
    def is_whole(self) -> bool:
        """Whether the window holds the whole clip, so that it is the same in every epoch."""
        return self.num_frames == self.clip_frames

    def decode(self, grid: GridConfig) -> np.ndarray:
        """The window's part of the stem, float32[num_frames * samples_per_frame].

        Raises:
            UserError: not mono FLAC at the grid's rate, or not as long as the clip.
        """
        samples = decode_stem(self.flac, self.clip, self.clip_frames, grid)
        start = self.start_frame * grid.samples_per_frame
        return samples[start : start + self.num_frames * grid.samples_per_frame]


class MakeExample(grain.transforms.RandomMap):
    """Record to example: the fields of a batch but the codec tokens, and `stems`, `example_ids` beside them.

    A clip longer than the window is cut to a random part of it. Where something is said that would cut the
    script too, so such a clip is an error.

    Args:
        source_name: name of the dataset, for ids and errors.
        grid: the time grid.
        tokenizer: of the scripts.
    """

    def __init__(self, source_name: str, grid: GridConfig, tokenizer: Tokenizer) -> None:
        self._source_name = source_name
        self._grid = grid
        self._tokenizer = tokenizer

    def random_map(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        grid = self._grid
        clip = clip_id(self._source_name, record)
        clip_frames = int(record["num_frames"])
        script = _text(record["script"]) if record["has_script"] else None
        if clip_frames < 1:
            raise UserError(f"{clip}: num_frames is {clip_frames}; a clip has at least one frame")
        if clip_frames > grid.num_frames and script:
            raise UserError(
                f"{clip}: has a script and {clip_frames} frames, more than the window of {grid.num_frames}; "
                "raise grid.num_frames, or cut the clip where it is built"
            )
        num_frames = min(clip_frames, grid.num_frames)
        start_frame = int(rng.integers(clip_frames - num_frames + 1))
        example = empty_example(grid)
        example["example_ids"] = clip
        example["frame_mask"][:num_frames] = True
        example["stems"] = {
            stream: Stem(clip, bytes(record[stream]), clip_frames, start_frame, num_frames)
            for stream in STREAMS
        }
        for stream in STREAMS:
            example[f"has_{stream}"] = np.bool_(len(record[stream]) > 0)
        if record["video"]:
            example["has_video"] = np.True_
            try:
                example["video"][:num_frames] = decoding.decode_video(
                    record["video"],
                    start_frame=start_frame,
                    num_frames=num_frames,
                    frame_rate_hz=grid.frame_rate_hz,
                    frame_size=grid.frame_size,
                )
            except ValueError as error:
                raise UserError(f"{clip}: its video {error}; build the dataset again") from error
        acoustics = read_acoustics(record, clip)
        if np.isfinite(acoustics).all():
            example["acoustics"], example["has_acoustics"] = acoustics, np.True_
        if script is not None:
            self._add_script(example, script, clip)
            said = _speech_events(record)
            if said.get("words"):
                self._add_alignment(example, said, script, clip)
        if record["voice"]:
            example |= decode_voice(record["voice"], clip, grid)
            example["has_voice"] = np.True_
        return example

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
        self, example: dict[str, Any], said: Mapping[str, list], script: str, clip: str
    ) -> None:
        """Which token each frame says, from the times of words; a pause goes on with the token before it."""
        words, phonemes = script.split(), said.get("phonemes") or ()
        if [word for word, _, _ in said["words"]] != words:
            raise UserError(f"{clip}: speech.words of its events are not its script; build the dataset again")
        middles_s = (np.arange(self._grid.num_frames) + 0.5) / self._grid.frame_rate_hz
        places = np.zeros(self._grid.num_frames, np.int32)  # the begin marker
        first = 1
        for i, (_, begins_s, ends_s) in enumerate(said["words"]):
            # Of the script up to this word, for tokenizers whose words are not cut out of a text one by one.
            following = len(self._tokenizer.encode(" ".join(words[: i + 1]))) - 1
            starts_s = [start_s for _, start_s, _ in phonemes if begins_s <= start_s < ends_s]
            if len(starts_s) != following - first:  # tokens are something else: all are as long
                starts_s = np.linspace(begins_s, ends_s, following - first, endpoint=False)
            for token, start_s in enumerate(starts_s, start=first):
                places = np.where(middles_s >= start_s, token, places)
            first = following
        places = np.where(middles_s > said["words"][-1][2], first, places)  # the end marker
        example["script_alignment"] = np.where(example["frame_mask"], places, -1).astype(np.int32)


class CropStem(grain.transforms.RandomMap):
    """Record to a random crop of one stem, for the training of that stream's codec.

    A crop is "waveform", float32[crop_frames * samples_per_frame], "phonemes", int32[crop_frames * 2] (what
    is said in each half frame, -1 where not known), and "example_ids"; of speech also "voice" and
    "voice_mask", the reference recording as a batch has it.

    A crop is digital silence with probability `silence_rate` (a codec must know silence, but many clips are
    silent in one stream and would drown the rest); otherwise something sounds in it, if need be in another
    clip of the same dataset.

    Args:
        source_name: name of the dataset, for ids and errors.
        source: its records, to draw another one from.
        stream: whose stem.
        grid: the time grid.
        crop_frames: length of a crop, grid frames.
        silence_rate: share of silent crops.
    """

    _MAX_DRAWS = 100

    def __init__(
        self,
        source_name: str,
        source: Sequence[Record],
        stream: Stream,
        grid: GridConfig,
        crop_frames: int,
        silence_rate: float = 0.02,
    ) -> None:
        self._source_name = source_name
        self._source = source
        self._stream = stream
        self._grid = grid
        self._num_samples = crop_frames * grid.samples_per_frame
        self._num_labels = crop_frames * LABELS_PER_FRAME
        self._silence_rate = silence_rate

    def random_map(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        if rng.random() < self._silence_rate:
            silence = np.zeros(self._num_samples, np.float32)
            return {
                "waveform": silence,
                "phonemes": np.full(self._num_labels, PAUSE, np.int32),
                "acoustics": np.full(2, np.nan, np.float32),
                "example_ids": f"{self._source_name}:silence",
                **self._voice(record),
            }
        for _ in range(self._MAX_DRAWS):
            samples = self.stem(record)
            if samples.any():
                start = self._draw_start(samples, rng)
                return {
                    "waveform": self._crop(samples, start),
                    "phonemes": self._phonemes(record, start, len(samples)),
                    "acoustics": read_acoustics(record, clip_id(self._source_name, record)),
                    "example_ids": clip_id(self._source_name, record),
                    **self._voice(record),
                }
            record = self._source[int(rng.integers(len(self._source)))]
        raise UserError(
            f"{self._source_name}: {self._MAX_DRAWS} clips drawn in a row are silent in {self._stream}; "
            f"take it out of {self._stream}_codec_training.mixture"
        )

    def stem(self, record: Record) -> np.ndarray:
        """The whole stem, float32[S]; a `UserError` if the clip has none."""
        clip = clip_id(self._source_name, record)
        if not record[self._stream]:
            raise UserError(
                f"{clip}: has no {self._stream} stem; "
                f"take {self._source_name} out of {self._stream}_codec_training.mixture"
            )
        return decode_stem(record[self._stream], clip, int(record["num_frames"]), self._grid)

    def _voice(self, record: Record) -> dict[str, np.ndarray]:
        if self._stream != "speech":
            return {}
        if not record["voice"]:
            return no_voice(self._grid)
        return decode_voice(record["voice"], clip_id(self._source_name, record), self._grid)

    def _draw_start(self, samples: np.ndarray, rng: np.random.Generator) -> int:
        last_start = max(len(samples) - self._num_samples, 0)
        start = int(rng.integers(last_start + 1))
        if samples[start : start + self._num_samples].any():
            return start
        # Aim again, at a random sample that sounds.
        sounding = int(rng.choice(np.flatnonzero(samples)))
        return int(np.clip(sounding - rng.integers(self._num_samples), 0, last_start))

    def _crop(self, samples: np.ndarray, start: int) -> np.ndarray:
        crop = samples[start : start + self._num_samples]
        # A stem shorter than a crop goes on as its mirror image: silence would teach that sound stops.
        return np.pad(crop, (0, self._num_samples - len(crop)), mode="symmetric")

    def _phonemes(self, record: Record, start: int, num_samples: int) -> np.ndarray:
        """What is said in each half of each frame: ids of `phonemes.SYMBOLS`, -1 where that is not known."""
        said = _speech_events(record).get("phonemes") if self._stream == "speech" else None
        if not said:
            return np.full(self._num_labels, -1, np.int32)
        samples_per_label = self._num_samples // self._num_labels
        middles = start + samples_per_label * (np.arange(self._num_labels) + 0.5)
        times_s = middles / self._grid.sample_rate_hz
        found = np.full(self._num_labels, PAUSE, np.int32)
        for name, start_s, end_s in said:
            found[(times_s >= start_s) & (times_s < end_s)] = SYMBOLS.get(plain(name), -1)
        return np.where(middles < num_samples, found, -1).astype(np.int32)


def no_voice(grid: GridConfig) -> dict[str, np.ndarray]:
    """`decode_voice` of nothing."""
    return {
        "voice": np.zeros(grid.num_voice_frames * grid.samples_per_frame, np.float32),
        "voice_mask": np.zeros(grid.num_voice_frames, np.bool_),
    }


def decode_voice(flac: bytes, clip: str, grid: GridConfig) -> dict[str, np.ndarray]:
    """A reference recording: "voice" float32[R * samples_per_frame], "voice_mask" bool[R].

    Raises:
        UserError: no sound that can be read, or less than a frame of it.
    """
    try:
        samples = decoding.decode_audio(flac, sample_rate_hz=grid.sample_rate_hz)
    except ValueError as error:
        raise UserError(f"{clip}: its voice {error}; build the dataset again") from error
    # Whole frames only: a frame that is half padding would read as a voice that fades.
    num_frames = min(len(samples) // grid.samples_per_frame, grid.num_voice_frames)
    if num_frames < 1:
        raise UserError(f"{clip}: its voice is shorter than one frame; build the dataset again")
    num_samples = num_frames * grid.samples_per_frame
    voice = no_voice(grid)
    voice["voice"][:num_samples] = samples[:num_samples]
    voice["voice_mask"][:num_frames] = True
    return voice


def empty_example(grid: GridConfig) -> dict[str, Any]:
    """An example that has nothing: zeros, all masks and `has_*` False, and so no loss."""
    nothing = Stem(clip="", flac=b"", clip_frames=0, start_frame=0, num_frames=0)
    return {
        "video": np.zeros((grid.num_frames, grid.frame_size, grid.frame_size, 3), np.uint8),
        "frame_mask": np.zeros(grid.num_frames, np.bool_),
        "script_tokens": np.zeros(grid.num_script_tokens, np.int32),
        "script_mask": np.zeros(grid.num_script_tokens, np.bool_),
        "script_alignment": np.full(grid.num_frames, -1, np.int32),
        "voice": np.zeros(grid.num_voice_frames * grid.samples_per_frame, np.float32),
        "voice_mask": np.zeros(grid.num_voice_frames, np.bool_),
        "acoustics": np.zeros(2, np.float32),
        **{f"has_{name}": np.False_ for name in PARTS},
        "stems": dict.fromkeys(STREAMS, nothing),
        "example_ids": "",
    }


def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stacks the arrays of examples; ids and stems become lists."""
    batch: dict[str, Any] = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        if name == "stems":
            batch[name] = {stream: [stems[stream] for stems in values] for stream in STREAMS}
        elif name == "example_ids":
            batch[name] = values
        else:
            batch[name] = np.stack(values)
    return batch


def clip_id(source_name: str, record: Record) -> str:
    """The clip's name in ids and errors, "dataset:id", unique in a mixture."""
    return f"{source_name}:{_text(record['id'])}"


def _events(record: Record) -> Mapping[str, Any]:
    return json.loads(_text(record["events"]) or "{}")


def _speech_events(record: Record) -> Mapping[str, Any]:
    """What a record's events tell of its speech: "words", "phonemes" hold [what, start_s, end_s]."""
    return _events(record).get("speech") or {}


def read_acoustics(record: Record, clip: str) -> np.ndarray:
    """The room that a record's events tell of, float32[2], (RT60 in seconds, noise in dBFS); NaN: none.

    Raises:
        UserError: what is there is no room.
    """
    acoustics = _events(record).get("room")
    if not acoustics:
        return np.full(2, np.nan, np.float32)
    try:
        values = np.array([acoustics["rt60_s"], acoustics["noise_dbfs"]], np.float32)
    except (KeyError, TypeError, ValueError):
        values = np.full(2, np.nan)
    if not (np.isfinite(values).all() and values[0] > 0):
        raise UserError(
            f"{clip}: room of its events is {acoustics}, expected a positive rt60_s and noise_dbfs; "
            "build the dataset again"
        )
    return values


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def decode_stem(flac: bytes, clip: str, clip_frames: int, grid: GridConfig) -> np.ndarray:
    """A clip's stem, float32[S]; a `UserError` if it is no sound, or not as long as the clip."""
    try:
        samples = decoding.decode_audio(flac, sample_rate_hz=grid.sample_rate_hz)
    except ValueError as error:
        raise UserError(f"{clip}: its stem {error}; build the dataset again") from error
    expected = clip_frames * grid.samples_per_frame
    if len(samples) != expected:
        raise UserError(
            f"{clip}: its stem has {len(samples)} samples, expected {expected} for {clip_frames} frames; "
            "build the dataset again"
        )
    return samples

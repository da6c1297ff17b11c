"""The contract of a codec: waveform to tokens to waveform, at its own sample rate and frame rate.

A codec is a class named in `config.streams.<stream>.codec.kind`, by the name of a kind of the project or by
import path. Codecs whose frame rate is a multiple of the grid's are folded onto the grid (codecs/folded.py).
"""

import dataclasses
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import jax

from dualdub_jax.config import whole
from dualdub_jax.training.phase import Phase

PyTree = Any  # of arrays: the variables of a codec, in the layout of its kind
# Runs a phase (or reads what it has left on disk) and returns what it hands on; None: not trained yet.
RunPhase = Callable[[Phase], PyTree | None]


@dataclasses.dataclass(frozen=True)
class CodecSpec:
    """What the rest of the project needs to know of a codec.

    Attributes:
        sample_rate_hz: of waveforms, both ways.
        frame_rate: frames of tokens a second, exactly.
        num_codebooks: Q.
        codebook_size: V; tokens are in [0, V).
        decode_conditions: names of the conditions that `decode` takes beside tokens, of "speaker" (the
            embedding that `encode_speaker` makes of a reference recording) and "acoustics".
    """

    sample_rate_hz: int
    frame_rate: Fraction
    num_codebooks: int
    codebook_size: int
    decode_conditions: frozenset[str] = frozenset()

    @property
    def samples_per_frame(self) -> int:
        """Samples of a frame of tokens."""
        return whole(self.sample_rate_hz / self.frame_rate, "codec: sample rate / frame rate")


class CodecStream(Protocol):
    """Decodes tokens that arrive piece by piece; made by `Codec.stream`.

    The concatenation of all that `push` and `flush` return equals `decode` of all the tokens.
    """

    def push(self, tokens: jax.Array) -> jax.Array:
        """Takes int32[B, t, Q], t may be 0; returns completed samples, float32[B, s], s may be 0."""
        ...

    def flush(self) -> jax.Array:
        """Ends the stream and returns the rest, float32[B, s]. The stream may then begin anew."""
        ...


class CodecTraining(Protocol):
    """How a codec is trained: what `Codec.training` returns.

    Attributes:
        encoder_phases: names of the phases that `encode` depends on, in order.
        decoder_phases: names of those that only `decode` depends on.
    """

    encoder_phases: tuple[str, ...]
    decoder_phases: tuple[str, ...]

    def train_encoder(self, run: RunPhase) -> PyTree | None:
        """Variables that `encode` needs; None if a phase of them is not trained."""
        ...

    def train_decoder(self, run: RunPhase, variables: PyTree) -> PyTree | None:
        """All variables, given those of `train_encoder`; None if a phase is not trained."""
        ...


class Codec(Protocol):
    """Waveform to tokens to waveform, bound to its variables.

    The class methods describe a kind; an instance is constructed as `Kind(config, variables)`. A kind may
    also have

    - `training(config: Config, stream: str, make_batches) -> CodecTraining` (class method), for a codec that
      `dualdub train` trains; `make_batches(batch_size, crop_frames)` yields random crops of the stream's
      stems as `data_pipeline.loader.make_codec_batches`. Its `Config` then has a group `training` with
      `mixture` and `crop_frames` (where `make_batches` is given None);
    - `pretrained(config) -> variables` (class method), for one that is frozen and comes from public weights;
    - `encode_speaker(waveform, frame_mask=None) -> float32[B, D]`, with "speaker" among its conditions.

    Attributes:
        Config: frozen dataclass of the keys of its config group, each with a default.
        spec: of this instance.
        latency_frames: frames that `stream` waits for beyond a frame before it can decode it.
    """

    Config: ClassVar[type]
    spec: CodecSpec
    latency_frames: int

    @classmethod
    def spec_of(cls, config: Any) -> CodecSpec:
        """The spec of a codec with this `Config`; computes nothing."""
        ...

    @classmethod
    def init(cls, config: Any, rng: jax.Array) -> PyTree:
        """Untrained variables; pure, so that `jax.eval_shape` gives their shapes."""
        ...

    def encode(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        """Tokens of a waveform.

        Args:
            waveform: float32[B, S] in [-1, 1] at `spec.sample_rate_hz`; zeros complete the last frame.
            frame_mask: bool[B, T], True for frames inside the clip, a prefix of each row; None: all. Samples
                outside are not used (they may hold NaN), and the tokens there are arbitrary.

        Returns:
            int32[B, T, Q] with T = ceil(S / samples per frame).
        """
        ...

    def decode(
        self,
        tokens: jax.Array,
        frame_mask: jax.Array | None = None,
        conditions: Mapping[str, jax.Array] | None = None,
    ) -> jax.Array:
        """The waveform of tokens.

        Args:
            tokens: int32[B, T, Q].
            frame_mask: bool[B, T], True for frames inside the clip, a prefix of each row; None: all. Frames
                outside are decoded as zeros and change nothing inside.
            conditions: by name, those of `spec.decode_conditions` that are known: "speaker" float32[B, D],
                from `encode_speaker`; "acoustics" float32[B, 2], reverberation time in seconds and noise
                level in dBFS, NaN where unknown.

        Returns:
            float32[B, T * samples per frame].
        """
        ...

    def stream(self, conditions: Mapping[str, jax.Array] | None = None, chunk_frames: int = 8) -> CodecStream:
        """A new streaming decoder.

        Args:
            conditions: as for `decode`.
            chunk_frames: frames decoded at once; more is faster and later.
        """
        ...


MakeCrops = Callable[[int, int | None], Any]  # (batch_size, crop_frames) -> iterator of host batches

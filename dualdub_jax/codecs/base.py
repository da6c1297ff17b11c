"""The contract of a codec: waveform to tokens to waveform, at its own sample rate and frame rate.

`config.streams.<stream>.codec.kind` selects the class, by the name of a built-in kind or by import path. A
codec whose frame rate is a multiple of the grid's is folded onto the grid (codecs/folded.py).
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import jax
from jaxtyping import Bool, Float, Int

from dualdub_jax.config import whole
from dualdub_jax.errors import UserError
from dualdub_jax.training.phase import Phase
from dualdub_jax.types import Array, Stream

PyTree = Any  # a codec's variables: nested arrays in the layout of its kind
# Trains a phase, or restores it, and returns its parameters; None: the phase is not trained.
RunPhase = Callable[[Phase], PyTree | None]


@dataclasses.dataclass(frozen=True)
class CodecSpec:
    """The properties of a codec that other packages depend on.

    Attributes:
        sample_rate_hz: of input and output waveforms.
        frame_rate: token frames per second, exact.
        num_codebooks: Q.
        codebook_size: V; tokens are in [0, V).
        decode_conditions: the conditions that `decode` accepts in addition to tokens, a subset of "speaker"
            (the embedding that `encode_speaker` computes from a reference recording) and "acoustics".
    """

    sample_rate_hz: int
    frame_rate: Fraction
    num_codebooks: int
    codebook_size: int
    # Not in the repr, from which fingerprints are made: a set's order differs between processes.
    decode_conditions: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)

    @property
    def samples_per_frame(self) -> int:
        """Samples per token frame."""
        return whole(self.sample_rate_hz / self.frame_rate, "codec: sample rate / frame rate")


class CodecStream(Protocol):
    """Decodes tokens incrementally; returned by `Codec.stream`.

    The concatenated outputs of `push` and `flush` equal `decode` of the whole token sequence.
    """

    def push(self, tokens: Int[Array, "B t Q"]) -> Float[Array, "B s"]:
        """Appends int32[B, t, Q] and returns the completed samples, float32[B, s]; t and s may be 0."""
        ...

    def flush(self) -> Float[Array, "B s"]:
        """Ends the stream and returns the remaining samples, float32[B, s]; `push` then starts anew."""
        ...


class CodecTraining(Protocol):
    """The training phases of a codec; returned by `Codec.training`.

    Before a run starts, `train_encoder` is called with a `run` that returns None, which constructs its first
    phase. Optional: `labels`, a mapping from a label that one of its parts learns from
    (`data_pipeline.record_check.labels_of`) to the key of `Config` that switches this part off with 0.

    Attributes:
        encoder_phases: names of the phases that train the variables of `encode`, in order.
        decoder_phases: names of the phases that train only variables of `decode`, in order.
    """

    encoder_phases: tuple[str, ...]
    decoder_phases: tuple[str, ...]

    def train_encoder(self, run: RunPhase) -> PyTree | None:
        """Trains the variables of `encode`; None if one of the phases is not trained."""
        ...

    def train_decoder(self, run: RunPhase, variables: PyTree) -> PyTree | None:
        """Trains the rest on frozen `variables` of `train_encoder`; returns all, or None if not trained."""
        ...


class Codec(Protocol):
    """A codec kind; an instance binds it to variables and is constructed as `Kind(config, variables)`.

    Optional methods:

    - `training(config: Config, stream: str, make_batches) -> CodecTraining` (class method), if `dualdub
      train` trains the codec. `make_batches(batch_size, crop_frames)` iterates over random crops of the
      stream's stems, see `dualdub_jax.data_pipeline.loader.make_codec_batches`. `Config` then has a group
      `training` with `mixture` and `crop_frames`, the crop length where `make_batches` is called with None.
      A further parameter `initial=None` receives the variables, or some of them, that `codecs_from` has for
      a stream of `train_codecs`: phases start from them (`Phase.initial`);
    - `pretrained(config) -> variables` (class method), if the codec is frozen and has public weights;
    - `encode_speaker(waveform, frame_mask=None) -> float32[B, D]`, if "speaker" is one of its conditions.

    Attributes:
        Config: frozen dataclass of the codec's config group; every key has a default.
        spec: of this instance.
        latency_frames: lookahead of `stream`: future frames required before a frame can be decoded.
    """

    Config: ClassVar[type]
    spec: CodecSpec
    latency_frames: int

    @classmethod
    def spec_of(cls, config: Any) -> CodecSpec:
        """The spec of a codec with this `Config`; allocates no variables."""
        ...

    @classmethod
    def init(cls, config: Any, rng: jax.Array) -> PyTree:
        """Untrained variables; pure, so that `jax.eval_shape` gives their shapes."""
        ...

    def encode(
        self, waveform: Float[Array, "B S"], frame_mask: Bool[Array, "B T"] | None = None
    ) -> Int[Array, "B T Q"]:
        """Encodes a waveform to tokens.

        Args:
            waveform: float32[B, S] in [-1, 1] at `spec.sample_rate_hz`; the last frame is zero-padded.
            frame_mask: bool[B, T], True for frames inside the clip, a prefix of each row; None: all. Samples
                outside are ignored (they may be NaN), and the tokens there are arbitrary.

        Returns:
            int32[B, T, Q] in [0, V), T = ceil(S / samples per frame).
        """
        ...

    def decode(
        self,
        tokens: Int[Array, "B T Q"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"]:
        """Decodes tokens to a waveform.

        Args:
            tokens: int32[B, T, Q] in [0, V).
            frame_mask: bool[B, T], True for frames inside the clip, a prefix of each row; None: all. Frames
                outside decode to zeros and do not affect frames inside.
            conditions: by name, the known ones of `spec.decode_conditions`: "speaker" float32[B, D], from
                `encode_speaker`; "acoustics" float32[B, 2], reverberation time in seconds and noise level in
                dBFS, NaN where unknown.

        Returns:
            float32[B, T * samples per frame].
        """
        ...

    def stream(self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8) -> CodecStream:
        """Opens a streaming decoder.

        Args:
            conditions: as for `decode`.
            chunk_frames: frames per decoding call; larger chunks are faster and add latency.
        """
        ...


def started_from(
    training: Callable[..., Any], initial: PyTree | None, where: str, stream: str
) -> dict[str, PyTree]:
    """Arguments with which a `training` method starts from given variables.

    Args:
        training: the method.
        initial: variables, or some of them; None: random values, no argument.
        where: key and class, for the message.
        stream: for the message.

    Raises:
        UserError: the method has no parameter `initial`.
    """
    if initial is None:
        return {}
    if "initial" not in inspect.signature(training).parameters:
        raise UserError(
            f"config.train_codecs: {stream}: `training` of {where} has no parameter `initial`, so that it "
            "starts from random values only; add it (docs/forking.md), or leave the stream out"
        )
    return {"initial": initial}


class MakeCrops(Protocol):
    """Iterates over host batches of crops; see `data_pipeline.loader.make_codec_batches`."""

    def __call__(
        self, batch_size: int, crop_frames: int | None, target: tuple[int, int] | None = None
    ) -> Any:
        """Opens the batches.

        Args:
            batch_size: of all processes together.
            crop_frames: frames of the codec; None: `training.crop_frames` of its group.
            target: sample rate and number of samples of "target_waveform", the same crop at another rate;
                None: none.
        """
        ...


def of_stream(phase: Phase, stream: Stream) -> Phase:
    """A phase of a stream's codec or waveform decoder, with the config keys of its settings."""
    keys = {part: f"streams.{stream}.{part}" for part in ("codec", "decoder")}
    return dataclasses.replace(phase, settings=phase.settings.named(**keys))

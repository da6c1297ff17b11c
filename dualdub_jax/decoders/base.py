"""The contract of a waveform decoder: tokens of one stream to a waveform at the decoder's own rate.

`config.streams.<stream>.decoder` is "codec", the codec's own decoder, or replaces it: a group of keys of a
built-in kind, or the import path of a class. Source: the paper (its section on the waveform decoder) replaces
WavTokenizer's decoder by flow matching into the latent space of a frozen autoencoder; the interface is our
choice.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
from jaxtyping import Bool, Float, Int

from dualdub_jax.codecs.base import Codec, CodecStream, MakeCrops, RunPhase, started_from
from dualdub_jax.config import Config
from dualdub_jax.errors import UserError
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import Array, Stream

PyTree = Any  # a decoder's variables: nested arrays in the layout of its class


class DecoderTraining(Protocol):
    """The training phases of a waveform decoder, on a frozen codec.

    Attributes:
        phases: their names, in order.
    """

    phases: tuple[str, ...]

    def train(self, run: RunPhase, codec_variables: PyTree) -> PyTree | None:
        """Trains the decoder and returns its variables; None if a phase is not trained."""
        ...


class WaveformDecoder(Protocol):
    """A waveform decoder bound to its variables: a plain class, constructed with these fields as keywords.

    Optional: a further parameter `codec=None` of the constructor receives the stream's codec on the grid.
    Optional: `training(config, stream, make_batches) -> DecoderTraining` (class method); `make_batches`, and
    a further parameter `initial=None`, as in `Codec.training`. Without it, variables are initialised from a
    bundle (`config.codecs_from`). Sizes that the import path sets are keyword arguments of the constructor,
    of `init` and of `training`.

    Attributes:
        sample_rate_hz: of the waveform; may differ from the codec's, and need not be a multiple of the grid's
            frame rate.
        num_channels: of the waveform, 1 or 2; optional, 1 if absent.
    """

    config: Config
    stream: Stream
    variables: PyTree

    @classmethod
    def init(cls, config: Config, stream: Stream, rng: jax.Array) -> PyTree:
        """Untrained variables; pure, so that `jax.eval_shape` gives their shapes."""
        ...

    def decode(
        self,
        tokens: Int[Array, "B T Q"],
        frame_mask: Bool[Array, "B T"] | None = None,
        conditions: Mapping[str, Array] | None = None,
    ) -> Float[Array, "B S"] | Float[Array, "B S 2"]:
        """Decodes tokens to a waveform; arguments as of `Codec.decode`.

        Returns:
            float32[B, S], or float32[B, S, 2] in stereo, with S = T / frame rate of the grid *
            `sample_rate_hz`, rounded up.
        """
        ...

    def open_stream(
        self, conditions: Mapping[str, Array] | None = None, chunk_frames: int = 8
    ) -> CodecStream:
        """Opens a chunked decoder, sample-exact with `decode`; see `Codec.stream`."""
        ...


DECODERS = Slot(
    "config.streams.<stream>.decoder",
    WaveformDecoder,
    ("config", "stream", "variables"),
    {"flow_matching": "dualdub_jax.decoders.flow_matching.decoder:FlowMatchingDecoder"},
)
CODEC = "codec"


class CodecDecoder:
    """The codec's own decoder, as a `WaveformDecoder`."""

    num_channels = 1

    def __init__(self, codec: Codec) -> None:
        self.sample_rate_hz = codec.spec.sample_rate_hz
        self.decode: Callable[..., jax.Array] = codec.decode
        self.open_stream: Callable[..., CodecStream] = codec.stream


def has_decoder(config: Config, stream: Stream) -> bool:
    """Whether a waveform decoder replaces the decoder of the stream's codec."""
    return config.streams[stream].decoder != CODEC


def decoder_kind(config: Config, stream: Stream) -> str:
    """ "codec", the name of a built-in kind, or an import path."""
    decoder = config.streams[stream].decoder
    return decoder if isinstance(decoder, str) else decoder.kind


def num_channels(decoder: WaveformDecoder | CodecDecoder) -> int:
    """Channels of a decoder's waveform."""
    return getattr(decoder, "num_channels", 1)


def make_decoder(
    config: Config, stream: Stream, codec: Codec, variables: PyTree
) -> WaveformDecoder | CodecDecoder:
    """A stream's waveform decoder.

    Args:
        config: of the bundle.
        stream: which stream.
        codec: of that stream, on the grid.
        variables: of the decoder; ignored for the codec's own decoder.
    """
    if not has_decoder(config, stream):
        return CodecDecoder(codec)
    found, sizes = DECODERS.find(decoder_kind(config, stream))
    if "codec" in inspect.signature(found).parameters:
        sizes = sizes | {"codec": codec}
    return found(config=config, stream=stream, variables=variables, **sizes)


def abstract_decoder(config: Config, stream: Stream) -> PyTree:
    """`jax.ShapeDtypeStruct`s of a decoder's variables."""
    found, sizes = DECODERS.find(decoder_kind(config, stream))
    return jax.eval_shape(lambda key: found.init(config, stream, key, **sizes), jax.random.key(0))


def decoder_training(
    config: Config, stream: Stream, make_batches: MakeCrops, initial: PyTree | None = None
) -> DecoderTraining:
    """The training phases of a stream's waveform decoder.

    Args:
        config: of the run.
        stream: whose decoder; not the codec's own.
        make_batches: see `Codec`.
        initial: as for `codecs.registry.codec_training`.

    Raises:
        UserError: the class has no `training`, or cannot start from given variables.
    """
    found, sizes = DECODERS.find(decoder_kind(config, stream))
    where = f"config.streams.{stream}.decoder={decoder_kind(config, stream)}"
    if not hasattr(found, "training"):
        raise UserError(
            f"{where}: has no `training`; initialise it from a bundle: --config.codecs_from=BUNDLE"
        )
    start = started_from(found.training, initial, where, stream)
    return found.training(config, stream, make_batches, **start, **sizes)

"""What a project needs of a model: the engine of a bundle, or a stand-in of a test."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypedDict

import numpy as np

from dualdub_jax.config import Config, SamplingConfig
from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.text.tokenizer import Tokenizer


class TrackDecoder(Protocol):
    """Decodes the tokens of one track, piece by piece.

    The concatenation of all that `push` and `flush` return is the whole track.

    Attributes:
        sample_rate_hz: of the waveform.
        num_channels: of the waveform, 1 or 2.
    """

    sample_rate_hz: int
    num_channels: int

    def push(self, tokens: np.ndarray) -> np.ndarray:
        """Takes int32[t, Q]; returns float32[s], or [s, 2] in stereo, the samples that are complete."""
        ...

    def flush(self) -> np.ndarray:
        """Ends the track; returns float32[s], or [s, 2] in stereo, the rest of its samples."""
        ...


class WindowRequest(TypedDict):
    """The tokens of one window, as arguments of `DubbingEngine.generate`."""

    video: Mapping[str, np.ndarray]
    script: str
    voice: np.ndarray | None
    acoustics: Acoustics | None
    use_speech: bool
    use_background: bool
    context: Mapping[str, np.ndarray]
    seed: int
    sampling: SamplingConfig
    speech_span: tuple[int, int] | None


class DubbingEngine(Protocol):
    """A model with its codecs.

    Attributes:
        config: of the bundle.
        tokenizer: of scripts.
        frame_specs: by row of `Batch` ("video", "video_features"), the video frames that `encode_frames`
            takes; their rates may differ from the grid's.
        decoder_kinds: by stream, the kind of its waveform decoder, "codec" for the codec's own.
    """

    config: Config
    tokenizer: Tokenizer
    frame_specs: Mapping[str, FrameSpec]
    decoder_kinds: Mapping[Stream, str]

    def encode_frames(self, row: str, frames: np.ndarray) -> np.ndarray:
        """A row of video from uint8[n, size, size, 3]: the frames, or features float32[n, D].

        Frames are encoded independently, so that a film can be encoded in blocks.
        """
        ...

    def sample_rate_hz(self, stream: Stream) -> int:
        """Sample rate of a decoded track; the streams' may differ."""
        ...

    def num_channels(self, stream: Stream) -> int:
        """Channels of a decoded track, 1 or 2; the streams' may differ."""
        ...

    def sample_acoustics(self, video: Mapping[str, np.ndarray], seed: int) -> Acoustics | None:
        """Acoustics sampled for a window of video, by row; None: no such condition."""
        ...

    def generate(
        self,
        *,
        video: Mapping[str, np.ndarray],
        script: str,
        voice: np.ndarray | None,
        acoustics: Acoustics | None = None,
        use_speech: bool,
        use_background: bool,
        context: Mapping[str, np.ndarray],
        seed: int,
        sampling: SamplingConfig,
        speech_span: tuple[int, int] | None = None,
    ) -> dict[str, np.ndarray]:
        """Tokens int32[T, Q] of the streams in use; the first frames are those of `context`.

        With `speech_span`, the script is spoken in these frames [first, end), and the speech of other new
        frames is silence.
        """
        ...

    def generate_parts(self, request: WindowRequest, part_frames: int) -> Iterator[dict[str, np.ndarray]]:
        """The tokens of `generate`, `part_frames` at a time, as they are made."""
        ...

    def generate_many(
        self, requests: Sequence[WindowRequest], rows_per_device: int
    ) -> list[dict[str, np.ndarray]]:
        """Tokens of one window each of several films, in order; as those of `generate`.

        The tokens of a window depend on its request and on `rows_per_device`, not on the other requests nor
        on the number of devices. Those of one row per device equal those of `generate`; the logits of
        several differ from them by rounding.

        Args:
            requests: 1 to `most_windows`.
            rows_per_device: windows of a batch on each device; a smaller batch is padded.
        """
        ...

    def most_windows(self, rows_per_device: int) -> int:
        """How many windows a batch holds on all devices."""
        ...

    def silence(self, num_frames: int, acoustics: Acoustics | None) -> np.ndarray:
        """Speech tokens int32[T, Q] of silence in a room, of at most a window."""
        ...

    def open_decoder(
        self,
        stream: Stream,
        voice: np.ndarray | None = None,
        acoustics: Acoustics | None = None,
        chunk_frames: int | None = None,
    ) -> TrackDecoder:
        """A decoder for one track; speech is conditioned on the reference recording.

        With `chunk_frames`, it decodes so many frames at a time, as soon as it can; None: as is fastest.
        """
        ...

"""What a codec is to the rest of the project: waveforms to tokens on the grid, and back.

Every codec puts its codes on the one time grid: frame t of `int32[B, T, Q]` covers the samples
`[t * samples_per_frame, (t + 1) * samples_per_frame)`. A codec with another rate is folded onto it (two
50 Hz codes of one codebook become two codebook slots). Source: our choice.
"""

from typing import Protocol

import jax


class CodecStream(Protocol):
    """Decodes tokens that arrive piece by piece; made by `Codec.stream`.

    The concatenation of all that `push` and `flush` return equals `decode` of all the tokens.
    """

    def push(self, tokens: jax.Array) -> jax.Array:
        """Takes int32[B, t, Q], t may be 0; returns what can be said now, float32[B, s], s may be 0."""
        ...

    def flush(self) -> jax.Array:
        """Ends the stream and returns the rest, float32[B, s]. The stream may then begin anew."""
        ...


class Codec(Protocol):
    """Waveform to tokens to waveform.

    Attributes:
        sample_rate_hz: of waveforms, both ways.
        frame_rate_hz: of tokens.
        num_codebooks: Q.
        codebook_size: tokens are in [0, codebook_size).
        latency_frames: frames that `stream` waits for beyond a frame before it can say it.
    """

    sample_rate_hz: int
    frame_rate_hz: int
    num_codebooks: int
    codebook_size: int
    latency_frames: int

    def encode(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        """Tokens of a waveform.

        Args:
            waveform: float32[B, S] in [-1, 1]; zeros complete the last frame.
            frame_mask: bool[B, T], True for frames inside the clip, a prefix of each row; None: all.
                Samples outside are not used (they may hold NaN), and the tokens there are arbitrary.

        Returns:
            int32[B, T, Q] with T = ceil(S / samples per frame).
        """
        ...

    def read_voice(self, waveform: jax.Array, frame_mask: jax.Array | None = None) -> jax.Array:
        """Whose voice a reference recording is in, for `decode`.

        Args:
            waveform: float32[B, R * samples per frame] in [-1, 1].
            frame_mask: bool[B, R], True for frames that the recording covers; None: all.

        Returns:
            float32[B, D]; D is 0 for a codec whose tokens say whose voice it is.
        """
        ...

    def decode(
        self,
        tokens: jax.Array,
        frame_mask: jax.Array | None = None,
        voice: jax.Array | None = None,
        acoustics: jax.Array | None = None,
    ) -> jax.Array:
        """The waveform of tokens.

        Args:
            tokens: int32[B, T, Q].
            frame_mask: bool[B, T], True for frames inside the clip, a prefix of each row; None: all.
                Frames outside are decoded as zeros and change nothing inside.
            voice: float32[B, D], from `read_voice`; None: no reference.
            acoustics: float32[B, 2], reverberation time in seconds and noise level in dBFS of `room.Room`; NaN or
                None: what the tokens say. A codec whose tokens say it alone ignores it.

        Returns:
            float32[B, T * samples per frame].
        """
        ...

    def stream(
        self, voice: jax.Array | None = None, acoustics: jax.Array | None = None, chunk_frames: int = 8
    ) -> CodecStream:
        """A new streaming decoder.

        Args:
            voice: as for `decode`.
            acoustics: as for `decode`.
            chunk_frames: frames decoded at once; more is faster and has more latency.
        """
        ...

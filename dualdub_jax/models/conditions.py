"""The encoded conditions of a batch, computed before the first frame."""

import flax.struct
import jax

from dualdub_jax.models.aligners.script import EncodedScript


@flax.struct.dataclass
class Conditions:
    """Encoded conditions, the inputs of aligner and backbone.

    Attributes:
        prefix: float[B, P, D], script tokens, then speaker vectors.
        prefix_mask: bool[B, P], True where valid.
        video: float[B, T, D], encoded video frames, from the video encoder.
        frame_mask: bool[B, T], True inside the clip.
        has_video: bool[B]; where False, `video` must be ignored.
        has_speech: bool[B], True where the speech stream is present.
        has_background: bool[B], True where the background stream is present.
        acoustics: float[B, D], embedded room acoustics; None for a model that is not conditioned on them.
        script: the script encoded for the script aligner; None without one.
    """

    prefix: jax.Array
    prefix_mask: jax.Array
    video: jax.Array
    frame_mask: jax.Array
    has_video: jax.Array
    has_speech: jax.Array
    has_background: jax.Array
    acoustics: jax.Array | None
    script: EncodedScript | None

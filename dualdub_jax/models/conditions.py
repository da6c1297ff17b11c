"""What the model conditions on, encoded before the first frame."""

import flax.struct
import jax

from dualdub_jax.models.aligners.script import EncodedScript


@flax.struct.dataclass
class Conditions:
    """The encoded conditions of a batch, as aligner and backbone see them.

    Attributes:
        prefix: float[B, P, D], script tokens, then speaker vectors.
        prefix_mask: bool[B, P], True where valid.
        video: float[B, T, D], encoded video frames, from the video encoder.
        frame_mask: bool[B, T], True inside the clip.
        has_video: bool[B], False where there is no video: `video` is then to be ignored.
        has_speech: bool[B], the speech stream exists.
        has_background: bool[B], the background stream exists.
        acoustics: float[B, D], embedded room acoustics; None for a model that is not conditioned on them.
        script: the script as the script aligner attends to it; None without one.
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

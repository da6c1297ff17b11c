"""Types shared by every layer: the time grid, the batch, the two streams.

Axis letters, everywhere in this project: B batch, T audio frames (the 25 Hz grid), F video frames,
L script tokens, R reference-voice frames, N heads, H head dimension, D model width, V vocabulary,
Q codebooks, S samples.
"""

from typing import Literal

import flax.struct
import jax
import numpy as np

Array = jax.Array | np.ndarray
Stream = Literal["speech", "background"]

# Order matters nowhere but in logs: the two streams are always addressed by name.
STREAMS: tuple[Stream, Stream] = ("speech", "background")


@flax.struct.dataclass
class Batch:
    """One training batch, with all tasks of the curriculum in one format.

    What an example does not have is said by its `has_*` flags: an absent condition is replaced by a
    learned null inside the model, an absent target has zero loss weight. The content of an absent
    field is ignored, whatever it is (tests fill it with garbage). Masks are True where valid.

    Attributes:
        video: uint8[B, T, height, width, 3], RGB frames on the audio grid.
        frame_mask: bool[B, T], True for frames inside the clip.
        script_tokens: int32[B, L], ids of the script tokenizer, begin and end markers included.
        script_mask: bool[B, L], True for tokens of the script.
        script_alignment: int32[B, T], index of the token that is being said in each frame: the begin marker
            before the first word, the end marker after the last; -1 where it is not known. Only losses
            read it.
        voice: float32[B, R * samples_per_frame], reference recording in [-1, 1].
        voice_mask: bool[B, R], True for grid frames that the reference recording covers.
        acoustics: float32[B, 2], reverberation time in seconds, noise level in dBFS: `dsp.acoustics.Room`.
        speech_tokens: int32[B, T, Q_speech], codec tokens of the speech stem.
        background_tokens: int32[B, T, Q_background], codec tokens of the background stem.
        has_video: bool[B].
        has_script: bool[B]; an example whose script is known to be empty has True (and no speech).
        has_voice: bool[B].
        has_acoustics: bool[B], the room is known.
        has_speech: bool[B], the speech stem is a target (it may be silence).
        has_background: bool[B], the background stem is a target.
    """

    video: Array
    frame_mask: Array
    script_tokens: Array
    script_mask: Array
    script_alignment: Array
    voice: Array
    voice_mask: Array
    acoustics: Array
    speech_tokens: Array
    background_tokens: Array
    has_video: Array
    has_script: Array
    has_voice: Array
    has_acoustics: Array
    has_speech: Array
    has_background: Array


@flax.struct.dataclass
class PartlyKnownBatch(Batch):
    """A training batch some of whose past is hidden: `training.step.mask_past`.

    Attributes:
        speech_is_known: bool[B, T], False where frame t is predicted without its predecessor.
        background_is_known: bool[B, T], likewise.
    """

    speech_is_known: Array
    background_is_known: Array

"""The reference recording of an example: whole frames of it, and a mask."""

import numpy as np

from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.errors import UserError


def no_voice(samples_per_frame: int, num_frames: int) -> dict[str, np.ndarray]:
    """`decode_voice` of nothing."""
    return {
        "voice": np.zeros(num_frames * samples_per_frame, np.float32),
        "voice_mask": np.zeros(num_frames, np.bool_),
    }


def decode_voice(
    flac: bytes, clip: str, sample_rate_hz: int, samples_per_frame: int, num_frames: int
) -> dict[str, np.ndarray]:
    """A reference recording: "voice" float32[R * samples_per_frame], "voice_mask" bool[R].

    Args:
        flac: the encoded recording.
        clip: for errors.
        sample_rate_hz: of the result.
        samples_per_frame: of the frames that the mask counts.
        num_frames: R; what is longer is cut.

    Raises:
        UserError: no sound that can be read, or less than a frame of it.
    """
    return whole_frames(
        record_lib.decode_voice(flac, clip, sample_rate_hz), clip, samples_per_frame, num_frames
    )


def whole_frames(
    samples: np.ndarray, clip: str, samples_per_frame: int, num_frames: int
) -> dict[str, np.ndarray]:
    """`decode_voice` of float32[S]."""
    # Whole frames only: a frame that is half padding would look like a voice that fades.
    covered = min(len(samples) // samples_per_frame, num_frames)
    if covered < 1:
        raise UserError(f"{clip}: its voice is shorter than one frame; build the dataset again")
    voice = no_voice(samples_per_frame, num_frames)
    voice["voice"][: covered * samples_per_frame] = samples[: covered * samples_per_frame]
    voice["voice_mask"][:covered] = True
    return voice

"""A reference recording as whole frames of fixed number, for the model and for codecs."""

import numpy as np


def whole_frames(
    voice: np.ndarray | None, samples_per_frame: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Truncates or pads a recording to whole frames: float32[R * samples_per_frame], and its mask bool[R]."""
    samples, covered = np.zeros(num_frames * samples_per_frame, np.float32), 0
    if voice is not None:
        voice = np.asarray(voice, np.float32)[: len(samples)]
        covered = len(voice) // samples_per_frame
        samples[: covered * samples_per_frame] = voice[: covered * samples_per_frame]
    return samples, np.arange(num_frames) < covered

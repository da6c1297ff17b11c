"""A stem on its way from a record to codec tokens, which are made a batch at a time (`stem_tokens.py`)."""

import dataclasses

import numpy as np

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.data_pipeline import record as record_lib


@dataclasses.dataclass(frozen=True)
class Stem:
    """A stem that waits to be tokenised; empty `flac` means that there is none.

    Attributes:
        clip: "dataset:id", unique in a mixture.
        flac: the encoded stem of the whole clip.
        duration_s: length of the whole clip, seconds.
        clip_frames: the same in grid frames, the last one completed.
        start_frame: first frame of the window in the clip, grid frames.
        num_frames: length of the window's part of the clip, grid frames.
        tokens: int32[clip_frames, Q] of the whole clip, if they are prepared.
        is_augmented: the stem is another one in each epoch.
    """

    clip: str
    flac: bytes
    duration_s: float
    clip_frames: int
    start_frame: int
    num_frames: int
    tokens: np.ndarray | None = None
    is_augmented: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether its tokens are the same in every epoch: a whole clip that is not augmented."""
        return self.num_frames == self.clip_frames and not self.is_augmented

    def decode(self, spec: CodecSpec) -> np.ndarray:
        """The window's part of the stem, zeros completing the clip's last frame.

        Args:
            spec: of the codec on the grid.

        Returns:
            float32[num_frames * samples_per_frame] at the codec's sample rate.

        Raises:
            UserError: not mono audio, or not as long as the clip.
        """
        start, num_samples = (n * spec.samples_per_frame for n in (self.start_frame, self.num_frames))
        samples = record_lib.decode_stem(
            self.flac, self.clip, self.duration_s, spec.sample_rate_hz, start, start + num_samples
        )
        return np.pad(samples, (0, num_samples - len(samples)))

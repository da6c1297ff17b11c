"""The video of each window, decoded and encoded as the windows need it.

A model's frames have a rate of their own; each frame of the time grid takes the one nearest in time. No more
than one window of frames is held. Source: our choice.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.media.film import FilmReader


class WindowFrames:
    """Video of consecutive, possibly overlapping windows."""

    def __init__(self, reader: FilmReader, engine: DubbingEngine, num_frames: int) -> None:
        """Begins at the film's first frame.

        Args:
            reader: an open film whose frames have not been read.
            engine: encodes the frames.
            num_frames: of the film, on the engine's time grid.
        """
        spec = engine.frame_spec
        self._frames_per_step = spec.frame_rate / engine.config.grid.frame_rate
        blocks = reader.blocks(spec, self._nearest(num_frames - 1) + 1)
        self._blocks: Iterator[np.ndarray] = map(engine.encode_frames, blocks)
        self._held: np.ndarray | None = None  # encoded frames from `_first` on
        self._first = 0

    def _nearest(self, step: int) -> int:
        """The frame on screen in the middle of a step of the time grid."""
        return int((step + Fraction(1, 2)) * self._frames_per_step)

    def take(self, first: int, end: int) -> np.ndarray:
        """The video of grid frames [first, end); neither `first` nor `end` may fall from call to call.

        Returns:
            What `encode_frames` returns, with end - first rows.

        Raises:
            ValueError: a frame before those of the last call.
        """
        wanted = np.array([self._nearest(step) for step in range(first, end)])
        if wanted[0] < self._first:
            raise ValueError(f"frame {wanted[0]} is gone; frames are held from {self._first} on")
        while self._held is None or self._first + len(self._held) <= wanted[-1]:
            block = next(self._blocks)
            self._held = block if self._held is None else np.concatenate([self._held, block])
        self._held = self._held[wanted[0] - self._first :]
        self._first = int(wanted[0])
        return self._held[wanted - self._first]

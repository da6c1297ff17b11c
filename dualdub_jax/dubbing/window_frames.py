"""The video of each window, decoded and encoded as the windows need it.

A model reads one or more rows of video, such as pixels and features, each at a frame rate of its own; each
frame of the time grid takes the one nearest in time. About one window of frames is held. Source: our choice.
"""

from fractions import Fraction

import numpy as np

from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.media.film import FilmReader


class WindowFrames:
    """Video of consecutive, possibly overlapping windows."""

    def __init__(self, reader: FilmReader, engine: DubbingEngine, num_frames: int) -> None:
        """Starts at the film's first frame.

        Args:
            reader: an open film whose frames have not been read.
            engine: encodes the frames.
            num_frames: of the film, on the engine's time grid.
        """
        specs, frame_rate = engine.frame_specs, engine.config.grid.frame_rate
        self._encode = engine.encode_frames
        self._frames_per_step = {row: spec.frame_rate / frame_rate for row, spec in specs.items()}
        self._blocks = reader.named_blocks(
            {row: (spec, self._nearest(row, num_frames - 1) + 1) for row, spec in specs.items()}
        )
        self._held: dict[str, list[np.ndarray]] = {row: [] for row in specs}  # encoded, from `_first` on
        self._first = dict.fromkeys(specs, 0)

    def _nearest(self, row: str, step: int) -> int:
        """The frame on screen in the middle of a step of the time grid."""
        return int((step + Fraction(1, 2)) * self._frames_per_step[row])

    def take(self, first: int, end: int) -> dict[str, np.ndarray]:
        """The video of grid frames [first, end); neither `first` nor `end` may fall from call to call.

        Returns:
            By row, what `encode_frames` returns, with end - first frames.

        Raises:
            ValueError: a frame before those of the last call.
        """
        self._wanted = {row: self._nearest(row, first) for row in self._held}
        return {row: self._take(row, first, end) for row in self._held}

    def _take(self, row: str, first: int, end: int) -> np.ndarray:
        wanted = [self._nearest(row, step) for step in range(first, end)]
        if wanted[0] < self._first[row]:
            raise ValueError(f"frame {wanted[0]} is gone; frames are held from {self._first[row]} on")
        while self._first[row] + len(self._held[row]) <= wanted[-1]:
            name, block = next(self._blocks)
            block_end = self._first[name] + len(self._held[name]) + len(block)
            if block_end <= self._wanted[name]:  # as in windows that are done already: not encoded
                self._held[name], self._first[name] = [], block_end
            else:
                self._held[name].extend(self._encode(name, block))
        del self._held[row][: wanted[0] - self._first[row]]
        self._first[row] = wanted[0]
        return np.stack([self._held[row][frame - wanted[0]] for frame in wanted])

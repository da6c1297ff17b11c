"""Mono and stereo tracks on disk, written and read in blocks: 16-bit WAV files, and bare floats in between.

A 16-bit sample is a multiple of 1/32768, and so are the samples of finished tracks: they survive to the bit.
"""

import pathlib
import wave
from collections.abc import Iterable
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

_SCALE = 32768.0


class Samples(Protocol):
    """A signal that is read in slices: an array float32[S], or [S, 2] in stereo; or a `Track`."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...


def as_mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels, float32[S]; mono samples as they are."""
    return samples if samples.ndim == 1 else samples.mean(axis=1)


class Track:
    """A 16-bit WAV file as float32[S], or [S, 2] in stereo; a slice reads no more than itself.

    Attributes:
        path: the file.
        sample_rate_hz, num_channels: of the samples.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Reads the header."""
        self.path = path
        with soundfile.SoundFile(path) as file:
            self.sample_rate_hz, self._length = file.samplerate, file.frames
            self.num_channels = file.channels

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> np.ndarray:
        """float32[n], or [n, 2], of a slice of step 1."""
        start, stop, step = part.indices(self._length)
        if step != 1:
            raise ValueError(f"a track is read in steps of 1, not {step}")
        with soundfile.SoundFile(self.path) as file:
            file.seek(start)
            return file.read(max(0, stop - start), dtype="float32")

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """The whole track."""
        return self[:].astype(dtype or np.float32)


class MonoView:
    """The mean of a track's channels, read in slices; implements `Samples`.

    Args:
        track: mono or stereo.
    """

    def __init__(self, track: Samples) -> None:
        self._track = track

    def __len__(self) -> int:
        return len(self._track)

    def __getitem__(self, part: slice) -> np.ndarray:
        """float32[n] of a slice of step 1."""
        return as_mono(self._track[part])


class WavWriter:
    """Writes float[n] blocks as a 16-bit WAV file, float[n, 2] as stereo; a context manager.

    Samples on the 16-bit lattice are kept exactly.
    """

    def __init__(self, file: pathlib.Path | BinaryIO, sample_rate_hz: int, num_channels: int = 1) -> None:
        """Begins the file."""
        self._file = wave.open(str(file) if isinstance(file, pathlib.Path) else file, "wb")  # noqa: SIM115
        self._file.setnchannels(num_channels)
        self._file.setsampwidth(2)
        self._file.setframerate(sample_rate_hz)

    def __enter__(self) -> "WavWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, samples: np.ndarray) -> None:
        """Appends samples.

        Raises:
            ValueError: a sample is outside [-1, 1).
            OSError: the file cannot be written.
        """
        integers = np.round(np.asarray(samples, np.float64) * _SCALE)
        if integers.size and (integers.min() < -_SCALE or integers.max() >= _SCALE):
            raise ValueError("samples outside [-1, 1) would be clipped")
        self._file.writeframesraw(integers.astype("<i2").tobytes())


class FloatFile:
    """A file of bare 32-bit samples, written in blocks and read in slices: an intermediate result.

    Attributes:
        path: the file.
        num_channels: interleaved.
    """

    def __init__(self, path: pathlib.Path, num_channels: int = 1) -> None:
        """Names the file."""
        self.path, self.num_channels = path, num_channels

    def __len__(self) -> int:
        return self.path.stat().st_size // (4 * self.num_channels)

    def __getitem__(self, part: slice) -> np.ndarray:
        """float32[n], or [n, 2], of a slice of step 1."""
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"a track is read in steps of 1, not {step}")
        count = max(0, stop - start) * self.num_channels
        samples = np.fromfile(self.path, "<f4", count, offset=4 * self.num_channels * start)
        return samples if self.num_channels == 1 else samples.reshape(-1, self.num_channels)

    def write(self, blocks: Iterable[np.ndarray]) -> None:
        """Writes the file anew from float32[n], or [n, 2], blocks.

        Raises:
            OSError: it cannot be written.
        """
        with self.path.open("wb") as file:
            for block in blocks:
                file.write(np.asarray(block, "<f4").tobytes())

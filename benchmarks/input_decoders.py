"""From a clip to what a batch holds, the work that `input_loaders.py` gives to ours and to torch's loader.

Decoding processes import this module, and nothing that they do not need.
"""

import io
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import soundfile
import soxr

from dualdub_jax.config import Config
from dualdub_jax.data_pipeline.frame_times import num_frames_of
from dualdub_jax.data_pipeline.record import Record, decode_stem
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.media.record_video import decode_frames
from dualdub_jax.types import STREAMS

_RATE_HZ = 24_000  # stems are resampled to it, as a codec asks


class Decode:
    """Record or loose files to what a batch holds: the work of both loaders. A `replacement.Transform`."""

    def __init__(self, config: Config) -> None:
        self._grid = config.grid

    def begin(self, rng: np.random.Generator) -> Callable[[Record], dict[str, Any]]:
        """See `replacement.Transform`."""
        return self

    def __call__(self, clip: Record) -> dict[str, Any]:
        grid = self._grid
        length_s = float(clip["duration_s"])
        num_frames = min(num_frames_of(length_s, grid.frame_rate), grid.num_frames)
        size = grid.frame_size
        made: dict[str, Any] = {"video": np.zeros((grid.num_frames, size, size, 3), np.uint8)}
        spec = FrameSpec(grid.frame_rate, size)
        decode_frames(clip["video"], spec, 0, num_frames, out=made["video"][:num_frames])
        for stream in STREAMS:
            samples = decode_stem(clip[stream], "clip", length_s, _RATE_HZ)
            crop = samples[: int(grid.num_frames / grid.frame_rate * _RATE_HZ)]
            made[stream] = np.pad(crop, (0, int(grid.num_frames / grid.frame_rate * _RATE_HZ) - len(crop)))
        return made | {"example_ids": ""}


class PlainDecode:
    """As `Decode`, in the lines that a torch data set usually has: clips of constant rate, whole stems."""

    def __init__(self, config: Config) -> None:
        self._grid = config.grid

    def __call__(self, clip: Record) -> dict[str, Any]:
        import torch

        grid = self._grid
        with av.open(io.BytesIO(clip["video"])) as container:
            container.streams.video[0].thread_count = 1  # the workers share the cores already
            decoded = itertools.islice(container.decode(video=0), grid.num_frames)
            frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
        pictures = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
        size = (grid.frame_size, grid.frame_size)
        if pictures.shape[2:] != size:
            pictures = torch.nn.functional.interpolate(pictures.float(), size, mode="area").to(torch.uint8)
        video = torch.zeros((grid.num_frames, 3, *size), dtype=torch.uint8)
        video[: len(pictures)] = pictures
        made: dict[str, Any] = {"video": video, "example_ids": ""}
        num_samples = int(grid.num_frames / grid.frame_rate * _RATE_HZ)
        for stream in STREAMS:
            samples, rate_hz = soundfile.read(io.BytesIO(clip[stream]), dtype="float32")
            crop = torch.from_numpy(soxr.resample(samples, rate_hz, _RATE_HZ)[:num_samples])
            made[stream] = torch.nn.functional.pad(crop, (0, num_samples - len(crop)))
        return made


class Files:
    """Clips as loose files, a torch dataset."""

    def __init__(
        self, folder: pathlib.Path, records: list[Record], decode: Callable[[Record], dict[str, Any]]
    ) -> None:
        self._folder, self._decode = folder, decode
        self._lengths_s = [float(clip["duration_s"]) for clip in records]
        for number, clip in enumerate(records):
            for field in ("video", *STREAMS):
                (folder / f"{number}.{field}").write_bytes(clip[field])

    def __len__(self) -> int:
        return len(self._lengths_s)

    def __getitem__(self, number: int) -> dict[str, Any]:
        files = {name: (self._folder / f"{number}.{name}").read_bytes() for name in ("video", *STREAMS)}
        made = self._decode(files | {"duration_s": self._lengths_s[number]})
        del made["example_ids"]
        return made

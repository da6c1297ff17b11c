"""What a host batch holds; its device form is `dualdub_jax.types.Batch`. Source: our choice."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.config import GridConfig


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a batch. `shape` is per example; letters as in `dualdub_jax.types`."""

    shape: tuple[int, ...]
    dtype: type
    doc: str


def batch_fields(
    grid: GridConfig, num_speech_codebooks: int, num_background_codebooks: int
) -> dict[str, Field]:
    """The fields of a batch on `grid`: name -> `Field`, in the order of `types.Batch`."""
    t, size = grid.num_frames, grid.frame_size
    return {
        "video": Field((t, size, size, 3), np.uint8, "RGB frames; zeros where frame_mask is False"),
        "frame_mask": Field((t,), np.bool_, "True inside the clip"),
        "script_tokens": Field((grid.num_script_tokens,), np.int32, "script token ids; 0 where masked"),
        "script_mask": Field((grid.num_script_tokens,), np.bool_, "True for the script's tokens"),
        "script_alignment": Field((t,), np.int32, "the script token said in each frame; -1 where not known"),
        "voice": Field((grid.num_voice_frames * grid.samples_per_frame,), np.float32, "samples in [-1, 1]"),
        "voice_mask": Field((grid.num_voice_frames,), np.bool_, "True for frames the recording covers"),
        "acoustics": Field((2,), np.float32, "reverberation time in seconds, noise level in dBFS"),
        "speech_tokens": Field((t, num_speech_codebooks), np.int32, "codec tokens of the speech stem"),
        "background_tokens": Field((t, num_background_codebooks), np.int32, "codec tokens of the background"),
        "has_video": Field((), np.bool_, "the video is a condition"),
        "has_script": Field((), np.bool_, "the script is known"),
        "has_voice": Field((), np.bool_, "the reference voice is a condition"),
        "has_acoustics": Field((), np.bool_, "the room is known"),
        "has_speech": Field((), np.bool_, "the speech stem is a target"),
        "has_background": Field((), np.bool_, "the background stem is a target"),
    }


def validate_batch(batch: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Checks names, shapes, dtypes and the number of rows of a host batch.

    Raises:
        ValueError: naming the first field that is missing, unknown, or of another shape or dtype.
    """
    unknown = set(batch) - set(fields)
    if unknown:
        raise ValueError(f"batch has unknown fields {sorted(unknown)}")
    num_rows: int | None = None
    for name, field in fields.items():
        if name not in batch:
            raise ValueError(f"batch lacks {name}: {field.doc}")
        value = np.asarray(batch[name])
        if value.ndim == 0 or value.shape[1:] != field.shape or value.dtype != field.dtype:
            shape = ", ".join(["B", *map(str, field.shape)])
            raise ValueError(
                f"{name}: expected {np.dtype(field.dtype).name}[{shape}], "
                f"got {value.dtype.name}{list(value.shape)}"
            )
        if num_rows is None:
            first, num_rows = name, len(value)
        elif len(value) != num_rows:
            raise ValueError(f"{name}: has {len(value)} rows, {first} has {num_rows}")

"""Batches of a config, derived from the table of fields in `types.Batch`: shapes, examples, validation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.config import Config
from dualdub_jax.encoders.base import video_inputs
from dualdub_jax.errors import UserError
from dualdub_jax.types import ROWS, STREAMS, Batch, Row


class Field(NamedTuple):
    """A row of the table and the shape of one example under a config."""

    row: Row
    shape: tuple[int, ...]


def axis_sizes(config: Config) -> dict[str, int]:
    """The size of each axis letter of `types.Batch`."""
    grid = config.grid
    return {
        "T": grid.num_frames,
        "L": grid.num_script_tokens,
        "R": grid.num_voice_frames,
        "S_voice": grid.num_voice_frames * grid.samples_per_frame,
        "height": grid.frame_size,
        "width": grid.frame_size,
        "D_video": config.model.video.feature_dim,
        **{f"Q_{stream}": grid_spec(config, stream).num_codebooks for stream in STREAMS},
    }


def batch_fields(config: Config) -> dict[str, Field]:
    """The fields of a config's batches by name, in the order of the table.

    Optional rows are included only if the config's video encoder reads them.
    """
    sizes, inputs = axis_sizes(config), video_inputs(config.model)
    return {
        row.name: Field(row, tuple(sizes[axis] if axis in sizes else int(axis) for axis in row.axes))
        for row in ROWS
        if not row.is_derived and (not row.is_optional or row.name in inputs)
    }


def empty_example(config: Config) -> dict[str, np.ndarray]:
    """The fields of an example without any part: all flags and masks False, hence no loss."""
    return {
        # Pages of zeros are not touched before they are written: most are frames.
        name: (
            np.full(field.shape, field.row.fill, field.row.dtype)
            if field.row.fill
            else np.zeros(field.shape, field.row.dtype)
        )
        for name, field in batch_fields(config).items()
    }


def example_batch(config: Config, batch_size: int = 1) -> Batch:
    """A batch for initialisation: every field's shape and dtype, all masks and flags True."""
    return Batch(
        **{
            name: jnp.full(
                (batch_size, *field.shape),
                True if field.row.dtype == "bool" else field.row.fill,
                field.row.dtype,
            )
            for name, field in batch_fields(config).items()
        }
    )


def check_tokens(batch: Mapping[str, Any], config: Config) -> None:
    """Checks that codec and script tokens of a host batch are those of the config's vocabularies.

    Args:
        batch: host batch, by field, and "example_ids".
        config: of the run.

    Raises:
        UserError: names the first clip with a token that is out of range.
    """
    sizes = {f"{stream}_tokens": grid_spec(config, stream).codebook_size for stream in STREAMS}
    for name, size in (*sizes.items(), ("script_tokens", config.model.script_vocab_size)):
        tokens = batch[name]
        wrong = ((tokens < 0) | (tokens >= size)).reshape(len(tokens), -1)
        if wrong.any():
            row = int(np.argmax(wrong.any(axis=1)))
            least, most = int(tokens[row].min()), int(tokens[row].max())
            raise UserError(
                f"{batch['example_ids'][row]}: its {name} are {least} to {most}, expected 0 to {size - 1}; "
                "make them with the codec and the tokenizer of this config"
            )


def validate_batch(batch: Mapping[str, Any], config: Config) -> None:
    """Checks names, shapes, dtypes and the number of rows of a host batch.

    Args:
        batch: host batch, by field.
        config: of the run.

    Raises:
        ValueError: names the first field that is missing, unknown, or of another shape or dtype.
    """
    fields = batch_fields(config)
    if unknown := sorted(set(batch) - set(fields)):
        raise ValueError(f"batch has unknown fields {unknown}")
    num_rows: int | None = None
    for name, (row, expected) in fields.items():
        if name not in batch:
            raise ValueError(f"batch lacks {name}: {row.doc}")
        value = np.asarray(batch[name])
        if value.ndim == 0 or value.shape[1:] != expected or value.dtype != row.dtype:
            shape = ", ".join(["B", *map(str, expected)])
            raise ValueError(
                f"{name}: expected {row.dtype}[{shape}], got {value.dtype.name}{list(value.shape)}"
            )
        if num_rows is None:
            first, num_rows = name, len(value)
        elif len(value) != num_rows:
            raise ValueError(f"{name}: has {len(value)} rows, {first} has {num_rows}")

"""Types shared by every layer: the two streams, and the batch, defined as one table of fields.

Axis letters, everywhere in this project: B batch, T frames of the time grid, F video frames, L script tokens,
R grid frames of the reference voice, N heads, H head dimension, D model width, V vocabulary, Q codebooks,
S samples.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import numpy as np

from dualdub_jax.config.streams import STREAMS
from dualdub_jax.config.streams import Stream as Stream

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """One field of a batch.

    Attributes:
        name: of the field.
        axes: letters of its axes after B, sized by the config (`models.batch.axis_sizes`), or numbers.
        dtype: name of the NumPy dtype.
        doc: content and units.
        part: the condition or target that it belongs to; the flag `has_<part>` marks the examples with it.
        fill: value in an example without the part.
        is_optional: present only if the config's model reads it; None otherwise.
        is_derived: set by the training step, never by the loader.
    """

    name: str
    axes: tuple[str, ...]
    dtype: str
    doc: str
    part: str = ""
    fill: float = 0
    is_optional: bool = False
    is_derived: bool = False


def _row(
    axes: str,
    dtype: str,
    doc: str,
    *,
    part: str = "",
    fill: float = 0,
    optional: bool = False,
    derived: bool = False,
) -> Any:
    """A field of `Batch`; see `Row`."""
    values = {"axes": tuple(axes.split()), "dtype": dtype, "doc": doc, "part": part, "fill": fill}
    values |= {"is_optional": optional or derived, "is_derived": derived}
    default = {"default": None} if optional or derived else {}
    return flax.struct.field(metadata={"row": values}, **default)


def _with_flags(table: type) -> type:
    """Adds a flag `has_<part>`, bool[B], for every part that a row of the table names."""
    parts = dict.fromkeys(
        f.metadata["row"]["part"] for f in vars(table).values() if isinstance(f, dataclasses.Field)
    )
    for part in filter(None, parts):
        table.__annotations__[f"has_{part}"] = Array
        setattr(table, f"has_{part}", _row("", "bool", f"True if the example has {part}"))
    return flax.struct.dataclass(table, kw_only=True)


@_with_flags
class Batch:
    """A batch of any curriculum task; this table is the only definition of its fields.

    The flags `has_video`, `has_script`, … (bool[B]; one for each `part` below) mark the parts of each
    example. The model replaces an absent condition by a learned null; an absent target has zero loss weight.
    The content of an absent field is ignored (tests fill it with garbage). Masks are True where valid. A
    script known to be empty has `has_script` True and no speech; a target stem may be silent. A new condition
    adds one row: the loader's examples, shape checks, the example batch for initialisation and the batch of
    generation follow from this table (`models/batch.py`).
    """

    video: Array = _row(
        "T height width 3",
        "uint8",
        "RGB frames on the grid; zeros outside the clip",
        part="video",
        optional=True,
    )
    video_features: Array = _row(
        "T D_video", "float32", "precomputed video features, nearest neighbour in time", part="video",
        optional=True,
    )  # fmt: skip
    frame_mask: Array = _row("T", "bool", "True inside the clip")
    script_tokens: Array = _row(
        "L", "int32", "ids of the script tokenizer, begin and end markers included", part="script"
    )
    script_mask: Array = _row("L", "bool", "True for tokens of the script", part="script")
    script_alignment: Array = _row(
        "T",
        "int32",
        "index of the token spoken in each frame: the begin marker before the first word, the end marker "
        "after the last; -1 where unknown. Read by losses only",
        fill=-1,
    )
    voice: Array = _row("S_voice", "float32", "reference recording in [-1, 1]", part="voice")
    voice_mask: Array = _row("R", "bool", "True for grid frames that the recording covers", part="voice")
    acoustics: Array = _row(
        "2", "float32", "reverberation time in seconds and noise level in dBFS", part="acoustics"
    )
    speech_tokens: Array = _row("T Q_speech", "int32", "codec tokens of the speech stem", part="speech")
    background_tokens: Array = _row(
        "T Q_background", "int32", "codec tokens of the background stem", part="background"
    )
    speech_is_known: Array = _row(
        "T",
        "bool",
        "False where frame t is predicted with frame t - 1 masked; None: nowhere",
        derived=True,
    )
    background_is_known: Array = _row("T", "bool", "as `speech_is_known`", derived=True)


ROWS: tuple[Row, ...] = tuple(Row(f.name, **f.metadata["row"]) for f in dataclasses.fields(Batch))
# Conditions and targets; each has a flag `has_<part>`.
PARTS: tuple[str, ...] = tuple(dict.fromkeys(row.part for row in ROWS if row.part))
# The parts that condition the model and can be dropped in training.
CONDITIONS: tuple[str, ...] = tuple(part for part in PARTS if part not in STREAMS)

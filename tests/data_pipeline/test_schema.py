"""The contract of a host batch."""

import dataclasses

import numpy as np
import pytest
from data_pipeline.schema import batch_fields, validate_batch

from dualdub_jax.config import GridConfig
from dualdub_jax.types import Batch

FIELDS = batch_fields(GridConfig(num_frames=4, frame_size=8), 3, 2)


def make_batch() -> dict[str, np.ndarray]:
    return {name: np.zeros((2, *field.shape), field.dtype) for name, field in FIELDS.items()}


def test_batch_fields_are_those_of_the_device_batch() -> None:
    assert list(FIELDS) == [field.name for field in dataclasses.fields(Batch)]


def test_a_good_batch_passes() -> None:
    validate_batch(make_batch(), FIELDS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("video", np.zeros((2, 4, 8, 8, 1), np.uint8), r"video: expected uint8\[B, 4, 8, 8, 3\], got uint8"),
        ("has_voice", np.zeros(2, np.int32), r"has_voice: expected bool\[B\], got int32\[2\]"),
        ("sound", np.zeros(2), r"unknown fields \['sound'\]"),
    ],
)
def test_a_bad_field_is_named(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_batch({**make_batch(), name: value}, FIELDS)


def test_a_missing_field_is_named() -> None:
    batch = make_batch()
    del batch["voice_mask"]
    with pytest.raises(ValueError, match="lacks voice_mask"):
        validate_batch(batch, FIELDS)


def test_rows_that_disagree_in_number_are_named() -> None:
    with pytest.raises(ValueError, match="speech_tokens: has 3 rows, video has 2"):
        validate_batch({**make_batch(), "speech_tokens": np.zeros((3, 4, 3), np.int32)}, FIELDS)

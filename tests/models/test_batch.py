"""The contract of a host batch."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import batch_fields, check_tokens, validate_batch
from dualdub_jax.types import Batch
from tests.tiny import tiny_config

CONFIG = tiny_config()
FIELDS = batch_fields(CONFIG)


def make_batch() -> dict[str, np.ndarray]:
    return {name: np.zeros((2, *field.shape), field.row.dtype) for name, field in FIELDS.items()}


def test_batch_fields_are_those_of_the_device_batch_that_the_encoder_reads() -> None:
    names = [field.name for field in dataclasses.fields(Batch)]
    assert list(FIELDS) == [name for name in names if name in FIELDS]
    assert {"video", "speech_tokens", "has_voice"} <= set(FIELDS) and "video_features" not in FIELDS
    video = dataclasses.replace(CONFIG.model.video, kind="features", feature_dim=7)
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, video=video))
    fields = batch_fields(config)
    assert "video" not in fields and fields["video_features"].shape == (12, 7)


def test_a_good_batch_passes() -> None:
    validate_batch(make_batch(), CONFIG)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("video", np.zeros((2, 4, 8, 8, 1), np.uint8), r"expected uint8\[B, 12, 16, 16, 3\], got uint8\[2"),
        ("has_voice", np.zeros(2, np.int32), r"has_voice: expected bool\[B\], got int32\[2\]"),
        ("sound", np.zeros(2), r"unknown fields \['sound'\]"),
    ],
)
def test_a_bad_field_is_named(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_batch({**make_batch(), name: value}, CONFIG)


def test_a_missing_field_is_named() -> None:
    batch = make_batch()
    del batch["voice_mask"]
    with pytest.raises(ValueError, match="lacks voice_mask"):
        validate_batch(batch, CONFIG)


def test_rows_that_disagree_in_number_are_named() -> None:
    with pytest.raises(ValueError, match="speech_tokens: has 3 rows, video has 2"):
        validate_batch({**make_batch(), "speech_tokens": np.zeros((3, 12, 3), np.int32)}, CONFIG)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("speech_tokens", 16, "b: its speech_tokens are 0 to 16, expected 0 to 15"),
        ("background_tokens", -1, "b: its background_tokens are -1 to 0, expected 0 to 15"),
        ("script_tokens", 259, "b: its script_tokens are 0 to 259, expected 0 to 258"),
    ],
)
def test_tokens_out_of_range_name_their_clip(name: str, value: int, message: str) -> None:
    batch = make_batch() | {"example_ids": ["a", "b"]}
    check_tokens(batch, CONFIG)
    batch[name][1].flat[-1] = value
    with pytest.raises(UserError, match=message):
        check_tokens(batch, CONFIG)

"""Crops of stems for the training of codecs: their place, their phonemes, silence, and missing stems."""

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dualdub_jax.codecs.base import CodecSpec
from dualdub_jax.data_pipeline.replacement import ReplaceBad
from dualdub_jax.data_pipeline.stem_crops import CropStem
from dualdub_jax.errors import UserError
from dualdub_jax.text.phonemes import PAUSE, SYMBOLS
from tests.tiny_dataset import SAMPLES_PER_FRAME, flac_bytes, make_record, sine_flac

SPEC = CodecSpec(16_000, Fraction(25), 3, 16)


def _crops(records: list[dict[str, Any]], count: int, **options: Any) -> list[dict[str, Any]]:
    crop = CropStem("films/a", "speech", SPEC, 4, Fraction(8, 25), **options)
    rng = np.random.default_rng(0)
    draw = ReplaceBad("films/a", records, crop)
    return [draw.random_map(0, rng) for _ in range(count)]


def test_crops_are_pieces_of_the_stem() -> None:
    samples = np.sin(np.arange(10 * SAMPLES_PER_FRAME) ** 1.5) / 2
    (crop,) = _crops([make_record("x", speech=flac_bytes(samples))], 1, silence_rate=0.0)
    windows = np.lib.stride_tricks.sliding_window_view(samples, 4 * SAMPLES_PER_FRAME)
    assert crop["example_ids"] == "films/a:x"
    assert np.abs(windows - crop["waveform"]).max(axis=1).min() < 1e-4


def test_crops_have_the_phoneme_of_each_half_frame() -> None:
    """A frame has 640 samples, 40 ms; the phonemes follow from the place of the crop in its clip."""
    samples = np.sin(np.arange(10 * SAMPLES_PER_FRAME) ** 1.5) / 2
    events = json.dumps({"speech": {"phonemes": [["s", 0.0, 0.1], ["ˈɛ", 0.1, 0.2], ["?", 0.2, 0.3]]}})
    stem = flac_bytes(samples)
    windows = np.lib.stride_tricks.sliding_window_view(samples, 4 * SAMPLES_PER_FRAME)
    for crop in _crops([make_record("x", speech=stem, events=events)], 20, silence_rate=0.0):
        start = int(np.abs(windows - crop["waveform"]).max(axis=1).argmin())
        middles_s = (start + 320 * (np.arange(8) + 0.5)) / 16_000
        expected = np.select(
            [middles_s < 0.1, middles_s < 0.2, middles_s < 0.3], [SYMBOLS["s"], SYMBOLS["ɛ"], -1]
        )
        assert crop["phonemes"].tolist() == expected.tolist()
    (crop,) = _crops([make_record("x", speech=stem)], 1, silence_rate=0.0)
    assert crop["phonemes"].tolist() == [-1] * 8
    (crop,) = _crops([make_record("x", speech=stem)], 1, silence_rate=1.0)
    assert crop["phonemes"].tolist() == [PAUSE] * 8


def test_silent_crops_are_rare_but_there() -> None:
    # Most of the clip is silent, and so is the whole other clip.
    mostly = np.zeros(10 * SAMPLES_PER_FRAME)
    mostly[:100] = 0.3
    silent = make_record("y", speech=sine_flac(6400, 300.0, level=0.0))
    crops = _crops([silent, make_record("x", speech=flac_bytes(mostly))], 1000)
    num_silent = sum(not crop["waveform"].any() for crop in crops)
    assert 5 <= num_silent <= 50
    assert {crop["example_ids"] for crop in crops} == {"films/a:x", "films/a:silence"}


def test_a_stem_shorter_than_a_crop_is_reflected() -> None:
    record = make_record("x", num_frames=3, speech=sine_flac(3 * SAMPLES_PER_FRAME, 300.0))
    (crop,) = _crops([record], 1, silence_rate=0.0)
    waveform = crop["waveform"]
    assert waveform.shape == (4 * SAMPLES_PER_FRAME,)
    end = 3 * SAMPLES_PER_FRAME
    np.testing.assert_array_equal(waveform[end:], waveform[end - SAMPLES_PER_FRAME : end][::-1])


def test_a_dataset_of_silence_is_an_error() -> None:
    silent = make_record("x", speech=sine_flac(6400, 300.0, level=0.0))
    with pytest.raises(
        UserError, match=r"films/a: 100 records drawn in a row .* is silent in speech; take films/a out of"
    ):
        _crops([silent], 1, silence_rate=0.0)


def test_a_missing_stem_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"films/a: 100 .*: has no speech stem.*streams.speech.codec.training"
    ):
        _crops([make_record("x", speech=b"")], 1, silence_rate=0.0)

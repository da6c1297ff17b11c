"""Pairs of stems: one offset for both, silence said, an exact position, datasets that lack a stem."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.config import CaspConfig, CaspTrainingConfig, Config, SourceConfig
from dualdub_jax.data_pipeline.stem_pairs import CropPair, make_pair_batches
from dualdub_jax.errors import UserError
from tests.tiny_dataset import SAMPLES_PER_FRAME, flac_bytes, make_record

CROP = 2000
CONFIG = Config(
    casp=CaspConfig(train_crop_samples=CROP, train_window_samples=CROP),
    casp_training=CaspTrainingConfig(mixture=(SourceConfig("tiny_films/soundtrack"),), batch_size=4),
)


def _ramp_record(**stems):
    """Both stems say at which sample they are."""
    ramp = np.arange(1, 10 * SAMPLES_PER_FRAME + 1) / 16_384
    fields = {"speech": flac_bytes(ramp), "background": flac_bytes(-ramp)} | stems
    return make_record("ramp", 10, video=b"", **fields)


def test_both_stems_are_cropped_at_the_same_offset():
    crop = CropPair("source", 16_000, CROP)
    record, starts = _ramp_record(), set()
    for seed in range(20):
        pair = crop.crop(record, np.random.default_rng(seed))
        np.testing.assert_allclose(pair["speech"], -pair["background"], atol=1e-4)
        assert pair["speech"].shape == (CROP,) and pair["has_both"]
        starts.add(round(float(pair["speech"][0] * 16_384)))
    assert len(starts) > 10


def test_a_short_clip_is_taken_whole():
    pair = CropPair("source", 16_000, 8000).crop(_ramp_record(), np.random.default_rng(0))
    assert pair["speech"].shape == (8000,)
    assert pair["speech"][:6400].all() and not pair["speech"][6400:].any()


def test_a_silent_stem_is_reported():
    silent = flac_bytes(np.zeros(10 * SAMPLES_PER_FRAME))
    crop = CropPair("source", 16_000, CROP)
    for stem in ("speech", "background"):
        assert not crop.crop(_ramp_record(**{stem: silent}), np.random.default_rng(0))["has_both"]


def test_batches_go_on_where_they_were(tiny_data_dir):
    config = dataclasses.replace(CONFIG, data_dir=tiny_data_dir)
    first = make_pair_batches(config, seed=3)
    batches = [next(first) for _ in range(3)]
    state = first.get_state()
    following = next(first)
    first.close()
    assert {name: np.shape(x) for name, x in batches[0].items()} == {
        "speech": (4, CROP), "background": (4, CROP), "has_both": (4,), "example_ids": (4,)
    }  # fmt: skip
    assert not np.array_equal(batches[0]["speech"], batches[1]["speech"])
    second = make_pair_batches(config, seed=3)
    second.set_state(state)
    again = next(second)
    second.close()
    assert again["example_ids"] == following["example_ids"]
    np.testing.assert_array_equal(again["speech"], following["speech"])


def test_processes_share_a_global_batch(tiny_data_dir):
    config = dataclasses.replace(CONFIG, data_dir=tiny_data_dir)
    ids = []
    for index in range(2):
        share = make_pair_batches(config, seed=3, process_index=index, process_count=2)
        ids += next(share)["example_ids"]
        share.close()
    whole = make_pair_batches(config, seed=3)
    assert ids == next(whole)["example_ids"]
    whole.close()


def test_a_dataset_without_a_stem_is_named(tiny_data_dir):
    training = dataclasses.replace(CONFIG.casp_training, mixture=(SourceConfig("tiny_films/text_speech"),))
    config = dataclasses.replace(CONFIG, data_dir=tiny_data_dir, casp_training=training)
    with pytest.raises(UserError, match=r"has no background stem; take tiny_films/text_speech out"):
        next(make_pair_batches(config, seed=0))

"""Held-out sets of a mixture: another split of each dataset, the same clips at every evaluation."""

import dataclasses

import numpy as np
import pytest

from dualdub_jax.config import Config, SourceConfig
from dualdub_jax.data_pipeline import loader
from dualdub_jax.errors import UserError
from tests.data_pipeline.test_loader import ALONE, GRID, MIXED, STREAMS_OF_LEVELS, LevelCodec


@pytest.fixture
def config(tiny_data_dir):
    return Config(data_dir=tiny_data_dir, grid=GRID, streams=STREAMS_OF_LEVELS)


def _open(config, stage, **options):
    codecs = {"speech": LevelCodec(3), "background": LevelCodec(2)}
    return loader.make_batches(config, stage, codecs, seed=0, **options)


def _rows(batches):
    return [name for batch in batches for name in batch["example_ids"] if name]


def test_each_dataset_of_a_mixture_is_a_set_of_its_own_split(config):
    batches = _open(config, MIXED)
    sets, missing = batches.held_out(num_clips=64)
    assert missing == []
    assert [(each.task, each.weight) for each in sets] == [(s.name, s.weight) for s in MIXED.mixture]
    for each in sets:
        assert sorted(_rows(each.batches)) == [f"{each.task}:test_{i}" for i in range(3)]
        each.batches.close()
    batches.close()


def test_every_pass_has_the_same_batches_and_the_training_batches_are_untouched(config):
    with_it, without = _open(config, ALONE), _open(config, ALONE)
    for _ in range(2):
        passes = []
        ((held_out,), _) = with_it.held_out(num_clips=2)
        start = held_out.batches.get_state()
        for _ in range(2):
            passes.append(list(held_out.batches))
            held_out.batches.set_state(start)
        held_out.batches.close()
        assert len(_rows(passes[0])) == 2 and len(passes[0]) == 1
        for name, value in passes[0][0].items():
            np.testing.assert_array_equal(value, passes[1][0][name])
        assert next(with_it)["example_ids"] == next(without)["example_ids"]
    with_it.close()
    without.close()


def test_processes_share_the_rows_of_a_held_out_batch(config):
    shares = []
    for index in range(2):
        batches = _open(config, ALONE, process_index=index, process_count=2)
        ((held_out,), _) = batches.held_out(num_clips=64)
        shares.append([batch["example_ids"] for batch in held_out.batches])
        held_out.batches.close()
        batches.close()
    assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]] == [2]
    names = [name for batch in shares[0] + shares[1] for name in batch]
    assert sorted(names) == ["", *(f"tiny_films/soundtrack:test_{i}" for i in range(3))]


def test_crops_for_codecs_are_held_out_too(config):
    batches = loader.make_codec_batches(
        config, "speech", mixture=ALONE.mixture, seed=0, batch_size=4, crop_frames=5
    )
    ((held_out,), missing) = batches.held_out(num_clips=6)
    found = list(held_out.batches)
    assert len(found) == 2 and not missing
    assert all(name.startswith("tiny_films/soundtrack:test_") for name in _rows(found))
    held_out.batches.close()
    batches.close()


def test_a_split_can_be_named_and_one_that_is_not_there_is_an_error(config, tiny_data_dir):
    def of(split):
        mixture = (SourceConfig("tiny_films/soundtrack", held_out_split=split),)
        return _open(config, dataclasses.replace(ALONE, mixture=mixture))

    batches = of("train")
    ((held_out,), _) = batches.held_out(num_clips=2)
    names = _rows(held_out.batches)
    assert len(names) == 2 and all(name.startswith("tiny_films/soundtrack:train_") for name in names)
    held_out.batches.close()
    batches.close()
    batches = of("test_seen")
    with pytest.raises(UserError, match=r"soundtrack: held_out_split='test_seen' .*; it has test, train"):
        batches.held_out(num_clips=2)
    batches.close()

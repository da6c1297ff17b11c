"""Takes come back from disk as they were."""

import pathlib

import numpy as np
import pytest

from dualdub_jax.config import SamplingConfig
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.take import Take


@pytest.mark.parametrize("acoustics", [(None,), (Acoustics(0.4, -50.0), Acoustics(1.2, -40.0))])
def test_a_take_is_read_as_it_was_written(tmp_path, acoustics):
    tokens = {"speech": np.arange(12, dtype=np.int32).reshape(4, 3)}
    take = Take(tokens, 7, SamplingConfig(speech_top_k=3), acoustics, pathlib.Path("checkpoint"))
    take.save(tmp_path / "take.npz")
    read = Take.load(tmp_path / "take.npz")
    assert read.settings() == take.settings() and list(read.tokens) == ["speech"]
    assert (read.sampling, read.acoustics, read.checkpoint) == (take.sampling, acoustics, take.checkpoint)
    np.testing.assert_array_equal(read.tokens["speech"], tokens["speech"])

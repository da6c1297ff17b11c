"""The bundled checkpoint gives the tracks that it gave before bundles had format 2."""

import pathlib

import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.bundles.bundle import default_bundle_path, read_bundle_header
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.media.voice import read_voice
from dualdub_jax.types import STREAMS

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "demo_tracks.npz")
DEMO = pathlib.Path(dualdub_jax.__file__).parent / "assets" / "demo"
# Other processors and other compiler flags (tests/conftest.py turns optimisation off) round differently: a
# sample moves by a few steps of 16 bits, and one draw in 100,000 may differ, with all frames behind it. Under
# the flags and on the machine that made the file, every sample of whole tracks is equal.
NUM_SURE_FRAMES = 30
MAX_STEPS = 8  # of 16 bits: -72 dB full scale


@pytest.fixture(scope="module")
def model():
    return dualdub_jax.load()


def test_the_bundled_checkpoint_is_still_of_format_1():
    """So that reading older bundles stays tested."""
    assert read_bundle_header(default_bundle_path()).version == 1


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_the_same_tokens_decode_to_the_same_stems(model, stream):
    voice = read_voice(DEMO / "voice.wav", model.engine.config.grid)
    acoustics = Acoustics(*map(float, GOLDEN["acoustics"]))
    track = model.engine.decode(stream, GOLDEN[f"{stream}_tokens"].astype(np.int32), voice, acoustics)
    steps = np.round(track * 32768) - GOLDEN[stream]
    assert np.abs(steps).max() <= MAX_STEPS and np.mean(steps != 0) < 0.2


@pytest.mark.slow
def test_the_same_seed_samples_the_same_tokens(model, monkeypatch):
    generate, seen = model.engine.generate, {}

    def recorded(**request):
        seen.update(generate(**request), acoustics=request["acoustics"])
        return {stream: seen[stream] for stream in STREAMS}

    monkeypatch.setattr(model.engine, "generate", recorded)
    model.dub(DEMO / "clip.mp4", script=str(DEMO / "script.txt"), voice=DEMO / "voice.wav")
    np.testing.assert_allclose(seen["acoustics"], GOLDEN["acoustics"], rtol=1e-5)
    for stream in STREAMS:
        expected = GOLDEN[f"{stream}_tokens"][:NUM_SURE_FRAMES]
        np.testing.assert_array_equal(seen[stream][:NUM_SURE_FRAMES], expected)

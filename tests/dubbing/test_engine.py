"""The engine of a real, tiny model: tracks decoded in chunks are those decoded in one call."""

import jax
import numpy as np
import pytest

from dualdub_jax.bundles.bundle import abstract_params
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing import waveform_decoders
from dualdub_jax.dubbing.engine import Engine
from tests.tiny import tiny_config, with_codec


@pytest.fixture(scope="module")
def engine() -> Engine:
    config = with_codec(tiny_config(), "background", acoustics_num_blocks=1, acoustics_width=16)
    config = with_codec(config, "speech", speaker_dim=8)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: (0.1 * rng.normal(size=x.shape)).astype(x.dtype), abstract_params(config))
    return Engine(config, params)


@pytest.mark.parametrize("stream", ["speech", "background"])
def test_a_long_track_streams_to_the_same_samples(engine, monkeypatch, stream):
    rng = np.random.default_rng(1)
    spec = engine.codecs[stream].spec
    tokens = rng.integers(0, spec.codebook_size, (107, spec.num_codebooks)).astype(np.int32)
    conditions = (0.1 * rng.normal(size=3_000).astype(np.float32), Acoustics(0.5, -50.0))
    expected = engine.decode(stream, tokens, *conditions)
    monkeypatch.setattr(waveform_decoders, "ONE_CALL_S", 1)
    monkeypatch.setattr(waveform_decoders, "CHUNK_S", 2)
    decoder = engine.open_decoder(stream, *conditions)
    assert decoder.sample_rate_hz == engine.sample_rate_hz(stream) == 16_000
    pieces = [decoder.push(tokens[first : first + 12]) for first in range(0, 107, 12)]
    assert not any(map(len, pieces[:2]))
    waveform = np.concatenate([*pieces, decoder.flush()])
    np.testing.assert_array_equal(engine.decode(stream, tokens, *conditions), waveform)
    assert waveform.shape == expected.shape == (107 * 640,) and np.abs(expected).max() > 1e-4
    # Float rounding of the phase of the tonal source, which is summed from the track's beginning.
    error = np.abs(waveform - expected) / np.abs(expected).max()
    assert error.max() < 5e-3 and np.sqrt(np.mean(error**2)) < 5e-4


def test_a_short_track_is_decoded_as_a_whole_to_the_bit(engine):
    tokens = np.random.default_rng(2).integers(0, 16, (30, 3)).astype(np.int32)
    decoder = engine.open_decoder("speech")
    assert not len(decoder.push(tokens[:13])) and not len(decoder.push(tokens[13:]))
    np.testing.assert_array_equal(decoder.flush(), engine.decode("speech", tokens))


def test_frames_of_a_model_that_reads_pixels_are_its_input(engine):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    assert engine.encode_frames("video", frames) is frames
    (spec,) = engine.frame_specs.values()
    assert (spec.frame_rate, spec.frame_size, spec.fit) == (25, 16, "letterbox")

"""A track of several conditions: each frame in its own, blocks of any size, fades of constant power."""

from fractions import Fraction

import numpy as np
import pytest

from dualdub_jax.dubbing.segmented_decoder import FADE_S, Segment, open_segments
from dualdub_jax.dubbing.track_decoder import BufferedTrackDecoder, decode_track

RATE_HZ = 1_000


def decoder_of(level: float, rate_hz: int, frame_rate: Fraction, num_channels: int = 1):
    """Decodes token t to `level` t throughout its frame."""

    def decode(tokens: np.ndarray) -> np.ndarray:
        ends = np.round(np.arange(len(tokens) + 1) * float(rate_hz / frame_rate)).astype(int)
        samples = np.repeat(level * tokens[:, 0], np.diff(ends)).astype(np.float32)
        return samples if num_channels == 1 else np.stack([samples] * 2, axis=1)

    return BufferedTrackDecoder(decode, lambda: None, rate_hz, 10_000, num_channels)


def decoded(starts, levels, tokens, block=7, rate_hz=RATE_HZ, frame_rate=Fraction(25), num_channels=1):
    opened = [
        Segment(start, lambda level=level: decoder_of(level, rate_hz, frame_rate, num_channels))
        for start, level in zip(starts, levels, strict=True)
    ]
    decoder = open_segments(opened, frame_rate)
    parts = [decoder.push(tokens[i : i + block]) for i in range(0, len(tokens), block)]
    return np.concatenate([*parts, decoder.flush()])


@pytest.mark.parametrize("block", [1, 7, 60, 1000])
@pytest.mark.parametrize("starts", [[0, 50], [0, 10, 11, 12, 90, 99], [0, 26, 52]])
def test_each_segment_has_its_own_level(starts, block):
    levels = [float(1 + i % 2) for i in range(len(starts))]
    track = decoded(starts, levels, np.ones((100, 2), np.int32), block)
    assert track.shape == (4_000,)
    near = round(FADE_S * RATE_HZ / 2)
    for start, end, level in zip(starts, [*starts[1:], 100], levels, strict=True):
        inside = track[40 * start + near * (start > 0) : 40 * end - near * (end < 100)]
        np.testing.assert_allclose(inside, level, rtol=1e-5)


def test_one_segment_is_its_decoder_and_several_alike_are_nearly_one():
    tokens = np.arange(100, dtype=np.int32)[:, None]
    whole = decoded([0], [1.0], tokens)
    np.testing.assert_array_equal(whole, np.repeat(np.arange(100), 40))
    parts = decoded([0, 30, 60], [1.0, 1.0, 1.0], tokens)
    far = np.ones(4_000, bool)
    for middle in (1_200, 2_400):
        far[middle - 40 : middle + 40] = False
    np.testing.assert_allclose(parts[far], whole[far], rtol=1e-5)


def test_fades_keep_the_power_of_independent_noise():
    rng = np.random.default_rng(0)

    def noise() -> BufferedTrackDecoder:
        return BufferedTrackDecoder(
            lambda tokens: rng.normal(size=40 * len(tokens)).astype(np.float32), None, RATE_HZ, 10_000
        )

    powers = []
    for _ in range(200):
        decoder = open_segments([Segment(0, noise), Segment(50, noise)], Fraction(25))
        track = np.concatenate([decoder.push(np.zeros((100, 1), np.int32)), decoder.flush()])
        powers.append(np.square(track[1_960:2_040]).reshape(8, 10).mean(axis=1))
    np.testing.assert_allclose(np.mean(powers, axis=0), 1.0, atol=0.15)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_frames_that_are_no_whole_number_of_samples(num_channels):
    frame_rate, rate_hz = Fraction(40), 44_100  # 1102.5 samples a frame
    track = decoded(
        [0, 45, 91], [1.0, 2.0, 3.0], np.ones((160, 1), np.int32), 11, rate_hz, frame_rate, num_channels
    )
    assert len(track) == 4 * 44_100 and track.ndim == num_channels
    border = round(45 * 1102.5)
    assert track[border - 1_800].max() == pytest.approx(1.0) and track[border + 1_800].max() == pytest.approx(
        2.0
    )


def test_a_track_of_segments_has_an_exact_length():
    segments = [Segment(start, lambda: decoder_of(1.0, RATE_HZ, Fraction(25))) for start in (0, 40)]
    decoder = open_segments(segments, Fraction(25))
    blocks = decode_track(decoder, np.ones((100, 1), np.int32), 2 * RATE_HZ, 7_990)
    assert sum(map(len, blocks)) == 7_990

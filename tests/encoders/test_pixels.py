"""Pixels: what a frame's vector depends on, and what it does not; and how patches are cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange

from dualdub_jax.config import VideoEncoderConfig
from dualdub_jax.encoders.pixels import PixelEncoder, _patches

CONFIG = VideoEncoderConfig(patch_size=4, patch_width=6, merge_widths=(8, 10))
NUM_FRAMES = 6


@pytest.fixture(scope="module")
def encode():
    encoder = PixelEncoder(CONFIG, width=12)
    film = jnp.zeros((1, NUM_FRAMES, 32, 32, 3), jnp.uint8)
    params = encoder.init(jax.random.key(0), film, jnp.ones((1, NUM_FRAMES), bool))
    apply = jax.jit(encoder.apply)

    def run(film: np.ndarray, num_frames: int = NUM_FRAMES) -> np.ndarray:
        mask = (np.arange(NUM_FRAMES) < num_frames)[None]
        return np.asarray(apply(params, film[None], mask))[0]

    return run


@pytest.fixture
def film():
    return np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 32, 32, 3), np.uint8)


def _changed(left: np.ndarray, right: np.ndarray) -> list[int]:
    return np.flatnonzero(np.abs(left - right).max(-1) > 1e-6).tolist()


def test_a_frame_encodes_itself_and_its_two_neighbours(encode, film):
    other = film.copy()
    other[3, 5, 7] += 90
    assert _changed(encode(film), encode(other)) == [2, 3, 4]


def test_neither_end_of_a_clip_sees_what_lies_behind_it(encode, film):
    other = film.copy()
    other[4:] = 255
    assert _changed(encode(film, 4)[:4], encode(other, 4)[:4]) == []
    # The first frame has no neighbour either: not the last one, around the corner.
    other = film.copy()
    other[-1] = 0
    assert 0 not in _changed(encode(film), encode(other))


def test_where_nothing_moves_all_frames_are_alike(encode, film):
    still = encode(np.repeat(film[:1], NUM_FRAMES, axis=0))
    np.testing.assert_allclose(still, np.broadcast_to(still[:1], still.shape), atol=1e-6)


def test_previous_and_next_frames_are_distinguished(encode, film):
    backwards = encode(film[::-1])[::-1]
    assert _changed(encode(film), backwards) == list(range(NUM_FRAMES))


def test_a_place_is_known(encode):
    corner = np.zeros((NUM_FRAMES, 32, 32, 3), np.uint8)
    corner[:, :4, :4] = 255
    assert _changed(encode(corner), encode(corner[:, ::-1, ::-1])) == list(range(NUM_FRAMES))


def test_patches_come_in_squares_of_squares():
    video = np.arange(2 * 3 * 16 * 24 * 3).reshape(2, 3, 16, 24, 3)
    # Level by level, as one merges neighbours in a picture: rows and columns of patches, then twice 2 x 2.
    picture = rearrange(video, "B T (h p) (w q) c -> B T h w (p q c)", p=2, q=2)
    for _ in range(2):
        picture = rearrange(picture, "B T (h p) (w q) c -> B T h w (p q c)", p=2, q=2)
    patches = _patches(video, patch_size=2, num_levels=2)
    assert patches.shape == (2, 3, 8 * 12, 2 * 2 * 3)
    for _ in range(2):
        patches = rearrange(patches, "B T (s n) c -> B T s (n c)", n=4)
    np.testing.assert_array_equal(patches, rearrange(picture, "B T h w c -> B T (h w) c"))

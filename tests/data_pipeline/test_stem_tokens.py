"""Stem tokens with the project's own codec: what a clip's tokens must not depend on."""

import dataclasses

import jax
import numpy as np
import pytest

from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.codecs.mel_rvq.config import MelRVQConfig
from dualdub_jax.data_pipeline.stem import Stem
from dualdub_jax.data_pipeline.stem_tokens import StemTokenizer
from tests.tiny_dataset import flac_bytes

NUM_FRAMES = 20
SAMPLES_PER_FRAME = 640
NOTHING = Stem(clip="", flac=b"", duration_s=0.0, clip_frames=0, start_frame=0, num_frames=0)


@pytest.fixture(scope="module")
def codec() -> MelRVQCodec:
    config = MelRVQConfig(
        num_codebooks=2, codebook_size=64, width=32, num_blocks=2, vocoder_width=16, vocoder_num_blocks=1
    )
    variables = MelRVQCodec.init(config, jax.random.key(0))
    # Codebooks begin as zeros until training has filled them; every code must be able to win.
    variables["codebooks"] = jax.random.normal(jax.random.key(1), variables["codebooks"].shape)
    return MelRVQCodec(config, variables)


def make_stems(count: int) -> list[Stem]:
    rng = np.random.default_rng(0)
    stems = []
    for index in range(count):
        num_frames = (7, 20)[index % 2]
        samples = np.clip(rng.normal(0, 0.1, num_frames * SAMPLES_PER_FRAME), -1, 1)
        stems.append(Stem(f"films:{index}", flac_bytes(samples), num_frames / 25, num_frames, 0, num_frames))
    return stems


def tokenise(codec: MelRVQCodec, stems: list[Stem], cache: dict | None = None) -> np.ndarray:
    batch = {"stems": {"speech": stems, "background": [NOTHING] * len(stems)}}
    batch["frame_mask"] = np.ones((len(stems), NUM_FRAMES), bool)
    tokens = StemTokenizer({"speech": codec, "background": codec}, NUM_FRAMES, cache)(batch)
    assert not tokens["background_tokens"].any()
    return tokens["speech_tokens"]


def test_tokens_are_those_of_the_clip_alone(codec: MelRVQCodec) -> None:
    stems = make_stems(11)  # more than one call of the codec
    tokens = tokenise(codec, stems)
    assert tokens.any(axis=(1, 2)).all()
    for row, stem in zip(tokens, stems, strict=True):
        alone = np.asarray(codec.encode(stem.decode(codec.spec)[None]))[0]
        np.testing.assert_array_equal(row[: stem.num_frames], alone)
        assert not row[stem.num_frames :].any()


def test_tokens_do_not_depend_on_neighbours_or_cache(codec: MelRVQCodec) -> None:
    stems = make_stems(11)
    expected = tokenise(codec, stems)
    np.testing.assert_array_equal(tokenise(codec, stems[::-1]), expected[::-1])
    cache: dict = {}
    tokenise(codec, [stems[2], stems[7], NOTHING], cache)
    assert set(cache) == {("speech", "films:2"), ("speech", "films:7")}
    np.testing.assert_array_equal(tokenise(codec, stems, cache), expected)
    assert len(cache) == len(stems)


def test_a_part_of_a_clip_is_encoded_anew(codec: MelRVQCodec) -> None:
    whole = make_stems(1)[0]
    part = dataclasses.replace(whole, start_frame=2, num_frames=2)
    cache: dict = {}
    tokens = tokenise(codec, [part], cache)
    assert not cache
    samples = whole.decode(codec.spec)[2 * SAMPLES_PER_FRAME : 4 * SAMPLES_PER_FRAME]
    np.testing.assert_array_equal(tokens[0, :2], np.asarray(codec.encode(samples[None]))[0])

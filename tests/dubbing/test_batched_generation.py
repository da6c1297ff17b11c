"""Windows in a batch: every row's logits are, to the bit, those that it has in any other company.

The sampler returns a hash of the logits, so that a difference of one bit spreads over the rest of the window.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualdub_jax.bundles.bundle import abstract_params
from dualdub_jax.config import SamplingConfig
from dualdub_jax.dubbing import generation
from dualdub_jax.dubbing.engine import Engine
from tests.tiny import tiny_config

PLAIN = SamplingConfig()
GUIDED = SamplingConfig(guidance_scale=2.0)


def hashed(noise, logits, settings):
    bits = jax.lax.bitcast_convert_type(logits, jnp.uint32)
    odd = jnp.arange(logits.shape[-1], dtype=jnp.uint32) * jnp.uint32(2_654_435_761) | jnp.uint32(1)
    seeded = (bits * odd).sum(-1) + jax.lax.bitcast_convert_type(noise[:, 0], jnp.uint32)
    return (seeded % jnp.uint32(logits.shape[-1])).astype(jnp.int32)


@pytest.fixture(scope="module")
def engine():
    config = tiny_config()
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: (0.3 * rng.normal(size=x.shape)).astype(x.dtype), abstract_params(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "sample", hashed)
        yield Engine(config, params)


def request(engine, seed, sampling=PLAIN, span=None, num_context=0, use_speech=True):
    grid, rng = engine.config.grid, np.random.default_rng(seed)
    num_frames = grid.num_frames - seed % 2
    frames = rng.integers(0, 256, (num_frames, grid.frame_size, grid.frame_size, 3)).astype(np.uint8)
    used = ("speech", "background") if use_speech else ("background",)
    specs = {stream: engine.codecs[stream].spec for stream in used}
    context = {
        stream: rng.integers(0, spec.codebook_size, (num_context, spec.num_codebooks)).astype(np.int32)
        for stream, spec in specs.items()
    }
    return {
        "video": {"video": frames},
        "script": "go" if use_speech else "",
        "voice": (0.1 * rng.normal(size=3_000)).astype(np.float32) if seed % 3 else None,
        "acoustics": None,
        "use_speech": use_speech,
        "use_background": True,
        "context": context,
        "seed": seed,
        "sampling": sampling,
        "speech_span": span,
    }


@pytest.fixture(scope="module")
def requests(engine):
    """Of two programs: with and without steering."""
    return [
        request(engine, 1),
        request(engine, 2, num_context=3),
        request(engine, 3, use_speech=False),
        request(engine, 4, span=(4, 9)),
        request(engine, 5, span=(0, 4), num_context=2),
    ]


def assert_equal(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        for stream, tokens in one.items():
            np.testing.assert_array_equal(tokens, other[stream])


def test_one_row_is_a_film_alone(engine, requests):
    assert engine.most_windows(1) == 1
    alone = [engine.generate(**request) for request in requests]
    assert_equal(alone, [engine.generate_many([request], 1)[0] for request in requests])
    assert [len(tokens["background"]) for tokens in alone] == [11, 12, 11, 12, 11]
    np.testing.assert_array_equal(alone[1]["speech"][:3], requests[1]["context"]["speech"])
    assert alone[0]["speech"].std() and "speech" not in alone[2]


def test_rows_do_not_depend_on_their_company(engine, requests):
    assert engine.most_windows(3) == 3
    together = [*engine.generate_many(requests[:3], 3), *engine.generate_many(requests[3:], 3)]
    assert_equal(together, [engine.generate_many([request], 3)[0] for request in requests])
    order = [4, 0, 2]
    assert_equal([together[i] for i in order], engine.generate_many([requests[i] for i in order], 3))
    # Equal requests are equal rows, and other seeds are not.
    same = engine.generate_many([requests[0]] * 2 + [{**requests[0], "seed": 9}], 3)
    assert_equal(same[:1], same[1:2])
    assert (same[0]["speech"] != same[2]["speech"]).any()


def test_rows_of_other_settings_are_sampled_by_them(engine, requests):
    guided = {**requests[0], "sampling": GUIDED}
    mixed = engine.generate_many([requests[0], guided], 3)
    assert_equal(mixed, [engine.generate_many([one], 3)[0] for one in (requests[0], guided)])
    assert (mixed[0]["speech"] != mixed[1]["speech"]).any()

"""SigLIP's image tower against a golden run of its public code, with and without the prefix of its names."""

import jax
import numpy as np
import pytest

from dualdub_jax.convert.siglip import is_siglip, siglip_from_torch
from dualdub_jax.encoders.siglip import SiglipConfig, SiglipTower
from dualdub_jax.errors import UserError
from tests.convert.ports import golden, weights

SETTINGS = {"num_attention_heads": 3}


def test_vectors_are_those_of_the_public_code():
    config, params = siglip_from_torch(weights("siglip"), "x", SETTINGS)
    assert (config.image_size, config.patch_size, config.num_layers) == (24, 8, 2)
    pooled = SiglipTower(config).apply({"params": params}, golden("siglip", "images"))
    np.testing.assert_allclose(pooled, golden("siglip", "pooled"), atol=1e-4)


def test_both_prefixes_and_the_text_tower_are_read():
    config, params = siglip_from_torch(weights("siglip"), "x", SETTINGS)
    state = {f"vision_model.{name}": x for name, x in weights("siglip").items()}
    state |= {"text_model.final_layer_norm.bias": np.ones(2), "logit_scale": np.ones(1)}
    assert is_siglip(state)
    found, converted = siglip_from_torch(state, "x.safetensors", {"vision_config": SETTINGS})
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, converted, params)


def test_the_preprocessor_of_the_checkpoint_is_read():
    settings = {"resample": 3, "image_mean": [0.1] * 3, "size": {"height": 24, "width": 24}}
    config, _ = siglip_from_torch(weights("siglip"), "x", SETTINGS, settings)
    assert (config.filter, config.pixel_mean, config.fit) == ("bicubic", (0.1, 0.1, 0.1), "stretch")
    with pytest.raises(UserError, match=r"makes images of \[32\] pixels, but its positions are for 24"):
        siglip_from_torch(weights("siglip"), "x", SETTINGS, {"size": {"height": 32, "width": 32}})
    with pytest.raises(UserError, match=r"resamples by filter 1, expected one of"):
        siglip_from_torch(weights("siglip"), "x", SETTINGS, {"resample": 1})


def test_wrong_files_are_named():
    state = weights("siglip")
    with pytest.raises(UserError, match=r"x.pt: lacks head.mlp.fc2.bias"):
        siglip_from_torch({n: x for n, x in state.items() if n != "head.mlp.fc2.bias"}, "x.pt", SETTINGS)
    with pytest.raises(UserError, match=r"width of 36 is not divisible by 5 heads"):
        siglip_from_torch(state, "x.pt", {"num_attention_heads": 5})
    flat = state["embeddings.patch_embedding.weight"].reshape(36, -1)
    with pytest.raises(UserError, match=r"any resolution \(naflex\)"):
        siglip_from_torch(state | {"embeddings.patch_embedding.weight": flat}, "x.pt", SETTINGS)


def test_the_published_size_is_the_default():
    images = np.zeros((1, 224, 224, 3), np.uint8)
    shapes = jax.eval_shape(lambda: SiglipTower(SiglipConfig()).init(jax.random.key(0), images))
    assert round(sum(x.size for x in jax.tree.leaves(shapes)) / 1e5) == 929

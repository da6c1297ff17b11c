"""CLIP's image tower against a golden run of its public code, in both layouts of its weights."""

import jax
import numpy as np
import pytest

from dualdub_jax.convert.clip import clip_from_torch, is_clip
from dualdub_jax.encoders.clip.tower import ClipConfig, ClipTower
from dualdub_jax.errors import UserError
from tests.convert.ports import golden, weights

SETTINGS = {"num_attention_heads": 3}


def openai_names(state):
    """The same tensors as OpenAI's and open_clip's files name them, with those of the text tower."""
    inner = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    outer = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    }
    renamed = {"logit_scale": np.ones(()), "transformer.resblocks.0.ln_1.bias": np.ones(2),
               "positional_embedding": np.ones((3, 2)), "text_projection": np.ones((2, 2))}  # fmt: skip
    for name, x in state.items():
        if name == "visual_projection.weight":
            renamed["visual.proj"] = x.T
        elif name in outer:
            renamed[outer[name]] = x
        elif ".layers." in name:
            _, _, _, i, *rest = name.split(".")
            part, kind = ".".join(rest[:-1]), rest[-1]
            if part in inner:
                renamed[f"visual.transformer.resblocks.{i}.{inner[part]}.{kind}"] = x
            elif part == "self_attn.q_proj":
                stacked = [state[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
                renamed[f"visual.transformer.resblocks.{i}.attn.in_proj_{kind}"] = np.concatenate(stacked)
        elif not name.endswith("position_ids"):
            ours = name.replace("vision_model.pre_layrnorm", "visual.ln_pre")
            renamed[ours.replace("vision_model.post_layernorm", "visual.ln_post")] = x
    return renamed


def test_embeddings_are_those_of_the_public_code():
    config, params = clip_from_torch(weights("clip"), "x", SETTINGS)
    assert (config.image_size, config.patch_size, config.num_layers) == (24, 8, 2)
    embedding, token = ClipTower(config).apply({"params": params}, golden("clip", "images"))
    np.testing.assert_allclose(embedding, golden("clip", "embedding"), atol=1e-4)
    assert token.shape == (3, 36)


def test_both_layouts_of_the_weights_are_read():
    config, params = clip_from_torch(weights("clip"), "x", SETTINGS)
    renamed = openai_names(weights("clip"))
    assert is_clip(renamed)
    found, converted = clip_from_torch(renamed, "x.pt", SETTINGS)
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, converted, params)


def test_wrong_files_are_named():
    state = weights("clip")
    with pytest.raises(UserError, match=r"x.pt: lacks visual_projection.weight"):
        clip_from_torch({n: x for n, x in state.items() if n != "visual_projection.weight"}, "x.pt")
    with pytest.raises(UserError, match=r"its activation is 'relu'"):
        clip_from_torch(state, "x.pt", {"vision_config": {"hidden_act": "relu", "num_attention_heads": 3}})


def test_the_published_size_is_the_default():
    images = np.zeros((1, 224, 224, 3), np.uint8)
    shapes = jax.eval_shape(lambda: ClipTower(ClipConfig()).init(jax.random.key(0), images))
    assert round(sum(x.size for x in jax.tree.leaves(shapes)) / 1e4) == 8785

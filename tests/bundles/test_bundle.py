"""Bundles: what is written comes back, and what does not fit is refused by name."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tokenizers

from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_header, save_bundle
from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.errors import UserError
from dualdub_jax.text.tokenizer import make_tokenizer
from tests.tiny import random_params, tiny_config

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def params():
    return {
        "model": random_params(CONFIG),
        "speech_codec": MelRVQCodec.init(CONFIG.streams.speech.codec, jax.random.key(0)),
        "background_codec": MelRVQCodec.init(CONFIG.streams.background.codec, jax.random.key(1)),
    }


@pytest.fixture(scope="module")
def bundle(params, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundles") / "bundle"
    save_bundle(directory, CONFIG, params, {"seed": 0})
    return directory


def test_round_trip_is_exact(bundle, params):
    config, loaded = load_bundle(bundle)
    assert config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_bfloat16_comes_back_as_float32_within_its_precision(tmp_path, params):
    save_bundle(tmp_path / "half", CONFIG, params, {}, dtype="bfloat16")
    _, loaded = load_bundle(tmp_path / "half")
    assert {x.dtype for x in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-8), loaded, params)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True))


def test_writing_over_a_bundle_replaces_it_and_leaves_nothing_else(tmp_path, params):
    for seed in (1, 2):
        save_bundle(tmp_path / "bundle", CONFIG, params, {"seed": seed})
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["training"] == {"seed": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_another_model_size_names_the_first_parameter_and_both_shapes(bundle):
    wider = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, width=64))
    with pytest.raises(UserError, match=r"another model size: model/\S+ is \(.*32.*\) in the checkpoint and"):
        load_bundle(bundle, wider)


def test_missing_and_foreign_folders_are_refused(tmp_path, bundle):
    with pytest.raises(UserError, match="no such checkpoint folder"):
        load_bundle(tmp_path / "nothing")
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(UserError, match="not a checkpoint"):
        load_bundle(tmp_path)
    (tmp_path / "config.json").write_text((bundle / "config.json").read_text())
    with pytest.raises(UserError, match="its params/ cannot be read"):
        load_bundle(tmp_path)
    header = json.loads((bundle / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(header | {"format_version": 99}))
    with pytest.raises(UserError, match="checkpoint format 99"):
        load_bundle(tmp_path)


def test_shapes_are_known_without_memory():
    model = abstract_params(CONFIG)["model"]
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(model))


def _word_tokenizer(path):
    words = ["[PAD]", "<s>", "</s>", "lay", "blue"]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[PAD]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


@pytest.mark.parametrize("file_format", ["orbax", "safetensors"])
def test_a_tokenizers_file_is_inside_the_bundle(tmp_path, params, file_format):
    file = tmp_path / "training" / "words.json"
    file.parent.mkdir()
    _word_tokenizer(file)
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, script_tokenizer=str(file)))
    save_bundle(tmp_path / "bundle", config, params, {}, file_format=file_format)
    # Elsewhere, on a machine that never had the file of the training.
    text = file.read_bytes()
    file.unlink()
    (tmp_path / "bundle").rename(tmp_path / "moved")
    loaded, _ = load_bundle(tmp_path / "moved")
    assert loaded.model.script_tokenizer == str(tmp_path / "moved" / "tokenizer.json")
    assert (tmp_path / "moved" / "tokenizer.json").read_bytes() == text
    assert make_tokenizer(loaded.model).encode("lay blue") == [1, 3, 4, 2]
    # And from bundle to bundle.
    _, again = load_bundle(tmp_path / "moved")
    save_bundle(tmp_path / "copy", loaded, again, {})
    shutil.rmtree(tmp_path / "moved")
    copied = read_bundle_header(tmp_path / "copy").config
    assert make_tokenizer(copied.model).encode("blue") == [1, 4, 2]

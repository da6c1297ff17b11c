"""Mimi in its authors' layout: the codes and the sound of their own code, in every way that they name it."""

import json

import numpy as np
import pytest
import safetensors.numpy

from dualdub_jax.apps.cli import main
from dualdub_jax.codecs.mimi.codec import MimiCodec
from dualdub_jax.convert.mimi import is_mimi, mimi_from_torch
from dualdub_jax.tools.named_codec import load_codec
from tests.convert.ports import golden, weights
from tests.golden.make_moshi_golden import SETTINGS

_OLDER = {
    ".in_projs.0.weight": ".in_proj_weight",
    ".out_projs.0.weight": ".out_proj.weight",
    "_codebook.embedding_sum": "_codebook.embed_avg",
    "_codebook.cluster_usage": "_codebook.cluster_size",
    "_codebook._initialized": "_codebook.inited",
}


def _older(name):
    for new, old in _OLDER.items():
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("rename", [str, _older], ids=["present", "older"])
def test_codes_and_waveform_are_those_of_the_authors_code(rename):
    tensors = {rename(name): x for name, x in weights("moshi").items()}
    assert is_mimi(tensors)
    codec = MimiCodec(*mimi_from_torch(tensors, "x", SETTINGS))
    config = codec.config
    assert (config.strides, config.num_heads, config.num_kv_heads, config.head_dim) == ((2, 3), 3, 3, 8)
    codes = codec.encode(golden("moshi", "waveform"))
    np.testing.assert_array_equal(codes, golden("moshi", "codes"))
    assert len(np.unique(codes[..., 0])) > 5
    decoded = golden("moshi", "decoded")
    np.testing.assert_allclose(codec.decode(codes), decoded, atol=1e-5 * np.abs(decoded).max())


def test_the_order_of_rotations_matters():
    wrong = mimi_from_torch(weights("moshi"), "x", SETTINGS | {"head_dim": 24})
    codes = MimiCodec(*wrong).encode(golden("moshi", "waveform"))
    assert (np.asarray(codes) != golden("moshi", "codes")).any()


def _convert(tmp_path, state):
    folder = tmp_path / "moshi"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    file = folder / "tokenizer-e351c8d8-checkpoint125.safetensors"
    safetensors.numpy.save_file({name: np.ascontiguousarray(x) for name, x in state.items()}, file)
    return main(["convert", str(file), str(tmp_path / "out")])


def test_the_command_converts_their_file(tmp_path, capsys):
    assert _convert(tmp_path, weights("moshi")) == 0
    assert "Mimi" in capsys.readouterr().out
    codec = load_codec(str(tmp_path / "out")).codec
    np.testing.assert_array_equal(codec.encode(golden("moshi", "waveform")), golden("moshi", "codes"))


@pytest.mark.parametrize(
    "end", ["out_projs.0.weight", "in_projs.0.weight", "linear1.weight", "embedding_sum"]
)
@pytest.mark.parametrize("change", ["missing", "renamed", "shorter", "flat", "integers"])
def test_a_damaged_file_of_theirs_is_one_line(end, change, tmp_path, capsys):
    state = weights("moshi")
    name = next(name for name in state if name.endswith(end))
    tensor = state.pop(name)
    changed = {
        "missing": {},
        "renamed": {f"{name}x": tensor},
        "shorter": {name: tensor[:-1]},
        "flat": {name: tensor.reshape(-1)},
        "integers": {name: (100 * tensor).astype(np.int32)},
    }[change]
    assert _convert(tmp_path, state | changed) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "tokenizer-e351c8d8" in error
    assert not (tmp_path / "out").exists()

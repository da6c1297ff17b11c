"""Checkpoints with one thing wrong: one line that names it, and no folder; for every kind of model."""

import json

import numpy as np
import pytest
import safetensors.numpy

from dualdub_jax.apps.cli import main
from tests.convert.ports import SETTINGS, weights


def without(name):
    return lambda state: {key: x for key, x in state.items() if key != name(state)}


def changed(name, change):
    return lambda state: state | {name(state): change(state[name(state)])}


def largest(state):
    return max(state, key=lambda name: state[name].size)


def matrix(state):
    return next(name for name in sorted(state) if state[name].ndim >= 2)


def bias(state):
    return next(name for name in sorted(state) if name.endswith(".bias"))


TENSORS = {
    "first missing": without(lambda state: sorted(state)[0]),
    "last missing": without(lambda state: sorted(state)[-1]),
    "a bias missing": without(bias),
    "a kernel missing": without(largest),
    "one renamed": lambda state: {key + "x" * (key == bias(state)): x for key, x in state.items()},
    "all renamed": lambda state: {f"model.{key}": x for key, x in state.items()},
    "one more": lambda state: state | {"zzz.weight": np.ones(2, np.float32)},
    "one shorter": changed(largest, lambda x: x[:-1]),
    "transposed": changed(largest, lambda x: x.swapaxes(0, 1)),
    "flat": changed(matrix, lambda x: x.reshape(-1)),
    "scalar": changed(matrix, lambda x: np.zeros((), np.float32)),
    "empty": changed(matrix, lambda x: x[:0]),
    "not numbers": changed(matrix, lambda x: np.full_like(x, np.nan)),
    "infinite": changed(bias, lambda x: np.full_like(x, np.inf)),
    "integers": changed(matrix, lambda x: np.round(100 * x).astype(np.int8)),
    "booleans": changed(bias, lambda x: x > 0),
    "none": lambda state: {"a": np.ones(1, np.float32)},
}


def convert(folder, state, settings, capsys):
    """Runs the command; its status and error."""
    (folder / "in").mkdir()
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (folder / "in" / "config.json").write_text(text)
    state = {name: np.ascontiguousarray(x).reshape(x.shape) for name, x in state.items()}
    safetensors.numpy.save_file(state, folder / "in" / "model.safetensors")
    status = main(["convert", str(folder / "in"), str(folder / "out")])
    return status, capsys.readouterr().err


@pytest.mark.parametrize("fault", TENSORS)
@pytest.mark.parametrize("kind", SETTINGS)
def test_tensors(tmp_path, capsys, kind, fault):
    status, error = convert(tmp_path, TENSORS[fault](weights(kind)), SETTINGS[kind], capsys)
    assert status == 2 and error.count("\n") == 1 and "fault of DualDub" not in error
    assert error.startswith(f"dualdub: {tmp_path / 'in'}")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("settings", ["{", "[1]", "text"])
def test_settings(tmp_path, capsys, kind, settings):
    if settings == "text":
        settings = dict.fromkeys(SETTINGS[kind], "x")
    status, error = convert(tmp_path, weights(kind), settings, capsys)
    assert status == 2 and error.count("\n") == 1 and "config.json" in error
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_fewer_layers_or_codebooks_than_stated(tmp_path, capsys):
    for kind, key, part in (
        ("clip", "num_hidden_layers", "layers.1."),
        ("dac", "n_codebooks", "quantizers.2."),
    ):
        state = {name: x for name, x in weights(kind).items() if part not in name}
        stated = {"clip": 2, "dac": 3}[kind]
        (tmp_path / kind).mkdir()
        status, error = convert(tmp_path / kind, state, SETTINGS[kind] | {key: stated}, capsys)
        assert status == 2
        assert f"holds {stated - 1} of the {stated} {key} that its config.json states" in error


def test_an_interrupted_conversion_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dualdub_jax.checkpoints.safetensors_tree.write", interrupted)
    status, error = convert(tmp_path, weights("dac"), SETTINGS["dac"], capsys)
    assert status == 130 and error == "dualdub: interrupted\n"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dualdub_jax.checkpoints.safetensors_tree.write", full)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]

"""Import paths in configs: what is followed, what is refused, and that refusing runs nothing."""

import dataclasses
import shutil
import sys

import jax
import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_header, save_bundle
from dualdub_jax.errors import UserError
from dualdub_jax.models.aligners.grid import MutualAligner
from dualdub_jax.parts.import_path import resolve
from tests.tiny import tiny_config

FORK = """
import pathlib
from flax import linen as nn
from dualdub_jax.models.aligners.grid import MutualAligner

pathlib.Path(__file__).with_name("was_imported").touch()


class Halved(MutualAligner):
    share: float = 0.5


class Needy(MutualAligner):
    share: float = 0.5
    depth: int = None


class Other(nn.Module):
    config: object
    dtype: str

    def __call__(self, speech, background):
        return speech, background


class Bare(nn.Module):
    width: int


def function():
    pass
"""


@pytest.fixture
def fork(tmp_path, monkeypatch):
    """A package outside of this project, importable, not imported; its folder."""
    folder = tmp_path / "elsewhere" / "loud"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "aligner.py").write_text(FORK)
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    for name in ("loud", "loud.aligner"):
        sys.modules.pop(name, None)


def _config(path):
    config = tiny_config()
    aligner = dataclasses.replace(config.model.aligner, mutual=path)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, aligner=aligner))


def test_a_path_gives_the_class_with_its_sizes(fork):
    made = resolve("loud.aligner:Halved(share=0.25)", MutualAligner, "key")(config=None, dtype="float32")
    assert type(made).__name__ == "Halved" and made.share == 0.25
    assert resolve("loud.aligner:Halved", MutualAligner, "key")(config=None, dtype="float32").share == 0.5
    core = resolve("dualdub_jax.models.aligners.grid:MutualAligner", MutualAligner, "key")
    assert isinstance(core(config=None, dtype="float32"), MutualAligner)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("loud.aligner.Halved", r"key: expected 'package.module:Class' or .* got 'loud.aligner.Halved'"),
        ("loud.aligner:Halved(0.5)", "expected 'package.module:Class'"),
        ("loud.aligner:Halved(share=print(1))", "expected 'package.module:Class'"),
        ("loud.aligner:Halved.__init__", "expected 'package.module:Class'"),
        ("nowhere.aligner:A", r"cannot import nowhere.aligner .*folder that holds nowhere/ on PYTHONPATH"),
        ("loud.aligner:Halfed", "loud.aligner has no Halfed; did you mean Halved"),
        ("loud.aligner:function", "function is no flax.linen.Module"),
        ("loud.aligner:Bare", "has no field config; it needs config, dtype"),
        ("loud.aligner:Halved(portion=1)", "portion is not a size of it; those are: share"),
        ("loud.aligner:Halved(dtype='float16')", "dtype is not a size of it"),
        ("loud.aligner:Other", r"its __call__\(speech, background\) must take \(speech, background, has_s"),
    ],
)
def test_what_does_not_fit_is_named(fork, path, message):
    with pytest.raises(UserError, match=message):
        resolve(path, MutualAligner, "key")


def test_training_finds_a_wrong_path_before_it_trains_anything(tmp_path, capsys):
    (tmp_path / "config.py").write_text(
        "import configs.puppet\n"
        "def get_config():\n"
        "    config = configs.puppet.get_config('tiny')\n"
        "    config.model.aligner.mutual = 'nowhere.aligner:A'\n"
        "    return config\n"
    )
    workdir = tmp_path / "run"
    assert main(["train", "--config", str(tmp_path / "config.py"), "--workdir", str(workdir)]) == 2
    assert "config.model.aligner.mutual=nowhere.aligner:A: cannot import" in capsys.readouterr().err
    assert not list(workdir.glob("codec_*"))


def test_a_bundle_does_not_import_foreign_code_unless_told_to(tmp_path, fork, capsys):
    config = _config("loud.aligner:Halved(share=0.25)")
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_params(tiny_config()))
    save_bundle(tmp_path / "bundle", config, params, {})
    with pytest.raises(UserError, match=r"config.model.aligner.mutual=loud.aligner:Halved.*allow_code=True"):
        load_bundle(tmp_path / "bundle")
    assert main(["export", str(tmp_path / "bundle"), str(tmp_path / "out")]) == 2
    assert "pass --allow-code" in capsys.readouterr().err
    read_bundle_header(tmp_path / "bundle")
    assert not (fork / "was_imported").exists()
    assert load_bundle(tmp_path / "bundle", allow_code=True)[0] == config
    assert (fork / "was_imported").exists()
    # Imported by now, so trusted; and what is trusted but gone says what to do.
    assert load_bundle(tmp_path / "bundle")[0] == config
    for name in ("loud", "loud.aligner"):
        del sys.modules[name]
    shutil.rmtree(fork)
    with pytest.raises(UserError, match="put the folder that holds loud/ on PYTHONPATH"):
        load_bundle(tmp_path / "bundle", allow_code=True)

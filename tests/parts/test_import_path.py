"""Import paths in configs: what is imported, what is refused, and that refusing runs nothing."""

import dataclasses
import importlib
import pathlib
import shutil
import sys
from collections.abc import Iterator

import jax
import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_header, save_bundle
from dualdub_jax.config import Config, from_dict
from dualdub_jax.errors import UserError
from dualdub_jax.parts.import_path import check_trusted, import_class, import_paths, is_import_path
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import STREAMS
from tests.tiny import tiny_config

FORK = """
import pathlib
from dualdub_jax.models.aligners.grid import GridAligner

pathlib.Path(__file__).with_name("was_imported").touch()


class Halved(GridAligner):
    share: float = 0.5


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
    aligner = dataclasses.replace(config.model.aligner, kind=path)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, aligner=aligner))


def test_a_path_gives_the_class_and_its_sizes(fork):
    found, sizes = import_class("loud.aligner:Halved(share=0.25, names=('a', 'b'))", "key")
    assert found.__name__ == "Halved" and sizes == {"share": 0.25, "names": ("a", "b")}
    assert import_class("loud.aligner:Halved", "key") == (found, {})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("loud.aligner.Halved", r"key: expected 'package.module:Class' or .* got 'loud.aligner.Halved'"),
        ("loud.aligner:Halved(0.5)", "expected 'package.module:Class'"),
        ("loud.aligner:Halved(share=print(1))", "expected 'package.module:Class'"),
        ("loud.aligner:Halved(**{})", "expected 'package.module:Class'"),
        ("loud.aligner:Halved.__init__", "expected 'package.module:Class'"),
        ("nowhere.aligner:A", r"cannot import nowhere.aligner .*folder that holds nowhere/ to PYTHONPATH"),
        ("loud.aligner:Halfed", "loud.aligner has no Halfed; did you mean Halved"),
        ("loud.aligner:function", "function is not a class"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(fork, path, message):
    with pytest.raises(UserError, match=message):
        import_class(path, "key")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package.module:Class", True),
        ("module:Class(size=3)", True),
        ("grid", False),
        ("weights/tokenizer.json", False),
    ],
)
def test_names_of_kinds_and_files_are_no_import_paths(text, expected):
    assert is_import_path(text) == expected


def _slots() -> Iterator[Slot]:
    """Every slot of the package."""
    root = pathlib.Path(dualdub_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if " = Slot(" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(".".join(path.relative_to(root.parent).with_suffix("").parts))
            yield from (value for value in vars(module).values() if isinstance(value, Slot))


def test_trust_is_asked_for_the_path_in_every_slot():
    keys = [slot.key.removeprefix("config.") for slot in _slots()]
    keys = [key.replace("<stream>", stream) for key in keys for stream in STREAMS]
    assert "streams.background.decoder" in keys and len(set(keys)) >= 13
    assert import_paths(Config()) == {}
    for key in keys:
        values: object = "loud.part:Part(size=3)"
        for name in reversed(key.split(".")):
            values = {name: values}
        config = from_dict(values)
        assert import_paths(config) == {f"config.{key}": "loud.part:Part(size=3)"}
        with pytest.raises(UserError, match=rf"bundle: config.{key}=loud.part:Part.*--allow-code"):
            check_trusted(config, "bundle")
        check_trusted(config, "bundle", allow_code=True)


def test_training_finds_a_wrong_path_before_it_trains_anything(tmp_path, capsys):
    (tmp_path / "config.py").write_text(
        "import dualdub_jax.configs.puppet\n"
        "def get_config():\n"
        "    config = dualdub_jax.configs.puppet.get_config('tiny')\n"
        "    config.model.aligner.kind = 'nowhere.aligner:A'\n"
        "    return config\n"
    )
    workdir = tmp_path / "run"
    assert main(["train", "--config", str(tmp_path / "config.py"), "--workdir", str(workdir)]) == 2
    assert "config.model.aligner.kind=nowhere.aligner:A: cannot import" in capsys.readouterr().err
    assert not list(workdir.glob("codec_*"))


def test_a_bundle_does_not_import_foreign_code_unless_told_to(tmp_path, fork, capsys):
    config = _config("loud.aligner:Halved(share=0.25)")
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_params(tiny_config()))
    save_bundle(tmp_path / "bundle", config, params, {})
    with pytest.raises(UserError, match=r"config.model.aligner.kind=loud.aligner:Halved.*allow_code=True"):
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
    with pytest.raises(UserError, match="add the folder that holds loud/ to PYTHONPATH"):
        load_bundle(tmp_path / "bundle", allow_code=True)

"""Data flows one way: a package imports those below it and none above."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# From the ground up. Modules beside the packages (`config.py`, `types.py`, …) are for all of them, except the
# command line's, which are for nobody.
PACKAGES = (
    *("parallel", "codecs", "models", "casp", "data_pipeline", "training"),
    *("inference", "evaluation", "convert", "tools"),
)
COMMAND_LINE = ("cli", "arguments")
# `training` and `inference` know nothing of each other.
NEVER = {"inference": {"training", "data_pipeline"}}


def _folder(package: str) -> pathlib.Path:
    return ROOT / package if package == "data_pipeline" else ROOT / "dualdub_jax" / package


def _imports(path: pathlib.Path) -> Iterator[str]:
    """Our packages and top-level modules that a file imports, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == "data_pipeline":
                yield first
            elif first == "dualdub_jax" and rest:
                yield rest[0]


def test_every_package_has_its_place():
    folders = {path.parent.name for path in (ROOT / "dualdub_jax").glob("*/__init__.py")}
    assert folders | {"data_pipeline"} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package):
    above = set(PACKAGES[PACKAGES.index(package) + 1 :]) | NEVER.get(package, set()) | set(COMMAND_LINE)
    paths = sorted(_folder(package).rglob("*.py"))
    assert paths
    for path in paths:
        wrong = above & set(_imports(path))
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"

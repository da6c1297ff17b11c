"""Data flows one way: a package imports those below it and none above; nothing lies loose at the top."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# From the ground up. A package imports what stands before it and nothing behind it.
FLOORS = (
    *("errors", "stores", "config", "types"),
    *("parts", "checkpoints", "parallel", "dsp", "text", "media", "pages", "layers"),
    *("training", "codecs", "encoders", "decoders", "models", "bundles", "convert", "casp"),
    *("data_pipeline", "curriculum", "dubbing", "evaluation", "tools", "apps"),
)
# The only modules beside the packages.
LOOSE = {"__init__", "errors", "types"}
# Packages that know nothing of each other although one stands above the other.
NEVER = {"dubbing": {"training", "curriculum", "data_pipeline"}, "media": {"text"}, "pages": {"media"}}


def _paths(floor: str) -> list[pathlib.Path]:
    if floor in LOOSE:
        return [ROOT / "dualdub_jax" / f"{floor}.py"]
    folder = ROOT / floor if floor == "data_pipeline" else ROOT / "dualdub_jax" / floor
    return sorted(folder.rglob("*.py"))


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
            # By its top-level name a second copy of each of its classes would be imported.
            assert first not in ("data_pipeline", "configs"), f"{path}: import dualdub_jax.{name}"
            if first == "dualdub_jax" and rest:
                yield rest[0]


def test_tests_and_benchmarks_import_installed_names():
    for folder in ("tests", "benchmarks", "configs"):
        for path in (ROOT / folder).rglob("*.py"):
            list(_imports(path))


def test_every_package_has_a_floor():
    folders = {path.parent.name for path in (ROOT / "dualdub_jax").glob("*/__init__.py")}
    assert folders | {"data_pipeline"} == set(FLOORS) - LOOSE


def test_nothing_lies_loose_at_the_top():
    assert {path.stem for path in (ROOT / "dualdub_jax").glob("*.py")} == LOOSE


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :]) | NEVER.get(floor, set())
    paths = _paths(floor)
    assert paths
    for path in paths:
        wrong = above & set(_imports(path))
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_modules_import_each_other_in_no_circle():
    """Also within a package: following imports at module level never leads back."""
    modules = {}
    for path in [*(ROOT / "dualdub_jax").rglob("*.py"), *(ROOT / "data_pipeline").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts if parts[0] == "dualdub_jax" else ("dualdub_jax", *parts))
        modules[name.removesuffix(".__init__")] = path
    graph = {}
    for name, path in modules.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    found.add(full if full in modules else node.module)
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        graph[name] = (found & set(modules)) - {name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    # The package's face imports its own parts lazily, inside `load`.
    for name in sorted(set(graph) - {"dualdub_jax"}):
        graph[name].discard("dualdub_jax")
    for name in sorted(graph):
        visit(name, ())

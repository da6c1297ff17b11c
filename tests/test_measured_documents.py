"""README and model card show what `docs/measured/` holds, and that was measured with what is bundled."""

import io
import pathlib

import pytest
import rich.console

from benchmarks.figures_table import side_by_side, with_ceilings
from dualdub_jax.bundle import default_bundle_path, read_bundle_header
from dualdub_jax.evaluation.results import read_results
from dualdub_jax.evaluation.systems import Checkpoint
from dualdub_jax.evaluation.terminal import print_results

ROOT = pathlib.Path(__file__).parent.parent
MEASURED = ROOT / "docs" / "measured"


@pytest.fixture(scope="module")
def bundled():
    return read_results(MEASURED / "bundled.json")


def test_the_figures_are_of_the_bundled_checkpoint(bundled):
    checkpoint = Checkpoint(default_bundle_path())
    assert bundled["protocol"]["checkpoint"]["sha256"] == checkpoint.sha256
    sampling = read_bundle_header(default_bundle_path())[0].sampling
    for name, value in bundled["protocol"]["sampling"].items():
        assert getattr(sampling, name) == value, name


def test_readme_shows_them(bundled):
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    table = with_ceilings(bundled)
    assert table[0] in readme, "run benchmarks/figures_table.py and paste what it prints"
    start = readme.index(table[0])
    assert readme[start : start + len(table)] == table


def test_model_card_shows_them_all(bundled):
    printed = io.StringIO()
    print_results(bundled, ROOT, rich.console.Console(file=printed, width=200))
    assert printed.getvalue() in (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")


def test_model_card_shows_two_seeds_of_the_config_beside_it():
    paths = [MEASURED / f"{name}.json" for name in ("one_run_seed_0", "one_run_seed_1", "bundled")]
    table = "\n".join(side_by_side(paths, [read_results(path) for path in paths]))
    assert table in (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")


def test_no_file_of_them_names_the_machine_or_holds_clips():
    paths = sorted(MEASURED.glob("*.json"))
    assert paths
    for path in paths:
        assert read_results(path)["clips"] == [], path
        assert "/work/" not in path.read_text(encoding="utf-8"), path

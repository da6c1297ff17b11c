"""Documents show the figures kept beside them, and these are of the present checkpoint and configs."""

import io
import json
import math
import pathlib

import pytest
import rich.console

from benchmarks.figures_table import headline, side_by_side, with_ceilings
from benchmarks.ports import as_rows as port_rows
from benchmarks.scaling_table import as_row
from dualdub_jax.bundles.bundle import default_bundle_path, read_bundle_header
from dualdub_jax.config import load_config
from dualdub_jax.decoders.flow_matching.training import flow_flops
from dualdub_jax.evaluation.contracts.results import read_results
from dualdub_jax.evaluation.report.terminal import print_results
from dualdub_jax.evaluation.run.systems import Checkpoint
from dualdub_jax.models.analytic_flops import model_flops
from dualdub_jax.tools.aot import num_parameters

ROOT = pathlib.Path(__file__).parent.parent
MEASURED = ROOT / "docs" / "measured"


@pytest.fixture(scope="module")
def bundled():
    return read_results(MEASURED / "bundled.json")


def test_the_figures_are_of_the_bundled_checkpoint(bundled):
    checkpoint = Checkpoint(default_bundle_path())
    assert bundled["protocol"]["checkpoint"]["sha256"] == checkpoint.sha256
    sampling = read_bundle_header(default_bundle_path()).config.sampling
    for name, value in bundled["protocol"]["sampling"].items():
        assert getattr(sampling, name) == value, name


@pytest.mark.parametrize(
    ("page", "table"),
    [("README.md", headline), ("docs/model_card.md", with_ceilings)],
    ids=["readme", "card"],
)
def test_tables_show_them(bundled, page, table):
    lines = table(bundled)
    assert len(lines) > 6
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "\n".join(lines) in text, "run benchmarks/figures_table.py and paste what it prints"


def test_model_card_shows_them_all(bundled):
    printed = io.StringIO()
    print_results(bundled, ROOT, rich.console.Console(file=printed, width=200))
    assert printed.getvalue() in (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")


def test_model_card_shows_two_seeds_of_the_config_beside_it():
    paths = [MEASURED / f"{name}.json" for name in ("one_run_seed_0", "one_run_seed_1", "bundled")]
    table = "\n".join(side_by_side(paths, [read_results(path) for path in paths]))
    assert table in (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")


def test_two_seeds_are_nearer_than_an_interval_is_wide():
    one, other = (read_results(MEASURED / f"one_run_seed_{seed}.json")["metrics"] for seed in (0, 1))
    compared = 0
    for name in one.keys() - {"rtf"}:
        if one[name]["low"] is not None and other[name]["low"] is not None:
            width = min(figures[name]["high"] - figures[name]["low"] for figures in (one, other))
            assert abs(one[name]["value"] - other[name]["value"]) <= width, name
            compared += 1
    assert compared > 40


def _ablation_cells(row) -> list[str]:
    """The cells of a row of docs/ablations.md that are the same in both of its tables."""

    def plain(value: float) -> str:
        return f"{value:.2f}".replace("0.", ".", 1)

    words, onsets, lips = (row[name] for name in ("wer_no_letters", "onset_f1", "lip_correlation"))
    losses = (f"{row[f'loss_{stream}']['value']:.3f}" for stream in ("speech", "background"))
    return [
        "{value:.0f}% [{low:.0f}, {high:.0f}]".format(
            **{k: 100 * words[k] for k in ("value", "low", "high")}
        ),
        *(f"{plain(r['value'])} [{plain(r['low'])}, {plain(r['high'])}]" for r in (onsets, lips)),
        " / ".join(losses),
    ]


@pytest.mark.parametrize("name", ["from_a_bundle", "from_nothing"])
def test_ablations_show_what_was_measured(name):
    text = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8").splitlines()
    rows = json.loads((MEASURED / "ablations" / f"{name}.json").read_text(encoding="utf-8"))
    assert rows
    for row_name, row in rows.items():
        cells = _ablation_cells(row)
        assert any(all(f"| {cell} |" in line for cell in cells) for line in text), f"{row_name}: {cells}"


def test_ablations_show_the_losses_from_random_initialisation():
    text = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
    rows = json.loads((MEASURED / "ablations" / "losses_from_nothing.json").read_text(encoding="utf-8"))
    assert len(rows) == 4
    for name, row in rows.items():
        losses = (f"{row[f'loss_{stream}']['value']:.3f}" for stream in ("speech", "background"))
        assert f"| {' / '.join(losses)} |" in text, name


def test_performance_page_shows_the_ports():
    report = json.loads((MEASURED / "benchmarks" / "ports.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = port_rows(report)
    assert len(rows) == 10 and "\n".join(rows) in page
    # What the page says of all rows.
    assert all(report[name] > 1.5 for name in report if name.startswith("ratio_") and name.endswith("_cpu_s"))


def test_architecture_page_shows_the_flow_decoders():
    figures = json.loads((MEASURED / "benchmarks" / "flow_decoder.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = [name.removesuffix(": mel_db") for name in figures if name.endswith(": mel_db")]
    assert len(names) == 14
    for name in names:
        assert f"| {figures[f'{name}: mel_db']:.2f} ({figures[f'{name}: wave_db']:.2f}) |" in page, name


def test_no_file_of_them_holds_clips_or_paths_of_a_machine():
    paths = sorted(MEASURED.glob("*.json"))
    assert paths
    for path in paths:
        results = read_results(path)
        assert results["clips"] == [] and not results["workdir"], path
        assert "path" not in results["protocol"]["checkpoint"], path


@pytest.fixture(scope="module")
def estimates():
    return json.loads((ROOT / "docs" / "estimated" / "scaling.json").read_text(encoding="utf-8"))


def test_scaling_page_shows_the_estimates(estimates):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if " ms |" in line]
    assert set(rows) == set(map(as_row, estimates)), "run benchmarks/scaling_table.py --keep"
    least, *_, most = (report["predicted_step_s"] for report in estimates if report["config"] == "base")
    assert f"From 16 to 256 chips a step grows by {most / least - 1:.1%}." in page


def test_scaling_page_shows_the_estimate_of_the_waveform_decoder():
    report = json.loads((ROOT / "docs" / "estimated" / "flow_decoder.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    flops, used = report["flops_per_device"], report["bytes_per_device"]["total"]
    assert (
        f"{report['parameters'] / 1e6:.0f}M trained parameters, {report['global_batch_size']} clips: "
        f"{used / 2**30:.1f} of {report['hbm_bytes'] / 2**30:.0f} GiB a chip and "
        f"{1e3 * report['predicted_step_s']:.0f} ms a step; {flops['model'] / 1e12:.1f} of "
        f"{flops['with_recomputation'] / 1e12:.1f} TFLOP a chip are the flow's"
    ) in page
    assert report["fits"] and report["program"] == "train:decoder_speech"
    config = load_config(report["config"])
    num_devices = math.prod(report["mesh"].values())
    assert flops["model"] == pytest.approx(flow_flops(config, "speech") / num_devices)


def test_readme_shows_the_sizes_of_the_configs():
    sizes = [num_parameters(load_config(name)) for name in ("small", "base", "large", "xl")]
    shown = [f"{n / 1e6:.0f}M" if n < 1e9 else f"{n / 1e9:.1f}B" for n in sizes]
    assert f"| {', '.join(shown)} |" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_estimates_are_of_the_present_configs(estimates):
    configs = {
        name: load_config(str(ROOT / "configs" / f"{name}.py")) for name in ("base", "dualdub", "large", "xl")
    }
    for report in estimates:
        config, num_devices = configs[report["config"]], math.prod(report["mesh"].values())
        assert report["parameters"] == num_parameters(config)
        expected = model_flops(config, report["global_batch_size"]) / num_devices
        assert report["flops_per_device"]["model"] == pytest.approx(expected)
        assert report["fits"], report["topology"]

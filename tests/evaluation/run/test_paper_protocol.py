"""`dualdub evaluate --protocol paper` as a user meets it."""

import json
import re

import numpy as np
import pytest
import rich.console
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.evaluation.report.paper_table import COLUMNS, print_paper_table, printed_rows
from tests.evaluation.metrics.paper.weights import make_weights
from tests.evaluation.run.test_command import fails
from tests.films import make_film
from tests.golden.make_metrics_golden import sound


@pytest.fixture
def manifest(tmp_path):
    """Two clips with stems of two channels at 24 kHz and their truth."""
    lines = []
    for i in range(2):
        make_film(tmp_path / f"{i}.mp4", noise=True)
        item = {"id": str(i), "video": f"{i}.mp4", "text": "good evening"}
        for k, name in enumerate(("speech", "background", "true_speech", "true_background")):
            first = sound(48_000 + 100 * k + i, 24_000)[:48_000]
            soundfile.write(tmp_path / f"{i}.{name}.wav", np.stack([first, -first], axis=1), 24_000)
            item[name] = f"{i}.{name}.wav"
        lines.append(json.dumps(item))
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_columns_are_printed_and_missing_weights_are_named(manifest, tmp_path, capsys):
    weights = make_weights(tmp_path / "weights")
    argv = ["evaluate", "--pairs", str(manifest), "--protocol", "paper", "--workdir", str(tmp_path / "work")]
    assert main([*argv, "--weights", str(weights), "--json", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "r.json").read_text())["metrics"]
    assert set(COLUMNS) < set(metrics)
    for name in ("fd", "kld", "fad_vggish", "av_align", "sim", "wer_whisper", "utmos"):
        assert metrics[name]["rows"]["ours"]["n"] == 2 and metrics[name]["value"] is not None, name
    # The second channel is the first one's negative: their mean would be silence.
    assert metrics["sim"]["rows"]["true"]["value"] == pytest.approx(1.0)
    assert metrics["utmos"]["rows"]["ours"]["value"] != metrics["utmos"]["rows"]["true"]["value"]
    table = out[out.index("system") :]
    assert re.search(r"^ *ours +[\d.]+ +[\d.]+", table, re.MULTILINE)
    assert "DualScore: bring DualBench's CASP (MIT" in table
    assert "FD: 2 clips are fewer than the 2048 dimensions" in table
    assert "WER: Word error rate of the speech; Whisper tiny.en" in table
    assert "DualDub (Table 4)" not in out  # the paper's rows are DualBench's

    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "FD: bring PANNs Cnn14" in out and "then --weights DIR" in out


def test_the_papers_rows_stand_apart_and_only_on_dualbench(capsys):
    row = {"value": 0.5, "low": None, "high": None, "n": 3}
    none = {"value": None, "low": None, "high": None, "n": 0}
    entry = row | {"rows": {"ours": row, "true": none, "codec": none, "shuffled": none}, "about": "…"}
    results = {"suite": "dualbench", "metrics": {name: entry for name in COLUMNS}}
    console = rich.console.Console(highlight=False)
    print_paper_table(results, console)
    lines = capsys.readouterr().out.splitlines()
    ours = next(i for i, line in enumerate(lines) if line.strip().startswith("ours"))
    printed = next(i for i, line in enumerate(lines) if "printed in arXiv 2507.10109v1" in line)
    paper = next(line for line in lines if line.strip().startswith("DualDub (Table 4)"))
    assert ours < printed < lines.index(paper)
    numbers = "23.08 5.860 1.790 2.720 0.250 0.840 12.7 2.700 0.590 - - -"
    assert " ".join(paper.split()[3:]) == numbers
    assert any("FD: 23.80 in Table 2" in line for line in lines)
    results["suite"] = "puppet"
    print_paper_table(results, console)
    assert "DualDub (Table 4)" not in capsys.readouterr().out


def test_every_number_of_the_paper_has_a_column():
    names = {"system", "table", "notes", *COLUMNS}
    assert all(row.keys() <= names for row in printed_rows()["rows"])


def test_bad_usage(manifest, tmp_path, capsys):
    given = ["--pairs", manifest]
    assert "--weights: applies to --protocol paper" in fails(capsys, *given, "--weights", tmp_path)
    gone = fails(capsys, *given, "--protocol", "paper", "--weights", tmp_path / "gone")
    assert "gone: no such folder; give the one that holds cnn14/" in gone
    assert "--metrics dnsmos: no metric" in fails(
        capsys, *given, "--protocol", "paper", "--metrics", "dnsmos"
    )

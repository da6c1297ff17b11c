"""The table of `--protocol paper`: systems by the paper's columns, and the paper's printed rows."""

import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any

import rich.box
import rich.console
import rich.table

from dualdub_jax.evaluation.contracts.results import CODEC, OURS, SHUFFLED, TRUE
from dualdub_jax.evaluation.report.terminal import number

# Figure -> heading, in the order of the paper.
COLUMNS = {
    "fd": "FD ↓",
    "fad_vggish": "FAD ↓",
    "kld": "KLD ↓",
    "inception_score_cnn14": "IS ↑",
    "av_align": "AV-Align ↑",
    "sim": "SIM ↑",
    "wer_whisper": "WER % ↓",
    "utmos": "UTMOS ↑",
    "dualscore": "DualScore ↑",
    "dualscore_top1": "top 1 %",
    "dualscore_top3": "top 3 %",
    "dualscore_top5": "top 5 %",
}
_ROWS = {OURS: "ours", TRUE: "ground truth", CODEC: "codec of the truth", SHUFFLED: "shuffled"}
_NONE = "-"
_UNITS = {"wer_whisper": "%", **{name: "%" for name in COLUMNS if name.startswith("dualscore_top")}}


@functools.cache
def printed_rows() -> dict[str, Any]:
    """The rows that the paper prints: "source", "suite" and "rows", by figure."""
    package = importlib.resources.files("dualdub_jax.evaluation")
    return json.loads((package / "assets" / "paper_tables.json").read_text(encoding="utf-8"))


def print_paper_table(results: Mapping[str, Any], console: rich.console.Console) -> None:
    """Prints the systems of a run by the paper's columns.

    Numbers of the paper stand under a line of their own, and only for the suite on which it measured them.

    Args:
        results: as in `contracts.results`.
        console: the output.
    """
    metrics = results["metrics"]
    names = [name for name in COLUMNS if name in metrics]
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False)
    table.add_column("system", no_wrap=True)
    for name in names:
        table.add_column(COLUMNS[name], justify="right", no_wrap=True)
    for system, title in _ROWS.items():
        if any(metrics[name]["rows"][system]["n"] for name in names):
            cells = (metrics[name]["rows"][system] for name in names)
            table.add_row(title, *(_cell(cell, name) for cell, name in zip(cells, names, strict=True)))
    table.add_row("n", *(str(metrics[name]["n"]) for name in names))
    printed = printed_rows()
    if results["suite"] == printed["suite"]:
        table.add_section()
        table.add_row(f"[italic]printed in {printed['source']}")
        for row in printed["rows"]:
            cells = (number(row.get(name), _UNITS.get(name, "")) if name in row else _NONE for name in names)
            table.add_row(f"{row['system']} (Table {row['table']})", *cells)
    console.print(table)
    for line in _remarks(metrics, names, results["suite"] == printed["suite"]):
        console.print(line, markup=False, soft_wrap=True)


def _cell(row: Mapping[str, Any], name: str) -> str:
    if not row["n"]:
        return _NONE
    return number(row["value"], _UNITS.get(name, ""))


def _remarks(metrics: Mapping[str, Any], names: list[str], is_printed: bool) -> Iterator[str]:
    for name in names:
        for key in ("missing", "note"):
            if metrics[name].get(key):
                yield f"{COLUMNS[name].split()[0]}: {metrics[name][key]}"
        if name == "wer_whisper" and "missing" not in metrics[name]:
            yield f"WER: {metrics[name]['about']} Read it beside the truth's."
    if is_printed:
        for row in printed_rows()["rows"]:
            for name, note in row.get("notes", {}).items():
                if name in names:
                    yield f"{row['system']}, {COLUMNS[name].split()[0]}: {note}"

"""The table of `--protocol paper`: systems by the paper's columns, and the paper's printed rows."""

import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any

import rich.console
import rich.text

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
    rows = [["system", *(COLUMNS[name] for name in names)]]
    for system, title in _ROWS.items():
        if any(metrics[name]["rows"][system]["n"] for name in names):
            rows.append([title, *(_cell(metrics[name]["rows"][system], name) for name in names)])
    rows.append(["n", *(str(metrics[name]["n"]) for name in names)])
    printed = printed_rows()
    is_printed = results["suite"] == printed["suite"]
    num_measured = len(rows)
    if is_printed:
        for row in printed["rows"]:
            cells = (number(row.get(name), _UNITS.get(name, "")) for name in names)
            rows.append([f"{row['system']} (Table {row['table']})", *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, row in enumerate(rows):
        if i == num_measured:
            _print(console, f"printed in {printed['source']}:", "italic")
        head, *cells = (
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        _print(console, "  ".join([head, *cells]), "bold" if i == 0 else "")
    for line in _remarks(metrics, names, is_printed):
        _print(console, line)


def _print(console: rich.console.Console, text: str, style: str = "") -> None:
    console.print(rich.text.Text(text, style), soft_wrap=True)


def _cell(row: Mapping[str, Any], name: str) -> str:
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

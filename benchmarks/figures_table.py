"""Renders the tables of README and model card from the JSON of `dualdub evaluate`.

    python benchmarks/figures_table.py docs/measured/bundled.json                  # model card: with ceilings
    python benchmarks/figures_table.py docs/measured/bundled.json --headline       # README: six figures
    python benchmarks/figures_table.py docs/measured/one_run_seed_*.json           # side by side
    python benchmarks/figures_table.py runs/eval/bar.json --keep docs/measured/bundled.json

`docs/measured/` holds such files without their clips, which are most of their size. A test compares the
documents with them.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.results import ROW_KEYS, read_results, to_json
from dualdub_jax.evaluation.report.terminal import number

_NONE = "-"
_TITLES = {
    "wer_no_letters": "Word error rate, closed grammar, without letters",
    "wer": "… all words",
    "wer_open_grid": "Word error rate, Whisper tiny.en, closed-grammar scripts",
    "wer_open_free": "… free English scripts",
    "voice_similarity_seen": "Speaker similarity to the reference, seen voices",
    "voice_similarity_unseen": "… unseen voices",
    "voice_margin_seen": "… margin over another speaker, seen voices",
    "voice_margin_unseen": "… unseen voices",
    "dnsmos_ovrl": "Speech quality, DNSMOS OVRL",
    "lip_correlation": "Lip sync, correlation of mouth and envelope",
    "lip_lag_ms": "… best lag, ms",
    "onset_f1": "Impact onsets within 60 ms, F1",
    "impact_class_accuracy": "… class accuracy",
    "loudness_speed_correlation": "… loudness and speed, correlation",
    "noise_level_correlation": "Noise level of both tracks, correlation",
    "rt60_correlation": "Reverberation time of both tracks, correlation",
    "casp": "CASP, Puppet Stage weights",
    "loudness_balance_error_lu": "Loudness balance, absolute error, LU",
    "fad": "Background FAD, YAMNet",
    "ghost_words": "Ghost words per 100 clips",
    "duration_error_samples": "Duration error, samples",
    "rtf": "Real-time factor, 1 core",
}
_HEADLINE = {
    "wer_no_letters": _TITLES["wer_no_letters"],
    "wer_open_free": "Word error rate, Whisper tiny.en, free English scripts",
    "voice_similarity_unseen": "Speaker similarity to the reference, unseen voices",
    "lip_correlation": _TITLES["lip_correlation"],
    "onset_f1": _TITLES["onset_f1"],
    "casp": _TITLES["casp"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, nargs="+", help="JSON of `dualdub evaluate`")
    parser.add_argument("--keep", type=pathlib.Path, help="write the one file here, without its clips")
    parser.add_argument("--headline", action="store_true", help="only the README's six figures")
    args = parser.parse_args()
    try:
        results = [read_results(path) for path in args.results]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if args.keep and len(results) > 1:
        parser.error("--keep requires a single file")
    if args.keep:
        args.keep.parent.mkdir(parents=True, exist_ok=True)
        args.keep.write_text(to_json(without_clips(results[0])), encoding="utf-8")
    if args.headline:
        lines = headline(results[0])
    else:
        lines = with_ceilings(results[0]) if len(results) == 1 else side_by_side(args.results, results)
    print("\n".join(lines))
    return 0


def without_clips(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results without clips and without paths of the evaluating machine."""
    kept = json.loads(to_json({**results, "clips": [], "workdir": ""}))
    if kept["protocol"]["checkpoint"]:
        del kept["protocol"]["checkpoint"]["path"]
    return kept


def with_ceilings(results: Mapping[str, Any]) -> list[str]:
    """Lines of a Markdown table: each figure with its name in the JSON, its ceilings and floor."""
    return _rows(results, {name: f"{title} (`{name}`)" for name, title in _TITLES.items()})


def headline(results: Mapping[str, Any]) -> list[str]:
    """Lines of a Markdown table: the README's six figures with their ceilings and floor."""
    return _rows(results, _HEADLINE)


def _rows(results: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    lines = [
        "| metric | ours | true audio | true audio through our codecs | shuffled |",
        "|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        figure = results["metrics"].get(name, {})
        if "value" in figure:
            others = (_cell({**figure, "value": figure[key]}) for key in ROW_KEYS.values())
            lines.append(f"| {title} | {_cell(figure, interval=True)} | {' | '.join(others)} |")
    return lines


def side_by_side(paths: Sequence[pathlib.Path], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table: one column per run, named after its file."""
    lines = [f"| figure | {' | '.join(path.stem for path in paths)} |", "|---" * (len(paths) + 1) + "|"]
    for name, title in _TITLES.items():
        figures = [each["metrics"].get(name, {}) for each in results]
        if any("value" in figure for figure in figures):
            cells = (_cell(figure, interval=True) if "value" in figure else _NONE for figure in figures)
            lines.append(f"| {title} (`{name}`) | {' | '.join(cells)} |")
    return lines


def _cell(figure: Mapping[str, Any], interval: bool = False) -> str:
    if figure["value"] is None:
        return _NONE
    shown = number(figure["value"], figure["unit"]) + "%" * (figure["unit"] == "%")
    if interval and figure["low"] is not None:
        low, high = (number(figure[key], figure["unit"]) for key in ("low", "high"))
        shown += f" [{low}, {high}]"
    return shown


if __name__ == "__main__":
    sys.exit(main())

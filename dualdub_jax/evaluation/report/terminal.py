"""Prints results as text: header, one line a figure, comparison, missing media, failures."""

import collections
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich.console
import rich.text

from dualdub_jax.evaluation.contracts.metric import Metric

_MAX_LISTED = 20  # missing files or failures; the JSON lists all
_ARROWS = {"higher": "↑", "lower": "↓", "neither": " "}
_NONE = "-"
_VERDICT_STYLES = {"better": "green", "worse": "red"}


def print_results(results: Mapping[str, Any], log: pathlib.Path, console: rich.console.Console) -> None:
    """Prints all results.

    Args:
        results: as in `results`.
        log: path of the log with the tracebacks of failures.
        console: the output.
    """
    for line in _header(results):
        _print(console, line)
    _print(console, "")
    _print_figures(results["metrics"], console)
    if results["against"]:
        _print(console, "")
        _print_comparison(results["against"], console)
    for line in [*_missing_media(results["missing_media"]), *_failures(results["failures"], log)]:
        _print(console, line)


def print_metrics(
    metrics: Sequence[Metric], missing: Mapping[str, str | None], console: rich.console.Console
) -> None:
    """Prints the available metrics and their figures: `--list-metrics`.

    Args:
        metrics: to list.
        missing: metric -> installation command of its first missing package, or None.
        console: the output.
    """
    for metric in metrics:
        note = missing[metric.name] or "ready"
        title = rich.text.Text.assemble(
            (metric.name, "bold"),
            f" (version {metric.version}): ",
            (note, "yellow" if note != "ready" else "green"),
        )
        console.print(title, soft_wrap=True)
        for figure in metric.figures:
            unit = f" [{figure.unit}]" if figure.unit else ""
            _print(console, f"  {figure.name:<28} {_ARROWS[figure.better]} {figure.about}{unit}")


def _header(results: Mapping[str, Any]) -> Iterator[str]:
    protocol = results["protocol"]
    lost = results["num_clips"] - results["num_scored"]
    yield f"suite {results['suite']}: {results['num_clips']} clips" + (f", {lost} not scored" if lost else "")
    yield f"ours: {protocol['systems']['ours']}"
    if protocol["checkpoint"]:
        sampling = " ".join(f"{key}={value:g}" for key, value in protocol["sampling"].items())
        sha256 = protocol["checkpoint"]["sha256"][:16]
        yield f"checkpoint sha256 {sha256}…, seed {protocol['seed']}, {sampling}"
    # Digests are in the JSON only.
    suite = {key: value for key, value in protocol["suite"].items() if not key.endswith("sha256")}
    yield ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in suite.items() if value is not None)
    yield f"{protocol['package']}; intervals: {protocol['bootstrap']['method']}"


def _print_figures(metrics: Mapping[str, Any], console: rich.console.Console) -> None:
    width = max([len(name) for name in metrics] + [6])
    title = f"{'figure':<{width}}   {'ours [95% interval]':<28}"
    title += "".join(f"{name:>9}" for name in ("ceiling", "codec", "floor")) + f"{'n':>6}  unit"
    _print(console, title, "bold")
    for name, figure in metrics.items():
        line = rich.text.Text(f"{name:<{width}} {_ARROWS[figure['better']]} ")
        if "missing" in figure:
            line.append(figure["missing"], "yellow")
        else:
            line.append(f"{_with_interval(figure, 'value'):<28}")
            for key in ("ceiling", "codec_ceiling", "floor"):
                line.append(f"{number(figure[key], figure['unit']):>9}")
            line.append(f"{figure['n']:>6}  {figure['unit']}")
        line.rstrip()
        console.print(line, soft_wrap=True)


def _print_comparison(against: Mapping[str, Any], console: rich.console.Console) -> None:
    _print(
        console,
        f"against {against['name']}: paired differences over {against['num_clips']} shared clips",
        "bold",
    )
    width = max([len(name) for name in against["metrics"]] + [6])
    unit_width = max([len(entry.get("unit", "")) for entry in against["metrics"].values()] + [4]) + 2
    title = f"{'figure':<{width}}   {'difference [95% interval]':<28}"
    title += f"{'ours':>9}{'other':>9}{'n':>6}  {'unit':<{unit_width}}verdict"
    _print(console, title, "bold")
    for name, entry in against["metrics"].items():
        line = rich.text.Text(f"{name:<{width}} {_ARROWS[entry['better']]} ")
        if "missing" in entry:
            line.append(entry["missing"], "yellow")
        else:
            line.append(f"{_with_interval(entry, 'difference'):<28}")
            for key in ("ours", "other"):
                line.append(f"{number(entry[key], entry['unit']):>9}")
            line.append(f"{entry['n']:>6}  {entry['unit']:<{unit_width}}")
            line.append(entry["verdict"], _VERDICT_STYLES.get(entry["verdict"], ""))
        console.print(line, soft_wrap=True)


def _missing_media(missing: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if not missing:
        return
    kinds = collections.Counter(item["kind"] for item in missing)
    clips = len({item["id"] for item in missing})
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield ""
    yield f"missing media: {len(missing)} files of {clips} clips ({counted})"
    for item in missing[:_MAX_LISTED]:
        yield f"  missing {item['kind']} of {item['id']}: {item['file']}"
    if len(missing) > _MAX_LISTED:
        yield f"  and {len(missing) - _MAX_LISTED} more, listed in the JSON"


def _failures(failures: Sequence[Mapping[str, str]], log: pathlib.Path) -> Iterator[str]:
    if not failures:
        return
    yield ""
    for item in failures[:_MAX_LISTED]:
        whom = " ".join(part for part in (item["id"], item["system"]) if part)
        yield f"failed: {whom}: {item['stage']}: {item['error']}"
    more = len(failures) - _MAX_LISTED
    yield f"{f'and {more} more failures; ' if more > 0 else ''}tracebacks are in {log}"


def _with_interval(entry: Mapping[str, Any], key: str) -> str:
    value, low, high = (number(entry[name], entry["unit"]) for name in (key, "low", "high"))
    return value if entry["low"] is None else f"{value} [{low}, {high}]"


def number(value: float | None, unit: str = "") -> str:
    """A number with three decimals, fewer if it is large; "%" figures are scaled to per cent."""
    if value is None:
        return _NONE
    if unit == "%":
        return f"{100 * value:.1f}"
    decimals = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{value:.{decimals}f}"


def _print(console: rich.console.Console, text: str, style: str = "") -> None:
    console.print(rich.text.Text(text, style), soft_wrap=True)

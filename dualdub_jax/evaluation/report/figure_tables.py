"""The report's tables: each figure between its floor and its ceiling, and the paired differences."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from dualdub_jax.evaluation.contracts.results import OURS
from dualdub_jax.evaluation.report.interval_chart import difference_chart, interval_chart
from dualdub_jax.evaluation.report.number_text import WAYS, breakable, in_unit, interval, number, signed
from dualdub_jax.pages.page import two_column_rows

# Heading -> prefixes of its figures' names. The first match applies.
_GROUPS: dict[str, tuple[str, ...]] = {
    "Speech content": ("wer", "cer", "ghost"),
    "Voice": ("voice",),
    "Lip sync": ("lip", "face_lip"),
    "Impacts": ("onset", "impact", "loudness_speed"),
    "Harmony of the tracks": ("rt60", "noise_level", "casp"),
    "Loudness": ("loudness", "lufs"),
    "Speech quality": ("dnsmos", "distillmos"),
    "Prosody": ("mcd", "pitch", "voicing", "energy"),
    "Background": ("fad", "kl", "inception", "tagger"),
    "Sound and picture": ("audio_video", "av_"),
    "Length and speed": ("duration", "rtf", "generation"),
}
_OTHER_FIGURES = "Further figures"


def grouped(metrics: Mapping[str, Any]) -> dict[str, list[str]]:
    """Heading -> names of figures, in the order of the results; every figure has a heading."""
    groups: dict[str, list[str]] = {title: [] for title in (*_GROUPS, _OTHER_FIGURES)}
    for name in metrics:
        title = next((t for t, starts in _GROUPS.items() if name.startswith(starts)), _OTHER_FIGURES)
        groups[title].append(name)
    return {title: names for title, names in groups.items() if names}


def figure_table_body(title: str, names: Sequence[str], metrics: Mapping[str, Any]) -> str:
    """HTML of one group of figures.

    Args:
        title: of the group.
        names: of its figures.
        metrics: as in the results.
    """
    rows = "".join(_figure_row(name, metrics[name]) for name in names)
    heading = f'<tr class="heading"><th colspan="7" scope="rowgroup">{html.escape(title)}</th></tr>'
    return f"<tbody>{heading}{rows}</tbody>"


def _figure_row(name: str, figure: Mapping[str, Any]) -> str:
    head = f'<tr data-figure="{html.escape(name)}">{_figure_name(name, figure)}'
    if figure.get("missing"):
        return f'{head}<td colspan="6" class="missing">{html.escape(figure["missing"])}</td></tr>'
    unit = figure["unit"]
    value, low, high = (in_unit(figure[key], unit) for key in ("value", "low", "high"))
    landmarks = {key: in_unit(figure[key], unit) for key in ("floor", "ceiling", "codec_ceiling")}
    label = f"{name}: {number(value)}, 95% interval {interval(low, high)}"
    label += "".join(f", {key.replace('_', ' ')} {number(at)}" for key, at in landmarks.items())
    chart = interval_chart(value, low, high, **landmarks, better=figure["better"], label=label)
    return (
        f"{head}{_value_cell(number(value), unit, interval(low, high))}"
        f'<td class="chart">{chart}</td>'
        f'<td data-label="clips">{figure["n"]}</td>'
        f'<td data-label="true audio">{number(landmarks["ceiling"])}</td>'
        f'<td data-label="through the codec">{number(landmarks["codec_ceiling"])}</td>'
        f'<td data-label="shuffled pairs">{number(landmarks["floor"])}</td></tr>'
    )


def _figure_name(name: str, figure: Mapping[str, Any]) -> str:
    """The row's head: the name, which expands to the figure's definition and provenance."""
    arrow, way = WAYS[figure["better"]]
    facts = [("Metric", f"{figure['metric']}, version {figure['metric_version']}")]
    if figure["weights_sha256"]:
        facts.append(("Weights' sha256", figure["weights_sha256"]))
    facts += [("Package", f"{package} {version}") for package, version in figure["packages"].items()]
    parts = {f"“{system}”": row for system, row in figure["rows"].items() if system != OURS and row["n"]}
    parts |= {f"“ours”, {group}": row for group, row in figure["groups"].items()}
    for part, row in parts.items():
        value, low, high = (in_unit(row[key], figure["unit"]) for key in ("value", "low", "high"))
        facts.append((part, f"{number(value)} ({interval(low, high)}), {row['n']} clips"))
    return (
        f'<th scope="row"><details><summary><code>{breakable(name)}</code> '
        f'<span class="way" title="{way}">{arrow}</span></summary><p>{html.escape(figure["about"])}</p>'
        f"<table>{two_column_rows(facts)}</table></details></th>"
    )


def _value_cell(value: str, unit: str, between: str) -> str:
    shown_unit = f" <small>{html.escape(unit)}</small>" if unit else ""
    return f'<td class="value"><b>{value}</b>{shown_unit}<small class="between">{between}</small></td>'


def difference_section(against: Mapping[str, Any] | None, groups: Mapping[str, Sequence[str]]) -> str:
    """HTML of the section of paired differences; empty without a comparison.

    Args:
        against: as in the results.
        groups: heading -> names of figures.
    """
    if against is None:
        return ""
    in_order = [name for names in groups.values() for name in names]
    names = sorted(against["metrics"], key=lambda n: in_order.index(n) if n in in_order else len(in_order))
    rows = "".join(_difference_row(name, against["metrics"][name]) for name in names)
    return (
        f'<section class="card"><h2>Ours minus {html.escape(against["name"])}</h2>'
        f'<p class="note">Paired over the {against["num_clips"]} clips that both systems have. The middle '
        "line is no difference; ours is better to the right of it.</p>"
        '<table class="figures"><thead><tr><th scope="col">Figure</th>'
        '<th scope="col">Difference<small>95% interval</small></th>'
        '<th scope="col" class="chart">worse · better</th><th scope="col">Clips</th>'
        '<th scope="col">Ours</th><th scope="col">Other</th><th scope="col">Verdict</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


def _difference_row(name: str, found: Mapping[str, Any]) -> str:
    head = f'<tr><th scope="row"><code>{breakable(name)}</code></th>'
    if found.get("missing"):
        return f'{head}<td colspan="6" class="missing">{html.escape(found["missing"])}</td></tr>'
    unit, verdict = found["unit"], found["verdict"]
    difference, low, high = (in_unit(found[key], unit) for key in ("difference", "low", "high"))
    between = interval(low, high, signed)
    label = f"{name}: {signed(difference)}, 95% interval {between}, {verdict}"
    chart = difference_chart(difference, low, high, found["better"], label)
    kind = verdict if verdict in ("better", "worse") else "unclear"
    return (
        f"{head}{_value_cell(signed(difference), unit, between)}"
        f'<td class="chart {kind}">{chart}</td><td data-label="clips">{found["n"]}</td>'
        f'<td data-label="ours">{number(in_unit(found["ours"], unit))}</td>'
        f'<td data-label="other">{number(in_unit(found["other"], unit))}</td>'
        f'<td class="verdict {kind}">{html.escape(verdict)}</td></tr>'
    )

"""The results of an evaluation as one HTML page: figures, all clips, and players for the worst clips.

The page is self-contained and needs no network. Layout and behaviour are in `assets/evaluation.html`; all
external text (scripts, names, errors) is escaped.
"""

import datetime
import html
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts.results import OURS, SYSTEMS
from dualdub_jax.evaluation.report.clip_cards import OPUS_BIT_RATE, Links, clip_cards
from dualdub_jax.evaluation.report.figure_tables import difference_section, figure_table_body, grouped
from dualdub_jax.evaluation.report.number_text import WAYS, breakable, in_unit, number
from dualdub_jax.evaluation.report.worst_clips import clip_figure, worst_clips
from dualdub_jax.pages.page import fill_page, two_column_rows

MAX_EMBEDDED_BYTES = 12_000_000  # of audio, film and images: small enough for mail
NUM_WORST = 8  # clips of each figure
_NUM_SHOWN = 200  # rows of clips shown initially
_FEW_TROUBLES = 12  # are shown expanded
_LONG_TEXT = 32  # characters that fit into the column of scripts


def write_html(results: Mapping[str, Any], path: pathlib.Path, *, files_root: pathlib.Path) -> None:
    """Writes the page.

    Args:
        results: as described in `results`.
        path: of the page.
        files_root: base of the relative paths of the clips' files: the run's working directory.

    Raises:
        UserError: the page cannot be written.
    """
    try:
        path.write_text(render_html(results, path.parent, files_root), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another path") from error


def render_html(
    results: Mapping[str, Any],
    page_folder: pathlib.Path,
    files_root: pathlib.Path,
    max_embedded_bytes: int = MAX_EMBEDDED_BYTES,
) -> str:
    """Renders the page as HTML.

    Args:
        results: as described in `results`.
        page_folder: folder of the page, to which links are relative.
        files_root: base of the relative paths of the clips' files.
        max_embedded_bytes: budget of embedded audio, film and images; the rest is linked.
    """
    clips, metrics = results["clips"], results["metrics"]
    groups = grouped(metrics)
    shown = [name for names in groups.values() for name in names if _has_values(clips, name)]
    worst = {name: worst_clips(clips, name, metrics[name]["better"], NUM_WORST) for name in shown}
    # The worst clip of every figure first, then the second worst: all figures share the byte budget.
    first = [worst[name][rank] for rank in range(NUM_WORST) for name in shown if rank < len(worst[name])]
    links = Links(page_folder, files_root)
    cards, num_whole = clip_cards(clips, first, links, max_embedded_bytes)
    systems = [system for system in SYSTEMS if any(clip["figures"].get(system) for clip in clips)]
    fields = {
        "title": html.escape(f"DualDub evaluation: {results['suite']}, {_checkpoint_name(results)}"),
        "lead": _lead(results),
        "facts": two_column_rows(_facts(results)),
        "protocol": two_column_rows(_flat(results["protocol"])),
        "troubles": _troubles(results),
        "figures": "".join(figure_table_body(title, names, metrics) for title, names in groups.items()),
        "differences": difference_section(results["against"], groups),
        "worst_options": _worst_options(groups, worst),
        "num_whole": str(num_whole),
        "num_worst": str(len(set(first))),
        "opus_kbit": str(OPUS_BIT_RATE // 1000),
        "num_clips": str(len(clips)),
        "num_shown": str(_NUM_SHOWN),
        "system_options": _options(systems),
        "heading_options": _options(title for title, names in groups.items() if set(names) & set(shown)),
        "group_options": _options(sorted({clip["group"] for clip in clips} - {""})),
        "columns": "".join(_column(name, metrics[name]["better"]) for name in shown),
        "rows": "".join(_clip_row(i, clip, shown, metrics) for i, clip in enumerate(clips)),
        "cards": "".join(f'<template id="clip-{i}">{card}</template>' for i, card in enumerate(cards)),
        "data": _json_for_script(_data(clips, metrics, groups, shown, worst, systems)),
    }
    return fill_page("evaluation.html", fields)


def _data(
    clips: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    shown: Sequence[str],
    worst: Mapping[str, Sequence[int]],
    systems: Sequence[str],
) -> dict[str, Any]:
    """Data of the page's script; clips and figures are indices into `clips` and `shown`."""

    def column(system: str, name: str) -> list[float | None]:
        unit = metrics[name]["unit"]
        values = (in_unit(clip_figure(clip, system, name), unit) for clip in clips)
        return [None if value is None else float(f"{value:.6g}") for value in values]

    return {
        "figures": shown,
        "units": [metrics[name]["unit"] for name in shown],
        "headings": {title: [shown.index(n) for n in names if n in shown] for title, names in groups.items()},
        "worst": worst,
        "values": {system: [column(system, name) for name in shown] for system in systems},
    }


# --- Header ----------------------------------------------------------------------------------------------


def _checkpoint_name(results: Mapping[str, Any]) -> str:
    return (results["protocol"].get("checkpoint") or {}).get("name") or "given soundtracks"


def _lead(results: Mapping[str, Any]) -> str:
    missing = len(results["missing_media"])
    return (
        f"{results['num_scored']} of {results['num_clips']} clips scored · "
        f"{_count(len(results['failures']), 'failure')} · {_count(missing, 'missing media file')}"
    )


def _count(count: int, thing: str) -> str:
    return f"{count or 'no'} {thing}{'' if count == 1 else 's'}"


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    checkpoint = results["protocol"].get("checkpoint") or {}
    facts = [("Suite", results["suite"]), ("Checkpoint", _checkpoint_name(results))]
    facts += [(f"Its {key}", checkpoint[key]) for key in ("path", "sha256") if checkpoint.get(key)]
    if results["against"]:
        facts.append(("Against", results["against"]["name"]))
    facts += [(f"“{system}”", words) for system, words in results["protocol"].get("systems", {}).items()]
    facts.append(("Page written", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")))
    return facts


def _flat(protocol: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Flattens nested keys to "a.b.c", in their order."""
    if isinstance(protocol, Mapping):
        return [
            row for key, item in protocol.items() for row in _flat(item, f"{prefix}.{key}" if prefix else key)
        ]
    return [(prefix, protocol if isinstance(protocol, str) else json.dumps(protocol, ensure_ascii=False))]


def _troubles(results: Mapping[str, Any]) -> str:
    """Lists all failures and missing media."""
    failures = [(f["id"], f"{f['system']}, {f['stage']}: {f['error']}") for f in results["failures"]]
    missing = [(m["id"], f"{m['kind']}: {m['file']}") for m in results["missing_media"]]
    parts = []
    for thing, rows in (("failure", failures), ("missing media file", missing)):
        if rows:
            is_open = " open" if len(rows) <= _FEW_TROUBLES else ""
            parts.append(
                f'<details class="trouble"{is_open}><summary>{_count(len(rows), thing)}</summary>'
                f'<div class="scroll"><table class="pairs">{two_column_rows(rows)}</table></div></details>'
            )
    return "".join(parts)


# --- Clips -----------------------------------------------------------------------------------------------


def _has_values(clips: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether the figure is defined for single clips; a Fréchet distance is not."""
    return any(clip_figure(clip, system, name) is not None for clip in clips for system in clip["figures"])


def _options(names: Iterable[str]) -> str:
    return "".join(f"<option>{html.escape(name)}</option>" for name in names)


def _worst_options(groups: Mapping[str, Sequence[str]], worst: Mapping[str, Sequence[int]]) -> str:
    parts = []
    for title, names in groups.items():
        options = _options(name for name in names if name in worst)
        if options:
            parts.append(f'<optgroup label="{html.escape(title)}">{options}</optgroup>')
    return "".join(parts)


def _column(name: str, better: str) -> str:
    arrow, way = WAYS[better]
    button = f'<button type="button">{breakable(name)} {arrow}</button>'
    return f'<th scope="col" title="{way}">{button}</th>'


def _clip_row(index: int, clip: Mapping[str, Any], shown: Sequence[str], metrics: Mapping[str, Any]) -> str:
    text = html.escape(clip["text"] or "")
    hidden = " hidden" if index >= _NUM_SHOWN else ""
    title = f' title="{text}"' if len(text) > _LONG_TEXT else ""
    values = (in_unit(clip_figure(clip, OURS, name), metrics[name]["unit"]) for name in shown)
    cells = "".join(f"<td>{number(value)}</td>" for value in values)
    name = f'<a href="#listen">{html.escape(clip["id"])}</a>'
    return (
        f'<tr data-clip="{index}"{hidden}><th scope="row">{name}</th>'
        f"<td>{html.escape(clip['group'])}</td><td{title}>{text}</td><td>{clip['duration_s']:.2f}</td>{cells}</tr>"
    )


def _json_for_script(data: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")

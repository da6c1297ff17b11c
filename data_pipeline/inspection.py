"""`dualdub data inspect`: what a folder of datasets holds."""

import os
import pathlib
from typing import Any

import av
import numpy as np
import rich.console
import rich.markup
import rich.table

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.corpus_figures import shortened, split_figures, table_rows
from dualdub_jax.data_pipeline.corpus_page import CorpusPage
from dualdub_jax.data_pipeline.dataset import Dataset, find_datasets
from dualdub_jax.data_pipeline.film_strip import film_strip
from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import as_local_path

_SHEET_ROWS = 12


def inspect(
    directory: str | os.PathLike[str],
    *,
    sheet: str | os.PathLike[str] | None = None,
    page: str | os.PathLike[str] | None = None,
    console: rich.console.Console | None = None,
) -> dict[str, dict[str, Any]]:
    """Prints what a folder of datasets holds.

    Args:
        directory: a dataset, or any folder above one; local or on an object store.
        sheet: where to write a PNG with frames of the first clips that have video; None writes none.
        page: where to write an HTML page with clips to look at and listen to; None writes none.
        console: where to print; None is standard output.

    Returns:
        "builder/config/split" -> its figures, see `split_figures`, and `megabytes`.

    Raises:
        UserError: no dataset there, or no clip with video for the sheet.
    """
    console = console or rich.console.Console()
    folders = find_datasets(directory)
    figures: dict[str, dict[str, Any]] = {}
    strips: list[np.ndarray] = []
    made = CorpusPage()
    for folder in folders:
        found = Dataset(folder)
        for split in found.splits:
            records = found.records(split)
            label = f"{found.name}/{split}"
            figures[label] = split_figures(records) | {"megabytes": round(found.num_bytes(split) / 1e6, 1)}
            _print(console, label, figures[label])
            for i in range(min(3, len(records))):
                clip = records[i]
                script = record.script(clip)
                shown = "(unknown)" if script is None else repr(shortened(script))
                line = f"    {record.text(clip['id'])}  {clip['duration_s']:.2f} s  {shown}"
                console.print(line, soft_wrap=True, markup=False, emoji=False)
                if clip["video"] and sheet is not None:
                    strips.append(film_strip(clip["video"]))
            if page is not None:
                made.add(label, records, figures[label])
        dropped = found.metadata.get("dropped") or {}
        if dropped:
            counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
            console.print(f"[bold]{found.name}[/bold]  dropped when built: {counts}", soft_wrap=True)
            made.add_dropped(found.name, dropped)
    if page is not None:
        made.write(as_local_path(page, "page"), str(directory))
        console.print(f"page: {page}", soft_wrap=True, markup=False)
    if sheet is not None:
        if not strips:
            raise UserError(
                f"{directory}: no clip has video, so there is nothing to draw; leave out the sheet"
            )
        width = max(strip.shape[1] for strip in strips[:_SHEET_ROWS])
        rows = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0))) for s in strips[:_SHEET_ROWS]]
        _write_png(as_local_path(sheet, "sheet"), np.concatenate(rows))
        console.print(f"sheet: {sheet}", soft_wrap=True)
    return figures


def _print(console: rich.console.Console, label: str, figures: dict[str, Any]) -> None:
    table = rich.table.Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in (*table_rows(figures), ("size", f"{figures['megabytes']} MB")):
        table.add_row(f"  {name}", rich.markup.escape(text))
    console.print(
        f"[bold]{label}[/bold]  {figures['clips']} clip{'s' * (figures['clips'] != 1)}", soft_wrap=True
    )
    console.print(table)


def _write_png(path: pathlib.Path, image: np.ndarray) -> None:
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt = "rgb24"
    packets = codec.encode(av.VideoFrame.from_ndarray(image, format="rgb24")) + codec.encode()
    try:
        path.write_bytes(b"".join(bytes(packet) for packet in packets))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from error

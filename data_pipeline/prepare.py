"""The functions behind `dualdub data build` and `dualdub data inspect`."""

import collections
import contextlib
import errno
import io
import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import av
import numpy as np
import rich.console
import rich.progress
import tensorflow_datasets as tfds

from data_pipeline.builders.puppet_stage.builder import PuppetStage, check_voice_bank
from dualdub_jax.errors import UserError

_BUILDERS = {"puppet_stage": PuppetStage}
_PLAIN_EVERY_S = 15.0


def build(
    name: str,
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    num_clips: int | Mapping[str, int] | None = None,
    num_processes: int | None = None,
    voice_bank: str = "hibari",
    console: rich.console.Console | None = None,
) -> list[pathlib.Path]:
    """Builds a dataset: a progress bar on a terminal, plain lines elsewhere.

    What is already there, built with the same settings, is left as it is.

    Args:
        name: "puppet_stage" for all of its configs, or one of them, as "puppet_stage/soundtrack".
        out_dir: records land in `out_dir/<builder>/<config>/<version>`.
        seed: the same seed gives the same bytes.
        num_clips: a number n is n training clips a config, and at most n in each other split; a mapping
            has keys like "train" (all configs) or "soundtrack/train" (one); None is the builder's default.
        num_processes: that work at the same time; None is one for each CPU.
        voice_bank: who speaks; "hibari", or "tone" for tests.
        console: where to report; None is standard error.

    Returns:
        The folder of each config, in the order of the curriculum.

    Raises:
        UserError: an unknown name or split, a package that is missing, a folder that cannot be written, or
            one that holds a build with other settings.
    """
    console = console or rich.console.Console(stderr=True)
    builder_name, _, only = name.partition("/")
    if builder_name not in _BUILDERS:
        raise UserError(f"{name}: no such dataset; choose one of {', '.join(_BUILDERS)}")
    builder_class = _BUILDERS[builder_name]
    configs = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    if only and only not in configs:
        raise UserError(f"{name}: no such config; choose one of {', '.join(configs)}")
    for key in num_clips if isinstance(num_clips, Mapping) else ():
        if not any(key in (split, f"{c}/{split}") for c in configs for split in configs[c].num_clips):
            raise UserError(f"num_clips {key!r}: no such split; use a split like train or soundtrack/train")
    check_voice_bank(voice_bank)
    out_dir = pathlib.Path(out_dir)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out_dir}: cannot be written ({error.strerror}); choose another --out") from error
    tfds.disable_progress_bar()  # ours counts clips, over all splits
    paths = []
    for config_name in [only] if only else configs:
        builder = builder_class(
            config=config_name,
            data_dir=out_dir,
            seed=seed,
            num_clips=_split_sizes(config_name, configs[config_name].num_clips, num_clips),
            voice_bank=voice_bank,
            num_processes=num_processes or os.cpu_count() or 1,
        )
        paths.append(pathlib.Path(builder.data_dir))
        if paths[-1].exists():
            _check_same_recipe(paths[-1], builder.recipe)
            console.print(f"{builder_name}/{config_name}: already built in {paths[-1]}", soft_wrap=True)
            continue
        with _Progress(console, f"{builder_name}/{config_name}", sum(builder.num_clips.values())) as progress:
            builder.on_clip = progress.advance
            try:
                # TFDS announces a download, of which there is none, on standard output.
                with contextlib.redirect_stdout(io.StringIO()):
                    builder.download_and_prepare()
            except (OSError, RuntimeError) as error:
                # The record writer reports a full disk as a RuntimeError that only quotes the system.
                for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                    if os.strerror(number) in str(error):
                        raise UserError(
                            f"{out_dir}: writing failed ({os.strerror(number)}); free some space or choose "
                            "another --out"
                        ) from error
                raise
    return paths


def _split_sizes(
    config_name: str, defaults: Mapping[str, int], num_clips: int | Mapping[str, int] | None
) -> dict[str, int]:
    if num_clips is None:
        return dict(defaults)
    if isinstance(num_clips, int):
        return {split: num_clips if split == "train" else min(n, num_clips) for split, n in defaults.items()}
    return {s: num_clips.get(f"{config_name}/{s}", num_clips.get(s, n)) for s, n in defaults.items()}


def _check_same_recipe(path: pathlib.Path, recipe: Mapping[str, Any]) -> None:
    metadata = path / "metadata.json"
    found = json.loads(metadata.read_text()).get("recipe") if metadata.is_file() else None
    if found != recipe:
        raise UserError(
            f"{path}: holds a build with other settings ({found}, not {dict(recipe)}); remove that folder or "
            "choose another --out"
        )


class _Progress:
    """Counts clips: a bar on a terminal, a line every 15 s elsewhere."""

    def __init__(self, console: rich.console.Console, label: str, total: int) -> None:
        self._console, self._label, self._total = console, label, total
        self._done, self._start_s, self._last_s = 0, time.monotonic(), time.monotonic()
        self._bar: rich.progress.Progress | None = None
        if console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeElapsedColumn(),
                rich.progress.TimeRemainingColumn(),
                console=console,
            )

    def __enter__(self) -> "_Progress":
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._say(f"done in {time.monotonic() - self._start_s:.0f} s")

    def advance(self) -> None:
        self._done += 1
        now_s = time.monotonic()
        if self._bar is not None:
            self._bar.advance(self._task)
        elif now_s - self._last_s > _PLAIN_EVERY_S:
            self._last_s = now_s
            left_s = (now_s - self._start_s) / self._done * (self._total - self._done)
            self._say(f"about {left_s:.0f} s left")

    def _say(self, text: str) -> None:
        self._console.print(f"{self._label}: {self._done}/{self._total} clips, {text}", soft_wrap=True)


def inspect(
    directory: str | os.PathLike[str],
    *,
    sheet: str | os.PathLike[str] | None = None,
    console: rich.console.Console | None = None,
) -> dict[str, dict[str, Any]]:
    """Prints what a folder of datasets holds.

    Args:
        directory: a dataset, or any folder above one.
        sheet: where to write a PNG with frames of the first clips that have video; None writes none.
        console: where to print; None is standard output.

    Returns:
        "builder/config/split" -> its figures: `clips`, `seconds`, `megabytes`, `with_video`, `with_script`,
        `empty_scripts`, `contacts` (class -> number) and `voices` (number of them).

    Raises:
        UserError: no dataset there, or no clip with video for the sheet.
    """
    console = console or rich.console.Console()
    directory = pathlib.Path(directory)
    folders = sorted(path.parent for path in directory.rglob("dataset_info.json"))
    if not folders:
        raise UserError(
            f"{directory}: no dataset there; make one with `dualdub data build puppet_stage --out DIR`"
        )
    figures: dict[str, dict[str, Any]] = {}
    strips: list[np.ndarray] = []
    for folder in folders:
        builder = tfds.builder_from_directory(str(folder))
        for split, info in builder.info.splits.items():
            source = builder.as_data_source(split)
            label = f"{builder.info.full_name.rpartition('/')[0]}/{split}"
            figures[label] = _figures(source) | {"megabytes": round(info.num_bytes / 1e6, 1)}
            console.print(f"[bold]{label}[/bold]  {_sentence(figures[label])}", soft_wrap=True)
            for i in range(min(3, len(source))):
                record = source[i]
                script = record["script"].decode() if record["has_script"] else "(unknown)"
                console.print(
                    f"    {record['id'].decode()}  {record['duration_s']:.2f} s  {script!r}",
                    soft_wrap=True,
                )
                if record["video"] and sheet is not None:
                    strips.append(_strip(record["video"]))
    if sheet is not None:
        if not strips:
            raise UserError(
                f"{directory}: no clip has video, so there is nothing to draw; leave out the sheet"
            )
        _write_png(pathlib.Path(sheet), np.concatenate(strips[:12]))
        console.print(f"sheet: {sheet}", soft_wrap=True)
    return figures


def _figures(source: Any) -> dict[str, Any]:
    contacts: collections.Counter[str] = collections.Counter()
    voices = set()
    numbers: collections.Counter[str] = collections.Counter()
    seconds = 0.0
    for record in source:
        events = json.loads(record["events"]) if record["events"] else {}
        contacts.update(contact["class"] for contact in events.get("contacts", ()))
        voices.add(events.get("speech", {}).get("voice_id"))
        numbers["clips"] += 1
        seconds += float(record["duration_s"])
        numbers["with_video"] += bool(record["video"])
        numbers["with_script"] += bool(record["has_script"])
        numbers["empty_scripts"] += bool(record["has_script"]) and not record["script"]
    return {
        "clips": numbers["clips"],
        "seconds": seconds,
        "with_video": numbers["with_video"],
        "with_script": numbers["with_script"],
        "empty_scripts": numbers["empty_scripts"],
        "contacts": dict(sorted(contacts.items())),
        "voices": len(voices - {None}),
    }


def _sentence(figures: Mapping[str, Any]) -> str:
    text = (
        f"{figures['clips']} clips, {figures['seconds'] / 60:.1f} min, {figures['megabytes']} MB; "
        f"{figures['with_video']} with video, {figures['with_script']} with a script "
        f"({figures['empty_scripts']} of them empty), {figures['voices']} voices"
    )
    if figures["contacts"]:
        text += "; contacts: " + ", ".join(f"{kind} {n}" for kind, n in figures["contacts"].items())
    return text


def _strip(video: bytes, num_columns: int = 12) -> np.ndarray:
    """Frames spread over a film, in white seams, side by side, twice as large: uint8[height, width, 3]."""
    with av.open(io.BytesIO(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    indices = np.linspace(0, len(frames) - 1, num_columns).round().astype(int)
    chosen = [np.pad(frames[i], ((0, 1), (0, 1), (0, 0)), constant_values=255) for i in indices]
    return np.concatenate(chosen, axis=1).repeat(2, axis=0).repeat(2, axis=1)


def _write_png(path: pathlib.Path, image: np.ndarray) -> None:
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt = "rgb24"
    packets = codec.encode(av.VideoFrame.from_ndarray(image, format="rgb24")) + codec.encode()
    try:
        path.write_bytes(b"".join(bytes(packet) for packet in packets))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from error

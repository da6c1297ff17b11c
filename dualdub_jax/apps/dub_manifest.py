"""`dualdub dub --manifest`: from the arguments to the films, their summary and the exit status."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dualdub_jax.dubbing.manifest import read_manifest
from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import check_folder

if TYPE_CHECKING:
    from dualdub_jax.dubbing.delivery import Targets
    from dualdub_jax.dubbing.ledger import Part
    from dualdub_jax.dubbing.manifest_run import Delivered, Model
    from dualdub_jax.dubbing.project import Project

# Options that apply to one of the two ways of `dub`; with the other they are an error, not silently ignored.
_ONLY_ONE_FILM = ("output", "resume", "take", "retake")
_ONLY_MANIFEST = ("out", "batch_size", "part")
_PLACES = ("stems", "receipt", "report", "project")
_OUTPUT_SETTINGS = ("subtitles", "stem_rate", "audio_tracks", "language")


def check_usage(args: argparse.Namespace) -> None:
    """Checks that the options go with one film, or with a manifest.

    Raises:
        UserError: an option of the other way, or a manifest without a folder.
    """
    if args.video is not None and args.manifest is not None:
        raise UserError("--manifest: names the films; leave out VIDEO")
    if args.manifest is None:
        wrong, remedy = _ONLY_MANIFEST, "only goes with --manifest; for one film, name its output with -o"
    else:
        wrong, remedy = _ONLY_ONE_FILM, "is of one film; leave it out with --manifest FILE --out DIR"
    for name in wrong:
        if getattr(args, name) not in (None, False):
            raise UserError(f"--{name.replace('_', '-')}: {remedy}")
    if args.manifest is not None and args.out is None:
        raise UserError("--manifest: give --out DIR, the folder for the films")


def run(args: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    """Runs the command.

    Args:
        args: of the command line.
        settings: of all films: arguments of `DubRequest`.

    Returns:
        The exit status: 0, or 1 if any film failed.

    Raises:
        UserError: the manifest or the folder cannot be used.
    """
    check_folder(args.out, "--out")
    part = _part(args.part)
    outputs = {name: str(path) for name in _PLACES if (path := getattr(args, name)) is not None}
    outputs |= {name: value for name in _OUTPUT_SETTINGS if (value := getattr(args, name)) is not None}
    lines = read_manifest(args.manifest, args.out, settings, outputs)
    from dualdub_jax.bundles.bundle import default_bundle_path, read_bundle_header
    from dualdub_jax.dubbing.manifest_run import run_manifest
    from dualdub_jax.dubbing.progress import make_progress
    from dualdub_jax.stores.digests import describe_folder

    checkpoint = args.checkpoint or default_bundle_path()
    read_bundle_header(checkpoint)  # an error before anything is hashed
    setup = {"checkpoint": describe_folder(checkpoint)["sha256"], "decoder": args.decoder}
    summary = run_manifest(
        lines,
        args.out,
        setup,
        lambda: _load(args),
        lambda project, targets: _write(project, targets, args.command_line),
        part=part,
        progress=make_progress(),
        report=lambda text: print(text, flush=True),
        warn=lambda text: print(f"dualdub: {text}", file=sys.stderr, flush=True),
    )
    print(summary.describe())
    if summary.num_failed:
        print(f"failures are listed in {summary.failures}; the same command tries them again")
    return 1 if summary.num_failed else 0


def _load(args: argparse.Namespace) -> "Model":
    import dualdub_jax
    from dualdub_jax.dubbing.batch_size import default_rows_per_device
    from dualdub_jax.dubbing.manifest_run import Model
    from dualdub_jax.evaluation.run.take_scores import score_take
    from dualdub_jax.parallel.program_cache import keep_programs

    keep_programs()
    model = dualdub_jax.load(
        args.checkpoint, allow_code=args.allow_code, use_codec_decoders=args.decoder == "codec"
    )
    return Model(model.engine, model.checkpoint, args.batch_size or default_rows_per_device(), score_take)


def _write(project: "Project", targets: "Targets", command: Sequence[str]) -> "Delivered":
    from dualdub_jax.apps.finished_project import deliver_with_quality
    from dualdub_jax.dubbing.manifest_run import Delivered

    files, quality = deliver_with_quality(project, targets, command=command)
    return Delivered(files, quality.verdict)


def _part(text: str | None) -> "Part":
    from dualdub_jax.dubbing.ledger import Part

    if text is None:
        return Part()
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= count:
        raise UserError(f"--part {text}: expected I/N with I from 1 to N, such as 1/4")
    return Part(index, count)

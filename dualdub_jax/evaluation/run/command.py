"""`dualdub evaluate`: from the arguments to table, JSON, HTML report and exit status."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich.console

from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import Outputs, check_folder, check_outputs

if TYPE_CHECKING:
    from dualdub_jax.evaluation.suites.sound import Reading
    from dualdub_jax.evaluation.suites.suite import Suite

# Options that apply to some suites only; for another suite they are an error, not silently ignored.
_OPTIONS = {
    "world_seed": ("puppet",),
    "split": ("puppet", "dataset"),
    "data": ("dataset",),
    "group_by": ("dataset",),
    "list": ("dualbench",),
    "media": ("dualbench",),
    "checkpoint": ("puppet", "dualbench", "dataset"),
    "seed": ("puppet", "dualbench", "dataset"),
    "batch_size": ("puppet", "dualbench", "dataset"),
}


def run(args: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        The exit status: 0, or 1 if any clip failed.

    Raises:
        UserError: incompatible arguments or unusable inputs.
    """
    console = rich.console.Console(highlight=False)
    if not args.list_metrics:
        name = _suite_name(args)
        workdir = args.workdir or pathlib.Path(
            "out", "evaluate", f"pairs-{args.pairs.stem}" if args.pairs else name
        )
        if args.weights is not None and not args.weights.is_dir():
            raise UserError(
                f"--weights {args.weights}: no such folder; give the one that holds cnn14/, vggish/, … "
                "(docs/weights.md)"
            )
        _check_paths(args, workdir)
    # Imported once the arguments are known to be usable: this takes seconds.
    from dualdub_jax.bundles.bundle import default_bundle_path
    from dualdub_jax.dubbing.progress import make_progress
    from dualdub_jax.evaluation.contracts import registry
    from dualdub_jax.evaluation.contracts.results import to_json
    from dualdub_jax.evaluation.report.terminal import print_metrics, print_results
    from dualdub_jax.evaluation.run.runner import LOG_FILE, evaluate
    from dualdub_jax.evaluation.run.scoring import missing_requirement
    from dualdub_jax.evaluation.run.systems import Checkpoint
    from dualdub_jax.evaluation.run.workers import default_jobs
    from dualdub_jax.evaluation.statistics.against import find_other
    from dualdub_jax.parallel.program_cache import keep_programs

    keep_programs()

    is_paper = args.protocol == "paper"
    if args.weights is not None and not is_paper:
        raise UserError("--weights: applies to --protocol paper; leave it out, or add the protocol")
    if is_paper:
        every = registry.paper_metrics(args.weights, args.casp_weights)
    else:
        every = registry.all_metrics(args.casp_weights)
    metrics = registry.select(every, args.metrics, args.skip or ())
    rows = _rows(args.rows, args.against is not None)
    if args.list_metrics:
        print_metrics(metrics, {metric.name: missing_requirement(metric) for metric in metrics}, console)
        return 0
    other = None if args.against is None else find_other(args.against)
    if other is not None and other.kind == "checkpoint" and name == "pairs":
        raise UserError(
            f"--against {args.against}: a checkpoint, but --pairs generates no soundtracks; give the JSON of "
            "another run"
        )
    reading = "first_channel" if is_paper else "mean"
    suite = _make_suite(name, args, workdir, reading)
    checkpoint = None
    if suite.is_generated:
        checkpoint = Checkpoint(
            args.checkpoint or default_bundle_path(),
            args.seed or 0,
            args.allow_code,
            reading,
            args.batch_size,
        )
    other_checkpoint = None
    if other is not None and other.kind == "checkpoint":
        other_checkpoint = Checkpoint(args.against, args.seed or 0, args.allow_code, reading, args.batch_size)
    progress = make_progress()
    results = evaluate(
        suite,
        metrics,
        workdir,
        checkpoint=checkpoint,
        other=other,
        other_checkpoint=other_checkpoint,
        rows=rows,
        jobs=args.jobs or default_jobs(len(suite.ids)),
        progress=progress,
    )
    console.print()
    print_results(results, workdir / LOG_FILE, console)
    if is_paper:
        from dualdub_jax.evaluation.report.paper_table import print_paper_table

        console.print()
        print_paper_table(results, console)
    if args.json is not None:
        with Outputs() as outputs:
            with outputs.open(args.json) as file:
                file.write(to_json(results).encode("utf-8"))
            outputs.commit()
        console.print(f"wrote {args.json}", markup=False, soft_wrap=True)
    if args.html is not None:
        from dualdub_jax.evaluation.report.html_report import write_html

        write_html(results, args.html, files_root=workdir)
        console.print(f"wrote {args.html}", markup=False, soft_wrap=True)
    return 1 if results["failures"] else 0


def _rows(names: Sequence[str] | None, is_compared: bool) -> Sequence[str]:
    from dualdub_jax.evaluation.contracts.results import OURS, SYSTEMS

    if names is None:
        return SYSTEMS
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown or not names:
        raise UserError(f"--rows {','.join(names)}: choose from {', '.join(SYSTEMS)}")
    if is_compared and OURS not in names:
        raise UserError(f"--rows {','.join(names)}: --against compares the row {OURS}; add it")
    return [name for name in SYSTEMS if name in names]


def _check_paths(args: argparse.Namespace, workdir: pathlib.Path) -> None:
    inputs = [path for path in (args.list, args.pairs) if path is not None]
    check_outputs([path for path in (args.json, args.html) if path is not None], inputs)
    check_folder(workdir, "--workdir")
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path}: cannot be read (no such file); give a file with one JSON object a line")
    if args.media is not None and not args.media.is_dir():
        raise UserError(f"--media {args.media}: no such folder; give the folder with the clips' files")
    if args.checkpoint is not None and not args.checkpoint.is_dir():
        raise UserError(
            f"{args.checkpoint}: no such checkpoint folder; give the bundle/ folder that `dualdub train` "
            "writes"
        )
    if args.against is not None and not args.against.exists():
        raise UserError(
            f"--against {args.against}: neither a checkpoint folder nor the JSON or the working directory of "
            "another evaluation; give one of them"
        )


def _suite_name(args: argparse.Namespace) -> str:
    if (args.suite is None) == (args.pairs is None):
        raise UserError("give either --suite puppet, dualbench or dataset, or --pairs MANIFEST.jsonl")
    name = args.suite or "pairs"
    for option, suites in _OPTIONS.items():
        if getattr(args, option) is not None and name not in suites:
            suite = "--pairs" if name == "pairs" else f"--suite {name}"
            raise UserError(f"--{option.replace('_', '-')}: does not apply to {suite}; leave it out")
    if name == "dataset" and args.data is None:
        raise UserError("--suite dataset: give --data DIR, a dataset of `dualdub data build`")
    if name == "dualbench" and (args.list is None or args.media is None):
        raise UserError("--suite dualbench: give --list video-to-soundtrack.jsonl and --media DIR")
    return name


def _make_suite(name: str, args: argparse.Namespace, workdir: pathlib.Path, reading: "Reading") -> "Suite":
    if name == "puppet":
        from dualdub_jax.evaluation.suites.puppet import DEFAULT_LIMIT, DEFAULT_WORLD_SEED, PuppetSuite

        return PuppetSuite(
            workdir,
            limit=args.limit or DEFAULT_LIMIT,
            world_seed=DEFAULT_WORLD_SEED if args.world_seed is None else args.world_seed,
            split=args.split or "test",
        )
    if name == "dataset":
        from dualdub_jax.evaluation.suites.dataset import DatasetSuite

        return DatasetSuite(
            args.data, workdir, split=args.split or "test", limit=args.limit, group_by=args.group_by or ""
        )
    if name == "dualbench":
        from dualdub_jax.evaluation.suites.dualbench import DualBenchSuite

        return DualBenchSuite(args.list, args.media, limit=args.limit, reading=reading)
    from dualdub_jax.evaluation.suites.pairs import PairsSuite

    return PairsSuite(args.pairs, limit=args.limit, reading=reading)

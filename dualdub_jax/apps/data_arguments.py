"""The options of `dualdub data`."""

import argparse
from typing import TYPE_CHECKING

from dualdub_jax.apps.argument_types import add_config, count
from dualdub_jax.stores.argument import local, stored

if TYPE_CHECKING:
    from dualdub_jax.data_pipeline.builders.base import Builder


def add_data(commands: argparse._SubParsersAction, builder: "type[Builder] | None") -> None:
    data = commands.add_parser(
        "data",
        help="build, prepare, inspect and check datasets",
        description="Builds, prepares, inspects and checks datasets.",
        epilog="example:\n  dualdub data build puppet_stage --out data",
    )
    actions = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    build = actions.add_parser(
        "build",
        help="make a dataset of a source",
        description="Makes a dataset of a source with a builder. Each builder has options of its own: see "
        "`dualdub data build NAME --help`.",
        epilog="examples:\n"
        "  dualdub data build puppet_stage --out data --clips 2000 --processes 4\n"
        "  dualdub data build folder --source films --out data --clip-s 4\n"
        "  dualdub data build manifest --source clips.csv --out data"
        if builder is None or not builder.example
        else f"example:\n  dualdub data build {builder.name} {builder.example} --out data",
    )
    add = build.add_argument
    add(
        "name",
        metavar="NAME",
        help="the builder, first of all: folder, manifest, webdataset, parquet, libritts, ljspeech, "
        "vggsound, grid, v2c_animation, anim400k, puppet_stage (or one config of it, as "
        "puppet_stage/soundtrack), or an import path such as package.module:Class",
    )
    add(
        "--out",
        required=True,
        type=stored,
        metavar="DIR",
        help="where datasets are kept; also gs://… or s3://…",
    )
    add("--processes", type=count, metavar="N", help="number of parallel processes (default: one per core)")
    _add_beam(build)
    if builder is not None:
        builder.add_arguments(build.add_argument_group(f"options of {builder.name}", builder.description))
    build.set_defaults(command="data build", builder=builder)
    prepare = actions.add_parser(
        "prepare",
        help="store what frozen encoders make of a dataset beside it",
        description="Computes, once for each clip, the video features that a config's model reads and the "
        "codec tokens of a bundle, and stores them beside the records. Rerunning computes only what is "
        "missing.",
        epilog="example:\n"
        "  dualdub data prepare data/films --config my_config.py --codecs-from runs/a/bundle",
    )
    _add_folder(prepare)
    add_config(prepare)
    prepare.add_argument("--codecs-from", type=stored, metavar="BUNDLE",
        help="also store tokens of this bundle's codecs (default: the config's codecs_from, where that is a "
        "bundle and no codec is trained)")  # fmt: skip
    _add_beam(prepare)
    prepare.set_defaults(command="data prepare")
    inspect = actions.add_parser(
        "inspect",
        help="print what a dataset holds",
        description="Prints what a dataset holds: clips, hours, lengths, rates, parts, speakers, "
        "licences, levels, classes; and writes a page with clips to look at and listen to, worst and best "
        "aligned first.",
        epilog="example:\n  dualdub data inspect data/films --html films.html",
    )
    _add_folder(inspect)
    inspect.add_argument("--html", type=local, metavar="FILE",
        help="the page (default: inspect.html in DIR, if that is local)")  # fmt: skip
    inspect.add_argument("--sheet", type=local, metavar="PNG", help="also draw a sheet of examples")
    inspect.set_defaults(command="data inspect")
    check = actions.add_parser(
        "check",
        help="list the records that a config cannot take",
        description="Reads every record of the datasets as training with a config does, and lists those that "
        "cannot be used, with reasons. Exit status 2 if there are any.",
        epilog="example:\n  dualdub data check data/films --config my_config.py --json check.json",
    )
    _add_folder(check)
    add_config(check)
    check.add_argument(
        "--json", type=local, metavar="FILE", help="also write ids, reasons and counts to this file"
    )
    check.set_defaults(command="data check")


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=stored, metavar="DIR", help="a built dataset, or a folder above several"
    )


def _add_beam(parser: argparse.ArgumentParser) -> None:
    """Options of work that Apache Beam can distribute."""
    parser.add_argument("--beam-runner", metavar="RUNNER",
        help="work on Apache Beam: DirectRunner, FlinkRunner, SparkRunner or DataflowRunner")  # fmt: skip
    parser.add_argument("--beam-option", dest="beam_options", action="append", default=[],
        metavar="NAME=VALUE", help="an option of the runner; may be repeated")  # fmt: skip

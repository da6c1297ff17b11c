"""The command line's grammar: commands, options, their types and help.

The commands themselves are in `cli.py`. Nothing heavy is imported here, so that `--help` answers at once.
"""

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from dualdub_jax.apps.argument_types import (
    ALLOW_CODE_HELP,
    add_config,
    add_model,
    add_overrides,
    count,
    names,
    seed,
)
from dualdub_jax.apps.data_arguments import add_data
from dualdub_jax.apps.dub_arguments import add_demo, add_dub
from dualdub_jax.apps.web.arguments import add_web
from dualdub_jax.errors import UserError
from dualdub_jax.stores.argument import local, stored

if TYPE_CHECKING:
    from dualdub_jax.data_pipeline.builders.base import Builder

_OVERRIDE = "--config."


class _Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
        # "-23dB" is a wrong number and no option, so that the error names what is wrong with it.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of one command; its name is in `command`.

    Raises:
        UserError: bad usage.
    """
    parser = make_parser(_builder_named(argv))
    args, rest = parser.parse_known_args(argv)
    overrides = [item[len(_OVERRIDE) :] for item in rest if item.startswith(_OVERRIDE)]
    unknown = [item for item in rest if not item.startswith(_OVERRIDE)]
    if overrides and not hasattr(args, "overrides"):
        takers = "`dualdub train`, `export`, `aot`, `data prepare` and `data check`"
        unknown.append(f"{_OVERRIDE}{overrides[0]} (only {takers} take it)")
    if unknown:
        raise UserError(f"unknown argument {unknown[0]}; see {parser.prog} {args.command} --help")
    args.overrides = overrides
    return args


def _builder_named(argv: Sequence[str]) -> "type[Builder] | None":
    """The builder in `data build NAME …`, whose own options the parser takes; None in other commands."""
    if list(argv[:2]) != ["data", "build"] or len(argv) < 3 or argv[2].startswith("-"):
        return None
    from dualdub_jax.data_pipeline.builders.registry import find_builder, split_name

    return find_builder(split_name(argv[2])[0])


def make_parser(builder: "type[Builder] | None" = None) -> argparse.ArgumentParser:
    """The parser of all commands; `data build` takes the options of `builder`."""
    parser = _Parser(
        prog="dualdub",
        description="Generates the soundtrack of a silent film: synchronized speech and background tracks.",
        epilog="example:\n  dualdub demo",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add_demo(commands)
    add_dub(commands)
    add_web(commands)
    _add_train(commands)
    add_data(commands, builder)
    _add_evaluate(commands)
    _add_export(commands)
    _add_convert(commands)
    _add_codec(commands)
    _add_aot(commands)
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        "train",
        help="train a model: codecs, then the stages of the curriculum",
        description="Trains all phases of a config in order. Rerunning resumes from the last checkpoint. "
        "Config, disk and a sample of the data are checked before the first step.",
        epilog="examples:\n"
        "  dualdub train --config puppet --workdir runs/puppet\n"
        "  dualdub train --config puppet --workdir runs/puppet --check\n"
        "  dualdub train --config puppet --workdir runs/wide --config.model.width=256\n"
        "  dualdub train --config puppet --workdir runs/puppet --extend --config.stages.2.num_steps=6000",
    )
    add_config(train)
    add = train.add_argument
    add(
        "--workdir",
        required=True,
        type=stored,
        metavar="DIR",
        help="folder for checkpoints, metrics and logs; a local path, gs://… or s3://…",
    )
    add("--phases", metavar="A,B", help="train only these phases (default: all)")
    add("--check", action="store_true", help="check config, data and disk, and train nothing")
    add("--extend", action="store_true", help="continue with more steps, another schedule, other batches or "
        "weights of losses; optimizer state and step numbers are kept")  # fmt: skip
    several = train.add_argument_group(
        "several processes",
        "Start the same command on every host, with --workdir on a shared disk or an object store.",
    )
    several.add_argument("--distributed", action="store_true",
        help="one of several processes; a TPU slice, SLURM or Kubernetes gives rank and number")  # fmt: skip
    several.add_argument("--coordinator", metavar="HOST:PORT",
        help="address of process 0, without such a cluster")  # fmt: skip
    several.add_argument("--num-processes", type=count, metavar="N", help="number of processes")
    several.add_argument("--process-id", type=seed, metavar="I", help="rank of this process, from 0")
    train.set_defaults(command="train")


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score soundtracks of a checkpoint or of any system",
        description="Scores soundtracks, with ceilings, floors and confidence intervals. Rerunning resumes. "
        "Exit status 1 if any clip failed.",
        epilog="examples:\n"
        "  dualdub evaluate --suite puppet --limit 50 --json out.json --html out.html\n"
        "  dualdub evaluate --suite puppet --checkpoint runs/a/bundle --against runs/b/bundle\n"
        "  dualdub evaluate --suite dataset --data data/folder --split test --checkpoint runs/a/bundle\n"
        "  dualdub evaluate --suite dualbench --list video-to-soundtrack.jsonl --media clips\n"
        "  dualdub evaluate --suite dualbench … --protocol paper --weights weights   (the paper's columns)\n"
        "  dualdub evaluate --pairs manifest.jsonl --metrics wer,loudness   (no model needed)\n"
        "The protocol and the manifest's keys are in docs/evaluation.md.",
    )
    add = evaluate.add_argument
    add(
        "--suite",
        choices=("puppet", "dualbench", "dataset"),
        help="generate soundtracks for these films and score them",
    )
    add("--pairs", type=local, metavar="FILE", help="score the soundtracks listed in this manifest")
    add_model(evaluate)
    add("--against", type=stored, metavar="OTHER",
        help="compare clip by clip with another checkpoint, or another run's JSON or workdir")  # fmt: skip
    add("--limit", type=count, metavar="N", help="number of clips (default: puppet 200, others all)")
    add("--workdir", type=local, metavar="DIR",
        help="keeps soundtracks and scores (default: out/evaluate/SUITE)")  # fmt: skip
    add("--json", type=local, metavar="FILE", help="all results and the protocol")
    add("--html", type=local, metavar="FILE", help="a page with table, worst clips and players")
    add("--metrics", type=names, metavar="A,B", help="only these metrics or figures (default: all)")
    add("--skip", type=names, metavar="A,B", help="leave out these metrics")
    add(
        "--rows",
        type=names,
        metavar="A,B",
        help="only these rows: ours, true, codec, shuffled (default: all)",
    )
    add("--batch-size", type=count, metavar="N",
        help="clips that a device generates at once (default: 1 on CPUs, 8 elsewhere)")  # fmt: skip
    add("--jobs", type=count, metavar="N",
        help="processes that score (default: one a core, 3 GiB of memory and 4 clips for each)")  # fmt: skip
    add("--casp-weights", type=stored, metavar="DIR",
        help="converted CASP weights (default: a small CASP of the puppet world)")  # fmt: skip
    add("--protocol", choices=("ours", "paper"), default="ours",
        help="the figures: ours (default), or the columns of the paper's tables")  # fmt: skip
    add("--weights", type=local, metavar="DIR",
        help="converted weights of the paper's metric models, one folder each (docs/weights.md)")  # fmt: skip
    add("--list-metrics", action="store_true", help="list all metrics and the packages that they need")
    add("--seed", type=seed, metavar="N", help="of the sampling (default: 0)")
    puppet = evaluate.add_argument_group("puppet")
    puppet.add_argument(
        "--world-seed", type=seed, metavar="N", help="of the films (default: 1; 0 is the training data's)"
    )
    puppet.add_argument(
        "--split",
        metavar="NAME",
        help="test (default); puppet: test_seen, test_unseen, validation",
    )
    dataset = evaluate.add_argument_group("dataset")
    dataset.add_argument("--data", type=stored, metavar="DIR", help="a dataset of `dualdub data build`")
    dataset.add_argument(
        "--group-by", metavar="NAME", help="figures by a record's field or annotation, such as licence"
    )
    dualbench = evaluate.add_argument_group("dualbench")
    dualbench.add_argument("--list", type=local, metavar="FILE", help="the authors' list, unchanged")
    dualbench.add_argument("--media", type=local, metavar="DIR", help="folder with the clips' files")
    evaluate.set_defaults(command="evaluate")


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser(
        "export",
        help="write a bundle: parameters, config and codecs of a checkpoint",
        description="Writes a bundle of a training checkpoint, also during training, or of another bundle. "
        "Averaged parameters by default.",
        epilog="examples:\n"
        "  dualdub export runs/puppet out/bundle     (the newest checkpoint of its last stage)\n"
        "  dualdub export runs/puppet out/best --step best\n"
        "  dualdub export runs/puppet/soundtrack/500 out/step500 --raw-params\n"
        "  dualdub export runs/puppet/bundle out/hub --format safetensors --dtype bfloat16\n"
        "docs/export.md explains how to load the result with and without this package.",
    )
    add = export.add_argument
    add("checkpoint", type=stored, metavar="CKPT",
        help="a bundle, a run's --workdir, WORKDIR/STAGE, or WORKDIR/STAGE/STEP")  # fmt: skip
    add("out", type=stored, metavar="OUT", help="a new or empty folder; CKPT and OUT also gs://… or s3://…")
    add("--format", choices=("orbax", "safetensors"), default="orbax", help="default: orbax")
    add("--step", type=_step, default="newest", metavar="STEP",
        help="of the stage: a number, newest (default), or best, of the lowest held-out loss")  # fmt: skip
    add("--raw-params", action="store_true", help="the step's parameters, not their moving average")
    add("--dtype", choices=("float32", "bfloat16"),
        help="default: as in the bundle; of a run: its config's checkpoint.bundle_dtype")  # fmt: skip
    add("--codecs-from", type=stored, metavar="DIR",
        help="where the run's codecs_from is now, if it was moved")  # fmt: skip
    add("--config", metavar="FILE", help="of the run, where its workdir has no run_config.json")
    add_overrides(export, "the overrides given to `dualdub train`; only with --config")
    add("--allow-code", action="store_true", help=ALLOW_CODE_HELP)
    export.set_defaults(command="export")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser(
        "convert",
        help="convert the weights of a public codec, image encoder or autoencoder",
        description="Recognises a public checkpoint by its tensors, and writes its weights to a folder that "
        "configs name. Reads safetensors and PyTorch files; code in them is not run. Language models need no "
        "conversion: dualdub train --config.init_from.backbone=DIR.",
        epilog="examples:\n"
        "  dualdub convert wavtokenizer_large_unify_600_24k.ckpt weights/wavtokenizer\n"
        "  dualdub convert clip-vit-base-patch32 weights/clip     (a folder as Hugging Face writes it)\n"
        "docs/weights.md lists the models, their licences and how configs name them.",
    )
    add = convert.add_argument
    add("source", type=local, metavar="SOURCE", help="a .safetensors or PyTorch file, or a folder with one")
    add("out", type=local, metavar="OUT", help="a new or empty folder")
    convert.set_defaults(command="convert")


def _add_codec(commands: argparse._SubParsersAction) -> None:
    codec = commands.add_parser(
        "codec",
        help="encode a sound with a codec, and decode it",
        description="Encodes a sound to tokens and decodes tokens to sound: what a codec loses is audible.",
        epilog="example:\n  dualdub codec roundtrip song.mp3 --codec default:background --out decoded.wav",
    )
    actions = codec.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, what, example in (
        ("encode", "encode a sound to a file of tokens",
         "song.mp3 --codec weights/wavtokenizer --out song.tokens"),
        ("decode", "decode a file of tokens to a sound", "song.tokens --out song.wav"),
        ("roundtrip", "encode a sound and decode it again",
         "film.mp4 --codec default:speech --out decoded.wav"),
    ):  # fmt: skip
        action = actions.add_parser(
            name,
            help=what,
            description=f"{what.capitalize()}. Prints tokens and bits per second, and the speed.",
            epilog=f"example:\n  dualdub codec {name} {example}",
        )
        add = action.add_argument
        is_sound = name != "decode"
        if is_sound:
            add("file", type=local, metavar="FILE", help="any sound, or a film with sound")
        else:
            add("file", type=local, metavar="TOKENS", help="a file of `dualdub codec encode`")
        add("--codec", required=is_sound, metavar="CODEC",
            help="a folder of `dualdub convert`, or BUNDLE:speech or BUNDLE:background; BUNDLE may be default"
            + ("" if is_sound else " (default: where the codec of the tokens was)"))  # fmt: skip
        if is_sound:
            add("--codebooks", type=count, metavar="N", help="of converted weights, use the first N only")
        add("--voice", type=local, metavar="FILE",
            help="the speaker's, for a decoder that is conditioned on one (default: the sound)")  # fmt: skip
        add("-o", "--out", type=local, required=True, metavar="FILE",
            help="the file of tokens" if name == "encode" else "the sound, .wav or .flac")  # fmt: skip
        add("--allow-code", action="store_true", help=ALLOW_CODE_HELP)
        action.set_defaults(command=f"codec {name}")


def _add_aot(commands: argparse._SubParsersAction) -> None:
    aot = commands.add_parser(
        "aot",
        help="estimate training on an absent TPU slice",
        description="Compiles the real train step for an absent TPU slice and reports memory, FLOPs, traffic "
        "between devices and an estimated step time. Needs libtpu (pip install 'libtpu==0.0.42.*'), no TPU.",
        epilog="examples:\n"
        "  dualdub aot --config base --topology v5e:4x4\n"
        "  dualdub aot --config large --topology v5e:8x8 --mesh data=8,fsdp=8 --json out.json\n"
        "docs/scaling.md explains the figures.",
    )
    add_config(aot)
    add = aot.add_argument
    add("--topology", required=True, metavar="CHIP:SHAPE", help="the slice, such as v5e:8x8 or v5p:4x4x4")
    add("--mesh", metavar="AXIS=N,…", help="sizes of data, fsdp, tensor, sequence (default: the config's)")
    add("--stage", metavar="NAME", help="stage whose train step is compiled (default: the last)")
    add("--phase", metavar="NAME", help="phase of a waveform decoder whose train step is compiled, such as "
        "decoder_speech")  # fmt: skip
    add("--decode", action="store_true", help="compile generation of a window, not a train step")
    add("--json", type=local, metavar="FILE", help="also write the figures to this file")
    aot.set_defaults(command="aot")


def _step(text: str) -> int | str:
    if text in ("newest", "best"):
        return text
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a step, newest or best, got {text!r}") from None

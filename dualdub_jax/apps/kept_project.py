"""`dualdub dub` on a project that is there: which arguments it takes, and what it does.

    dualdub dub [VIDEO] --project DIR                     delivers the chosen take once more
    dualdub dub [VIDEO] --project DIR --take K            delivers another take
    dualdub dub [VIDEO] --project DIR --retake REGION     generates a region anew
    dualdub dub --project DIR --resume                    continues an interrupted project

VIDEO is where the film is now, if it was moved. All that the soundtrack depends on is in the project.
"""

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from dualdub_jax.errors import UserError

if TYPE_CHECKING:
    from dualdub_jax.dubbing.progress import Progress
    from dualdub_jax.dubbing.project import Project
    from dualdub_jax.dubbing.request import DubRequest

_OF_A_KEPT_PROJECT = {
    *("command", "overrides", "video", "project", "resume", "take", "retake", "seed", "checkpoint"),
    *("allow_code", "allow_inaudible", "output", "stems", "receipt", "report", "command_line"),
    *("subtitles", "stem_rate", "audio_tracks", "language"),
}


def is_meant(args: argparse.Namespace) -> bool:
    """Whether the arguments of `dualdub dub` are about a project that is there."""
    return args.video is None or args.retake is not None or args.take is not None


def check(args: argparse.Namespace) -> None:
    """Checks that the arguments go together.

    Raises:
        UserError: they do not.
    """
    if args.project is None:
        what = "VIDEO" if args.video is None else "--retake" if args.retake is not None else "--take"
        raise UserError(
            "VIDEO: is missing; name the film, or a --project that is there (see dualdub dub --help)"
            if what == "VIDEO"
            else f"{what}: only goes with a project that is there; add --project DIR"
        )
    asked = [f"--{name}" for name in ("resume", "take", "retake") if getattr(args, name)]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)}: do not go together; do one after the other")
    if args.seed is not None and args.retake is None:
        raise UserError("--seed: belongs to the project already; leave it out, or add --retake")
    from dualdub_jax.apps.arguments import make_parser

    defaults = vars(make_parser().parse_args(["dub"]))
    for name, value in vars(args).items():
        if name not in _OF_A_KEPT_PROJECT and value != defaults.get(name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option}: the project {args.project} has its own; leave it out, or dub the film anew"
            )


def read_begun(args: argparse.Namespace) -> "DubRequest":
    """The request of the project that is to be continued.

    Raises:
        UserError: no project, or a damaged one; or an input is not found.
    """
    import dataclasses

    from dualdub_jax.dubbing.project_document import read_request
    from dualdub_jax.dubbing.project_folder import ProjectFolder

    request = read_request(ProjectFolder(args.project), args.video)
    return dataclasses.replace(request, must_speak=request.must_speak and not args.allow_inaudible)


def model_of(args: argparse.Namespace) -> dict[str, Any]:
    """The model that a project was made with, as arguments of `dualdub_jax.load`."""
    from dualdub_jax.dubbing.project_document import read_model
    from dualdub_jax.dubbing.project_folder import ProjectFolder

    checkpoint, use_codec_decoders = read_model(ProjectFolder(args.project))
    return {
        "checkpoint": args.checkpoint or checkpoint,
        "allow_code": args.allow_code,
        "use_codec_decoders": use_codec_decoders,
    }


def open_finished(args: argparse.Namespace, progress: "Progress") -> "Project":
    """Opens the project; errors as of `Project.open`."""
    from dualdub_jax.dubbing.project import Project

    return Project.open(args.project, args.video, progress)


def work(args: argparse.Namespace, project: "Project") -> None:
    """Chooses a take, or generates a region anew.

    Raises:
        UserError: no such take or region, or the project was made with another checkpoint.
    """
    if args.take is not None:
        project.choose(args.take)
    if args.retake is None:
        return
    from dualdub_jax.dubbing.region import parse_region

    region = parse_region(args.retake)
    project.find_region(**region)  # before the model is loaded
    import dualdub_jax
    from dualdub_jax.evaluation.run.take_scores import score_take  # imports JAX, like the next
    from dualdub_jax.parallel.program_cache import keep_programs

    keep_programs()
    options = model_of(args)
    checkpoint: pathlib.Path | None = options.pop("checkpoint")
    with project.progress.step("load model"):
        model = dualdub_jax.load(checkpoint, **options)
    project.check_checkpoint(model.checkpoint)
    project.retake(model.engine, **region, seed=args.seed, score=score_take)

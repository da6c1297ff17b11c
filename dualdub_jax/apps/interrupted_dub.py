"""The message of an interrupted `dualdub dub`: the command that continues it."""

import argparse
import shlex
from collections.abc import Callable


def advice(args: argparse.Namespace) -> Callable[[], str]:
    """Returns a function of the text behind "interrupted", to be called when temporary files are removed.

    Args:
        args: of the command; `command_line` is the command itself.
    """
    program, command, *rest = args.command_line
    again = shlex.join(args.command_line)
    if args.manifest is not None:
        return lambda: f"; to continue: {again}"
    if args.project is None:
        return lambda: "; nothing is kept of it (a dub with --project DIR can be continued)"
    if args.retake is not None or args.take is not None:
        return lambda: f"; the project {args.project} is as it was: {again}"
    resumed = again if args.resume else shlex.join((program, command, "--resume", *rest))
    begun, not_begun = f"; to continue: {resumed}", f"; nothing was finished; to begin anew: {again}"
    return lambda: begun if (args.project / "project.json").exists() else not_begun

"""Options of `dualdub web`."""

import argparse
import math

from dualdub_jax.apps.argument_types import add_model, within
from dualdub_jax.stores.argument import local


def add_web(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    web = commands.add_parser(
        "web",
        help="dub films in a browser",
        description="Serves a page on which films are dubbed, listened to, redone in part and downloaded. "
        "Needs the extra `web`.",
        epilog="examples:\n"
        "  dualdub web\n"
        "  dualdub web --host 0.0.0.0 --auth-file users.txt --max-length 120\n"
        "docs/web.md has the limits and what to know about security.",
    )
    add_model(web)
    add = web.add_argument
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to listen on (default: %(default)s, this machine); others need a password")  # fmt: skip
    add("--port", type=within(int, 0, 65_535), default=7860, metavar="N",
        help="port to listen on (default: %(default)s; 0: a free one)")  # fmt: skip
    add("--password", metavar="PASSWORD",
        help="ask for this password, under any name; also the variable DUALDUB_WEB_PASSWORD")  # fmt: skip
    add("--auth-file", type=local, metavar="FILE", help="ask for names and passwords: lines NAME:PASSWORD")
    add("--max-length", type=within(float, 0.5, 7200), default=600.0, metavar="S",
        help="longest film, seconds (default: 600)")  # fmt: skip
    add("--max-upload", type=within(float, 0.1, math.inf), default=500.0, metavar="MB",
        help="largest upload, MB (default: 500)")  # fmt: skip
    add("--keep-hours", type=within(float, 0.01, math.inf), default=12.0, metavar="H",
        help="remove a visitor's files this long after the last use (default: 12)")  # fmt: skip
    web.set_defaults(command="web")

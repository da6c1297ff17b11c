"""`dualdub web`: checks the options, loads the model once, serves the page."""

import argparse
import importlib.util
import os

from dualdub_jax.apps.web.access import make_login
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.listener import open_listener
from dualdub_jax.errors import UserError

_PASSWORD_VARIABLE = "DUALDUB_WEB_PASSWORD"


def run(args: argparse.Namespace) -> int:
    """Runs the command until it is interrupted.

    Raises:
        UserError: bad options, a checkpoint that cannot be loaded, or an address that cannot be used.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("dualdub web needs Gradio; get it with pip install 'dualdub-jax[web]'")
    password = args.password
    if password is None and args.auth_file is None:
        password = os.environ.get(_PASSWORD_VARIABLE)
    login = make_login(args.host, password, args.auth_file)
    limits = Limits(args.max_length, args.max_upload, args.keep_hours)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with open_listener(args.host, args.port) as listener:
        import dualdub_jax
        from dualdub_jax.apps.web.server import WebServer
        from dualdub_jax.parallel.program_cache import keep_programs

        keep_programs()
        print("loading the model", flush=True)
        model = dualdub_jax.load(args.checkpoint, allow_code=args.allow_code)
        with WebServer(model, limits, login) as server:
            port = listener.getsockname()[1]
            print(f"DualDub is at http://{_in_url(args.host)}:{port} · stop it with Ctrl-C", flush=True)
            server.run(listener)
    return 0


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host

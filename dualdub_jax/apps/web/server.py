"""The web server: folders, queue, page and routes put together, and run until it is stopped."""

import asyncio
import contextlib
import os
import pathlib
import socket
import tempfile
from collections.abc import AsyncIterator

import gradio
import uvicorn
from fastapi import FastAPI

from dualdub_jax.apps.web.access import Login
from dualdub_jax.apps.web.actions import Actions
from dualdub_jax.apps.web.device_queue import DeviceQueue
from dualdub_jax.apps.web.guard import Guard
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.page import HEAD, TITLE, make_page, make_theme, style_sheet
from dualdub_jax.apps.web.routes import add_routes
from dualdub_jax.apps.web.sessions import Sessions
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.media import leftovers

_SWEEP_EVERY_S = 60.0
# Calls after which Gradio computes figures for its monitoring page, which is not served.
_FIGURES = "GRADIO_ANALYTICS_CACHE_FREQUENCY"
_LOGIN = "Give your name and the password. Where there is one password for all, any name will do."
_GRACE_S = 1  # for open connections, when the server stops


class WebServer:
    """A page and all that it needs; a context manager that leaves no file behind.

    Attributes:
        app: the ASGI application.
        root: the folder of all files.
    """

    def __init__(self, model: DualDub, limits: Limits, login: Login | None = None) -> None:
        """Puts the application together.

        Args:
            model: made once, used by all visitors, one after the other.
            limits: of uploads, and of the queue.
            login: checks names and passwords; None: everybody may use the page.
        """
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="dualdub-web-"))
        leftovers.add(self.root)
        self.queue = DeviceQueue(limits.max_waiting)
        self.sessions = Sessions(self.root, 3600.0 * limits.keep_hours, limits.max_upload_bytes)
        self._environ = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", _FIGURES)}
        os.environ["GRADIO_TEMP_DIR"] = str(self.sessions.uploads.root)
        os.environ[_FIGURES] = str(10**9)
        self.app = FastAPI(
            title=TITLE, lifespan=self._lifespan, docs_url=None, redoc_url=None, openapi_url=None
        )
        add_routes(self.app)
        gradio.mount_gradio_app(
            self.app,
            make_page(Actions(model, self.sessions, self.queue, limits), limits),
            path="/",
            auth=login,
            auth_message=_LOGIN if login else None,
            allowed_paths=[],
            show_error=False,
            max_file_size=limits.max_upload_bytes,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            theme=make_theme(),
            css=style_sheet(),
            head=HEAD,
        )
        self.app.add_middleware(Guard, sessions=self.sessions, max_upload_bytes=limits.max_upload_bytes)

    def __enter__(self) -> "WebServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops what runs and removes all files."""
        self.queue.close()
        self.sessions.close()
        for name, value in self._environ.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        leftovers.discard(self.root)

    def run(self, listener: socket.socket) -> None:
        """Serves until the process is interrupted."""
        config = uvicorn.Config(
            self.app, log_level="warning", timeout_graceful_shutdown=_GRACE_S, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(self._sweep())
        yield
        sweeping.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            await asyncio.to_thread(self.sessions.expire)

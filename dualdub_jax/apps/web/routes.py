"""Addresses beside Gradio's: the player's script, and a visitor's own files."""

import importlib.resources
import mimetypes

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from dualdub_jax.apps.web.sessions import Session

_ASSETS = {"player.js": "text/javascript", "player.css": "text/css"}


def add_routes(app: FastAPI) -> None:
    """Adds the routes; `Guard` has put the visitor into the request's state."""

    @app.get("/web/{name}")
    def asset(name: str) -> Response:
        if name not in _ASSETS:
            return _missing()
        content = importlib.resources.files("dualdub_jax").joinpath("assets", "web", name).read_bytes()
        return Response(content, media_type=_ASSETS[name], headers={"Cache-Control": "no-cache"})

    @app.get("/media/{token}/player.json")
    def player(request: Request, token: str) -> Response:
        session: Session | None = request.state.session
        if session is None or not session.has_job(token):
            return _missing()
        return JSONResponse(session.job.player, headers={"Cache-Control": "no-store"})

    @app.get("/media/{token}/{name}")
    @app.head("/media/{token}/{name}")
    def media(request: Request, token: str, name: str, download: bool = False) -> Response:
        session: Session | None = request.state.session
        path = session.job.files.get(name) if session is not None and session.has_job(token) else None
        if path is None or not path.is_file():
            return _missing()
        # Anything but sound and video is a file to download, never a page of this origin.
        kind = mimetypes.guess_type(path.name)[0] or ""
        is_shown = kind.startswith(("audio/", "video/")) and not download
        return FileResponse(
            path,
            media_type=kind or "application/octet-stream",
            filename=path.name,
            content_disposition_type="inline" if is_shown else "attachment",
            headers={"Cache-Control": "no-store"},
        )


def _missing() -> Response:
    return PlainTextResponse("no such file", 404)

"""What stands before Gradio: a cookie for each visitor, the routes that the page needs, nobody else's files.

Gradio serves any upload to everybody who names its path, relays addresses of the network and has routes that
this page does not use. Here every request has a visitor, other routes do not exist, an upload is served to
the visitor who uploaded it, and a content security policy keeps the browser from asking other hosts for
anything. Source: our choice.
"""

import http.cookies
import json
import shutil
import urllib.parse

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualdub_jax.apps.web.sessions import Session, Sessions

COOKIE = "dualdub"
_API = "/gradio_api"
_PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/login", "/logout"}
_CALLS = {
    f"{_API}/{name}"
    for name in (
        *("upload", "upload_progress", "queue/join", "queue/data", "cancel", "reset"),
        *("startup-events", "app_id", "login_check", "user", "theme.css", "info"),
    )
}
_FOLDERS = ("/assets/", "/static/", "/svelte/", "/web/", "/media/", f"{_API}/heartbeat/")
_FILE = f"{_API}/file="
_MOST_CALL_BYTES = 4_000_000  # the values of all controls, a long script among them
_UPLOADS_PER_SESSION = 6  # times the limit of one file
_FREE_BYTES = 500_000_000  # that uploads leave on the disk
_HEADERS = {
    # Gradio's page has inline scripts and compiles templates.
    b"content-security-policy": b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    b"font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    b"base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}


class Guard:
    """ASGI middleware; puts the visitor's `Session` into the request's state."""

    def __init__(self, app: ASGIApp, sessions: Sessions, max_upload_bytes: int) -> None:
        self._app, self._sessions, self._max_upload_bytes = app, sessions, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request itself, or lets Gradio do it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        secret = _read_cookie(scope)
        session = self._sessions.find(secret)
        new_secret = None
        if session is None and scope["path"] == "/":
            new_secret, session = self._sessions.start()
        scope.setdefault("state", {})["session"] = session
        send = _with_headers(send, new_secret)
        refusal = self._refusal(scope, session)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if scope["path"] == f"{_API}/upload":
            send = _noting_uploads(send, session)
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, session: Session | None) -> PlainTextResponse | None:
        path = scope["path"]
        if path.startswith(_FILE):
            if session is None or not session.owns_upload(urllib.parse.unquote(path[len(_FILE) :])):
                return PlainTextResponse("no such file", 404)
            return None
        if path not in _PAGES | _CALLS and not path.startswith(_FOLDERS):
            return PlainTextResponse("no such page", 404)
        if path == f"{_API}/queue/join" and session is None:
            return PlainTextResponse("this visit has expired; reload the page", 403)
        is_upload = path == f"{_API}/upload"
        if scope["method"] == "POST" and (refusal := self._refuse_body(scope, is_upload)) is not None:
            return refusal
        return self._refuse_upload(session) if is_upload else None

    def _refuse_body(self, scope: Scope, is_upload: bool) -> PlainTextResponse | None:
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            return PlainTextResponse("the length of the request is not given", 411)
        # Multipart headers take some more; the exact size is counted while the file is received.
        most = self._max_upload_bytes + 100_000 if is_upload else _MOST_CALL_BYTES
        if int(length) > most:
            return PlainTextResponse(
                f"{int(length) / 1e6:.0f} MB are too much, at most {most / 1e6:.0f} MB can be sent", 413
            )
        return None

    def _refuse_upload(self, session: Session | None) -> PlainTextResponse | None:
        if session is None:
            return PlainTextResponse("this visit has expired; reload the page", 403)
        if sum(session.uploads.values()) > _UPLOADS_PER_SESSION * self._max_upload_bytes:
            return PlainTextResponse("too many uploads; reload the page or try again later", 429)
        if shutil.disk_usage(self._sessions.root).free < self._max_upload_bytes + _FREE_BYTES:
            return PlainTextResponse("the server's disk is full; try again later", 507)
        return None


def _read_cookie(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookie = http.cookies.SimpleCookie(value.decode("latin-1")).get(COOKIE)
            except http.cookies.CookieError:
                continue
            if cookie is not None:
                return cookie.value
    return None


def _with_headers(send: Send, new_secret: str | None) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *_HEADERS.items()]
            if new_secret is not None:
                cookie = f"{COOKIE}={new_secret}; HttpOnly; SameSite=Lax; Path=/"
                headers.append((b"set-cookie", cookie.encode()))
            message = {**message, "headers": headers}
        await send(message)

    return wrapped


def _noting_uploads(send: Send, session: Session) -> Send:
    """Notes whose the uploaded files are; Gradio answers with the list of their paths."""
    body = bytearray()
    is_good = False

    async def wrapped(message: Message) -> None:
        nonlocal is_good
        if message["type"] == "http.response.start":
            is_good = message["status"] == 200
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))
            if is_good and not message.get("more_body"):
                session.add_uploads(json.loads(bytes(body)))
        await send(message)

    return wrapped

"""What stands before Gradio: a cookie for each visitor, the routes that the page needs, nobody else's files.

Gradio serves any upload to everybody who names its path, copies any file and fetches any address that a call
names, sends the messages of a session to everybody who names it, and has routes that this page does not use.
Here every request has a visitor, other routes do not exist, an upload is served to the visitor who uploaded
it, a call names only its visitor's uploads and session, and a content security policy keeps the browser from
asking other hosts for anything. Source: our choice.
"""

import http.cookies
import json
import urllib.parse
import weakref
from collections.abc import Iterator
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualdub_jax.apps.web.sessions import Session, Sessions

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
_JOIN, _UPLOAD = f"{_API}/queue/join", f"{_API}/upload"
_MOST_CALL_BYTES = 4_000_000  # the values of all controls, a long script among them
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
        # Gradio's sessions, one for each open page, by the name that the page gives them.
        self._pages: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request itself, or lets Gradio do it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        cookie, new_secret = _cookie_name(scope), None
        session = self._sessions.find(_read_cookie(scope, cookie))
        if session is None and scope["path"] == "/":
            new_secret, session = self._sessions.start()
        scope.setdefault("state", {})["session"] = session
        send = _with_headers(send, None if new_secret is None else f"{cookie}={new_secret}")
        refusal = self._refusal(scope, session)
        if refusal is None and scope["path"] == _JOIN:
            body, receive = await _read_body(receive)
            refusal = self._refuse_call(body, session)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["path"] == _UPLOAD and scope["method"] == "POST":
            with self._sessions.uploads.receiving(_length(scope)):
                await self._app(scope, receive, _handing_over(send, session))
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, session: Session | None) -> Response | None:
        path = scope["path"]
        if path.startswith(_FILE):
            if session is None or not session.owns_upload(urllib.parse.unquote(path[len(_FILE) :])):
                return PlainTextResponse("no such file", 404)
            return None
        if path not in _PAGES | _CALLS and not path.startswith(_FOLDERS):
            return PlainTextResponse("no such page", 404)
        if path in (_JOIN, _UPLOAD) and session is None:
            return _refusal(path, "this visit has expired; reload the page", 403)
        if path == f"{_API}/queue/data":
            query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
            if session is None or self._pages.get(query.get("session_hash", [""])[0]) is not session:
                return PlainTextResponse("no such session", 404)
        if scope["method"] != "POST":
            return None
        is_upload = path == _UPLOAD
        if (refusal := self._refuse_body(scope, is_upload)) is not None:
            return refusal
        if is_upload and not self._sessions.uploads.has_space(_length(scope)):
            return PlainTextResponse("the server's disk is full; try again later", 507)
        return None

    def _refuse_body(self, scope: Scope, is_upload: bool) -> Response | None:
        length = _length(scope)
        if length is None:
            return _refusal(scope["path"], "the length of the request is not given", 411)
        most = self._max_upload_bytes if is_upload else _MOST_CALL_BYTES
        # Multipart headers take some more; the exact size is counted while the file is received.
        if length > most + is_upload * 100_000:
            text = f"{length / 1e6:.1f} MB are too much: at most {most / 1e6:g} MB can be sent"
            return _refusal(scope["path"], text, 413)
        return None

    def _refuse_call(self, body: bytes, session: Session) -> Response | None:
        try:
            call = json.loads(body)
            page = call["session_hash"]
        except (ValueError, RecursionError, KeyError, TypeError):
            page = None
        if not isinstance(page, str) or len(page) > 100:
            return _refusal(_JOIN, "not a call of this page", 400)
        if not all(isinstance(path, str) and session.owns_upload(path) for path in _paths(call)):
            return _refusal(_JOIN, "the file is not kept any more; upload it again", 404)
        if self._pages.setdefault(page, session) is not session:
            return _refusal(_JOIN, "no such session", 404)
        return None


def _refusal(path: str, text: str, status: int) -> Response:
    """An answer whose text Gradio's page shows."""
    if path == _JOIN:
        return JSONResponse({"detail": text}, status)
    return PlainTextResponse(text, status)


def _length(scope: Scope) -> int | None:
    """Bytes of a request's body; None: not declared."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else None


def _cookie_name(scope: Scope) -> str:
    """The port is a part of it: browsers give the cookies of a host to all its ports."""
    return f"dualdub-{scope['server'][1]}"


def _read_cookie(scope: Scope, cookie_name: str) -> str | None:
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookie = http.cookies.SimpleCookie(value.decode("latin-1")).get(cookie_name)
            except http.cookies.CookieError:
                continue
            if cookie is not None:
                return cookie.value
    return None


def _with_headers(send: Send, new_cookie: str | None) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *_HEADERS.items()]
            if new_cookie is not None:
                cookie = f"{new_cookie}; HttpOnly; SameSite=Lax; Path=/"
                headers.append((b"set-cookie", cookie.encode()))
            message = {**message, "headers": headers}
        await send(message)

    return wrapped


def _handing_over(send: Send, session: Session) -> Send:
    """Hands uploaded files over to a visitor; Gradio answers with the list of their paths."""
    start: Message | None = None
    body = bytearray()

    async def wrapped(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and message["status"] == 200:
            start = message
        elif start is None or message["type"] != "http.response.body":
            await send(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                content = json.dumps(session.take_uploads(json.loads(bytes(body)))).encode()
                headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                length = (b"content-length", str(len(content)).encode())
                await send({**start, "headers": [*headers, length]})
                await send({"type": "http.response.body", "body": content})

    return wrapped


async def _read_body(receive: Receive) -> tuple[bytes, Receive]:
    """The body of a request, and a `receive` that gives it again."""
    messages = []
    while not messages or messages[-1].get("more_body"):
        messages.append(await receive())
    body = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return body, again


def _paths(call: Any) -> Iterator[Any]:
    """What a call names as paths of files, at any depth."""
    values = [call]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if "path" in value:
                yield value["path"]
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)

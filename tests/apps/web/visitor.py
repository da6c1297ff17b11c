"""A visitor of the page, who speaks to the server as a browser does."""

import json
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import httpx

_TIMEOUT_S = 60


class Visitor:
    """One browser: its cookies, its uploads, the calls of its controls."""

    def __init__(self, address: str, session_hash: str, login: tuple[str, str] | None = None) -> None:
        self.http = httpx.Client(base_url=address, timeout=_TIMEOUT_S)
        self.session_hash = session_hash
        self.film: dict[str, Any] | None = None
        self.http.get("/")
        if login is not None:
            self.http.post("/login", data={"username": login[0], "password": login[1]})
        config = self.http.get("/config").json()
        names = {component["id"]: component for component in config["components"]}
        self._functions = {}
        for function in config["dependencies"]:
            if not function["backend_fn"]:
                continue  # in the browser alone
            outputs = [names[number]["props"].get("elem_id") for number in function["outputs"]]
            events = {event for _, event in function["targets"]}
            self._functions[_name(outputs, events, len(function["inputs"]))] = function["id"]

    @property
    def secret(self) -> str:
        """The value of the cookie by which the server knows this visitor."""
        return next(value for name, value in self.http.cookies.items() if name.startswith("dualdub-"))

    def upload(self, name: str, content: bytes) -> httpx.Response:
        """Uploads a file; the answer is the list of its path."""
        return self.http.post("/gradio_api/upload", files={"files": (name, content)})

    def uploaded(self, path: pathlib.Path) -> dict[str, Any]:
        """Uploads a file; returns it as the value of a control."""
        (stored,) = self.upload(path.name, path.read_bytes()).json()
        return as_value(stored)

    def join(self, function: str, *data: Any, event: dict[str, Any] | None = None) -> httpx.Response:
        """Calls the function behind a control; `event` is what its event tells beside the values."""
        if function == "take_film":
            (self.film,) = data
        elif function == "generate":
            data = (self.film, *data)  # the control's value
        body = {"data": data, "fn_index": self._functions[function], "session_hash": self.session_hash}
        body |= {} if event is None else {"event_data": event}
        return self.http.post("/gradio_api/queue/join", json=body)

    def messages(self) -> Any:
        """What the server tells of the calls, until all are done."""
        query = {"session_hash": self.session_hash}
        with self.http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[len("data: ") :])

    def call(self, function: str, *data: Any, event: dict[str, Any] | None = None) -> list[Any]:
        """Calls the function behind a control; returns its last outputs."""
        assert self.join(function, *data, event=event).status_code == 200
        outputs: list[Any] = []
        for message in self.messages():
            if message["msg"] == "process_completed":
                assert message["success"], message
                outputs = message["output"]["data"] or outputs
            elif message["msg"] == "process_generating":
                outputs = message["output"]["data"]
        return outputs


def _name(outputs: list[str | None], events: set[str], num_inputs: int) -> str:
    if "film-facts" in outputs:
        return "take_film"
    if "script-error" in outputs:
        return "check_script" if "blur" in events else "take_script"
    if "voice-error" in outputs:
        return "take_voice"
    if "select" in events:
        return "choose"
    if "load" in events:
        return "show"
    if not outputs:
        return "cancel"
    return "redo" if num_inputs == 3 else "generate"


def as_value(path: str) -> dict[str, Any]:
    """A file on the server as the value of a control."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def text_of(shown: str) -> str:
    """The text of a snippet of HTML."""
    return re.sub(r"<[^>]+>", "", shown)


def wait_for(condition: Callable[[], bool]) -> None:
    """Returns when a condition holds; fails if it never does."""
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)

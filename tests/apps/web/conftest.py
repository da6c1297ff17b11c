"""A running server of the page, with a stand-in for the model."""

import contextlib
import itertools
import pathlib
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from dualdub_jax.apps.web import actions, job
from dualdub_jax.apps.web.access import Login
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.listener import open_listener
from dualdub_jax.apps.web.server import WebServer
from dualdub_jax.dubbing.dub import DualDub
from tests.apps.web.visitor import Visitor
from tests.fake_engine import FakeEngine


class GatedEngine(FakeEngine):
    """A stand-in that waits in `generate` while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def generate(self, **arguments):
        self.entered.release()
        assert self.gate.wait(30)
        return super().generate(**arguments)


class Served:
    """A server and its address."""

    def __init__(self, server: WebServer, engine: GatedEngine, address: str) -> None:
        self.server, self.engine, self.address = server, engine, address
        self._numbers = itertools.count()

    def visitor(self, login: tuple[str, str] | None = None) -> Visitor:
        return Visitor(self.address, f"visit{next(self._numbers)}", login)


@contextlib.contextmanager
def serving(checkpoint: pathlib.Path, limits: Limits, login: Login | None = None) -> Iterator[Served]:
    engine = GatedEngine()
    with (
        pytest.MonkeyPatch.context() as patch,
        open_listener("127.0.0.1", 0) as listener,
        WebServer(DualDub(engine, checkpoint), limits, login) as web,
    ):
        patch.setattr(actions, "_POLL_S", 0.05)
        patch.setattr(job, "find_recogniser", lambda: (None, "not in these tests"))
        patch.setattr(job, "score_take", lambda project: {"av_correlation": float(project.take.seed)})
        server = uvicorn.Server(uvicorn.Config(web.app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(web, engine, f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            engine.gate.set()
            server.should_exit = True
            thread.join()
    assert not web.root.exists()


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory) -> pathlib.Path:
    """A folder for receipts to describe; the stand-in reads nothing of it."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(scope="package")
def served(checkpoint) -> Iterator[Served]:
    with serving(checkpoint, Limits(max_length_s=20, max_upload_mb=2)) as running:
        yield running


@pytest.fixture
def visitor(served) -> Visitor:
    return served.visitor()


@pytest.fixture
def new_visitor(served) -> Callable[[], Visitor]:
    return served.visitor

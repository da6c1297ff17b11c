"""One job at a time: others wait in order, and one that is cancelled or left frees the device."""

import threading
import time

import pytest

from dualdub_jax.apps.web import device_queue
from dualdub_jax.apps.web.device_queue import Cancelled, DeviceQueue
from dualdub_jax.errors import UserError
from tests.apps.web.requests import request
from tests.apps.web.visitor import Visitor, text_of, wait_for
from tests.films import make_film


class Generating:
    """A visitor who has pressed the button; `shown` collects what the status shows."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.shown = visitor, []
        assert visitor.join("generate", *request()).status_code == 200
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        for message in self.visitor.messages():
            if message["msg"] in ("process_generating", "process_completed"):
                self.shown.append(str(message["output"]["data"]))

    def has_shown(self, text: str) -> bool:
        return any(text in shown for shown in self.shown)


@pytest.fixture
def visitors(served, tmp_path):
    """Three visitors with a film of several windows each."""
    made = [served.visitor() for _ in range(3)]
    film = make_film(tmp_path / "film.mp4", num_frames=450)
    for visitor in made:
        visitor.call("take_film", visitor.uploaded(film))
    while served.engine.entered.acquire(blocking=False):
        pass
    yield made
    served.engine.gate.set()


def test_others_wait_in_order_and_each_gets_a_film(served, visitors):
    served.engine.gate.clear()
    first = Generating(visitors[0])
    wait_for(lambda: served.engine.entered.acquire(blocking=False))
    second = Generating(visitors[1])
    wait_for(lambda: second.has_shown("1 film is before yours"))
    third = Generating(visitors[2])
    wait_for(lambda: third.has_shown("2 films are before yours"))
    assert not served.engine.entered.acquire(blocking=False)  # nothing runs beside the first
    served.engine.gate.set()
    for one in (first, second, third):
        one.thread.join(20)
        assert one.has_shown("Done.") and one.has_shown("dualdub-player")


@pytest.mark.parametrize("is_running", [True, False])
def test_a_cancelled_job_frees_the_queue(served, visitors, is_running):
    served.engine.gate.clear()
    first = Generating(visitors[0])
    wait_for(lambda: served.engine.entered.acquire(blocking=False))
    second = Generating(visitors[1])
    wait_for(lambda: second.has_shown("1 film is before yours"))
    stopped, other = (first, second) if is_running else (second, first)
    helper = Visitor(served.address, f"cancelling{is_running}")
    helper.http.cookies = stopped.visitor.http.cookies
    helper.join("cancel")
    if is_running:
        served.engine.gate.set()
    else:
        wait_for(lambda: stopped.has_shown("Cancelled."))
        served.engine.gate.set()
    for one in (stopped, other):
        one.thread.join(20)
    assert stopped.has_shown("Cancelled.") and not stopped.has_shown("Done.")
    assert other.has_shown("Done.")
    session = served.server.sessions.find(stopped.visitor.secret)
    assert not list(session.folder.glob("*/files"))


def test_a_visitor_who_goes_away_frees_the_queue(served, visitors):
    served.engine.gate.clear()
    visitors[0].join("generate", *request())
    next(iter(visitors[0].messages()))  # then the connection is closed
    second = Generating(visitors[1])
    wait_for(lambda: served.engine.entered.acquire(blocking=False))
    session = served.server.sessions.find(visitors[0].secret)
    wait_for(lambda: session.task._is_cancelled)
    served.engine.gate.set()
    second.thread.join(20)
    assert second.has_shown("Done.")
    assert session.job is None and not list(session.folder.glob("*/files"))


def test_a_visitor_has_one_job_at_a_time(served, visitors):
    served.engine.gate.clear()
    first = Generating(visitors[0])
    wait_for(lambda: served.engine.entered.acquire(blocking=False))
    again = Visitor(served.address, "other tab")
    again.http.cookies = visitors[0].http.cookies
    assert text_of(again.call("generate", *request())[0]).startswith("Your film is being made")
    served.engine.gate.set()
    first.thread.join(20)
    assert first.has_shown("Done.")


def test_a_full_queue_refuses(monkeypatch):
    queue, gate = DeviceQueue(max_waiting=1), threading.Event()
    tasks = [queue.submit(lambda task: gate.wait(10)) for _ in range(2)]
    with pytest.raises(UserError, match="1 jobs are waiting, and no more can"):
        queue.submit(lambda task: None)
    assert [queue.num_before(task) for task in tasks] == [0, 1]
    gate.set()
    assert all(task.future.result(10) for task in tasks)
    queue.close()


def test_a_job_that_nobody_asks_for_stops(monkeypatch):
    monkeypatch.setattr(device_queue, "LEASE_S", 0.1)
    queue = DeviceQueue(max_waiting=1)

    def work(task):
        while True:
            time.sleep(0.01)
            task.report("generate", 0.5)

    with pytest.raises(Cancelled):
        queue.submit(work).future.result(10)
    assert queue.submit(lambda task: "next").future.result(10) == "next"
    queue.close()

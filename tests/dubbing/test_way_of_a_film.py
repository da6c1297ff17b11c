"""A film's way from the command line to the muxer: each stage is entered once, in one direction."""

import pathlib
import sys
import types

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.dubbing.dub import DualDub
from tests.fake_engine import FakeEngine
from tests.films import make_film

STAGES = [
    "dubbing.request",
    "dubbing.project",
    "media.film",
    "media.timing",
    "media.pictures",
    "media.frames",
    "media.rehearsal",  # can the container hold the video? It is entered once more, before writing
    "media.film_writer",
    "text.script",
    "dubbing.scenes",  # entered once more behind the windows
    "media.shots",
    "dubbing.windows",
    "dubbing.window_frames",
    "dubbing.take",
    "dubbing.track_decoder",
    "dubbing.mixdown",
    "media.mux",
    "dubbing.receipt",
    "dubbing.report",
]
# Who drives the stages, and what each of them calls.
DRIVERS = {
    "apps.cli": {"dubbing.request", "dubbing.project", "dubbing.delivery"},
    "dubbing.delivery": {"media.mux", "dubbing.receipt", "dubbing.report"},
}


def module_of(frame: types.FrameType | None) -> str:
    name = frame.f_globals.get("__name__", "") if frame else ""
    return name.removeprefix("dualdub_jax.")


def test_stages_come_in_order_and_only_their_drivers_call_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_film("film.mp4", num_frames=150)
    model = DualDub(FakeEngine(), pathlib.Path("fake"))
    monkeypatch.setattr(dualdub_jax, "load", lambda *_, **__: model)
    order, called = {}, set()

    def profile(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            callee, caller = module_of(frame), module_of(frame.f_back)
            if callee in STAGES:
                order.setdefault(callee, len(order))
            called.add((caller, callee))

    argv = [
        "dub",
        "film.mp4",
        "--script",
        "hello",
        "-o",
        "out.mp4",
        "--receipt",
        "r.json",
        "--report",
        "r.html",
    ]
    sys.setprofile(profile)
    try:
        assert main(argv) == 0
    finally:
        sys.setprofile(None)
    assert list(order) == STAGES
    for driver, stages in DRIVERS.items():
        known = {*STAGES, "dubbing.delivery"}
        assert {
            callee for caller, callee in called if caller == driver and callee in known - {driver}
        } == stages
    # What is above is not called back: the project by its stages, the command line by anybody.
    assert not {caller for caller, callee in called if callee == "apps.cli" and caller.startswith("dubbing")}
    stages = set(STAGES[2:]) - {"dubbing.receipt", "dubbing.report"}
    assert {(a, b) for a, b in called if a in stages and b == "dubbing.project"} <= {
        ("dubbing.windows", "dubbing.project")  # counts the tokens of a text
    }

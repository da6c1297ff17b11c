"""Many films at once: each has its own result in any company, and one that fails does not stop the others."""

import pathlib

import numpy as np
import pytest

from dualdub_jax.dubbing.dub import DualDub, Soundtrack
from dualdub_jax.dubbing.many_films import FilmJob, dub_films
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from tests.fake_engine import FakeEngine
from tests.films import make_film

CHECKPOINT = pathlib.Path("checkpoint")
NUM_FRAMES = (150, 60, 240, 30, 100)


@pytest.fixture
def requests(tmp_path) -> list[DubRequest]:
    films = [make_film(tmp_path / f"{n}.mp4", num_frames=n) for n in NUM_FRAMES]
    return [DubRequest(film, script=f"hello {film.stem}", seed=n) for n, film in enumerate(films)]


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_films_have_the_tracks_that_they_have_alone(requests, rows):
    engine = FakeEngine()
    made = dict(DualDub(engine, CHECKPOINT).dub_many(requests, rows_per_device=rows))
    assert sorted(made) == list(range(len(requests)))
    for index, request in enumerate(requests):
        alone = DualDub(FakeEngine(), CHECKPOINT).run(request)
        for name, track in alone.project.tracks.items():
            np.testing.assert_array_equal(made[index].project.tracks[name][:], track[:])
    # As many films as there are rows, as long as there are films.
    assert max(engine.batches) == min(rows, len(requests))
    assert sum(engine.batches) == len(engine.calls)


def test_a_film_that_is_done_makes_room(requests):
    engine = FakeEngine()
    ended = [index for index, _ in DualDub(engine, CHECKPOINT).dub_many(requests, rows_per_device=2)]
    # 150 and 60 frames begin; 240 takes the room of 60, 30 that of 150, 100 that of 30.
    assert ended == [1, 0, 3, 2, 4] and engine.batches[0] == 2


def test_what_fails_is_named_and_the_rest_is_done(requests, tmp_path):
    (tmp_path / "text.mp4").write_text("no film")
    faulty = [DubRequest(tmp_path / "gone.mp4"), DubRequest(tmp_path / "text.mp4")]
    many = DualDub(FakeEngine(), CHECKPOINT).dub_many(
        [faulty[0], *requests[:3], faulty[1]], rows_per_device=2
    )
    made = dict(many)
    assert isinstance(made[0], UserError) and "gone.mp4" in str(made[0])
    assert isinstance(made[4], UserError) and "text.mp4" in str(made[4])
    assert all(isinstance(made[index], Soundtrack) for index in (1, 2, 3))


@pytest.mark.parametrize("fault", ["generate", "open_decoder"])
def test_a_fault_in_one_film_concerns_it_alone(requests, monkeypatch, fault):
    engine = FakeEngine()
    original, seed = getattr(engine, fault), requests[1].seed

    def faulty(*args, **arguments):
        is_it = arguments["seed"] == seed if fault == "generate" else args[2].noise_dbfs == -50.0 - seed
        if is_it:
            raise ZeroDivisionError("broken")
        return original(*args, **arguments)

    monkeypatch.setattr(engine, fault, faulty)
    made = dict(DualDub(engine, CHECKPOINT).dub_many(requests, rows_per_device=4))
    assert [index for index, result in made.items() if isinstance(result, Exception)] == [1]
    assert str(made[1]) == "broken"


def test_a_model_that_fails_on_all_films_ends_the_run(requests, monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(engine, "generate", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(DualDub(engine, CHECKPOINT).dub_many(requests, rows_per_device=4))


def test_films_in_flight_are_closed_when_nobody_waits_for_them(requests, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcomes = dub_films(FakeEngine(), CHECKPOINT, [FilmJob(lambda r=r: r) for r in requests], 3)
    first = next(outcomes)
    assert len(list(tmp_path.glob("dualdub-*"))) == 3
    outcomes.close()
    assert list(tmp_path.glob("dualdub-*")) == [first.project.folder]
    first.project.close()

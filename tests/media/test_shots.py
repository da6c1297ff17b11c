"""Changes of shot are found at their pictures, whatever the film's rate and size; memory does not grow."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.shots import read_shots, small_pictures
from tests.films import make_film, make_shots

RED, BLUE, GREEN = (200, 40, 40), (40, 60, 200), (40, 180, 90)


def shots_of(path) -> list:
    with FilmReader(path) as reader:
        return read_shots(reader.pictures())


def test_shots_begin_with_their_first_pictures(tmp_path):
    shots = shots_of(make_shots(tmp_path / "film.mp4", (RED, 30), (BLUE, 17), (RED, 40)))
    assert [shot.start_s for shot in shots] == [0, Fraction(30, 25), Fraction(47, 25)]
    red, blue, again = (shot.colours for shot in shots)
    assert all(colours.sum() == pytest.approx(1) for colours in (red, blue, again))
    assert np.minimum(red, again).sum() > 0.9 and np.minimum(red, blue).sum() < 0.2


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 50])
def test_a_film_without_cuts_is_one_shot(tmp_path, rate):
    (shot,) = shots_of(make_film(tmp_path / "film.mkv", num_frames=90, rate=rate, start=Fraction(1)))
    assert shot.start_s == 0


def test_a_broadcast_that_changes_its_size_is_read_on():
    def picture(size: tuple[int, int], colour: tuple[int, int, int]) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.full((*size, 3), colour, np.uint8), format="rgb24")

    shown = [picture((48, 64), RED)] * 5 + [picture((96, 128), RED)] * 5 + [picture((96, 128), GREEN)] * 5
    found = list(small_pictures((Fraction(i, 25), each) for i, each in enumerate(shown)))
    assert [small.is_change for small in found] == [i == 10 for i in range(15)]
    assert {small.pixels.shape for small in found} == {(36, 64, 3)}


def test_a_reader_gives_its_pictures_once(tmp_path):
    with FilmReader(make_film(tmp_path / "film.mp4", num_frames=20)) as reader:
        assert [time_s for time_s, _ in reader.pictures()] == [Fraction(i, 25) for i in range(20)]
        with pytest.raises(RuntimeError, match="can be read only once"):
            next(reader.pictures())

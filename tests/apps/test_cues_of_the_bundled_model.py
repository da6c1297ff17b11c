"""The bundled checkpoint speaks a cue in its times, also where no mouth on screen speaks it."""

import numpy as np
import pytest

import dualdub_jax
from tests.films import make_film


@pytest.mark.slow
def test_a_cue_is_spoken_in_its_times_over_a_film_without_a_mouth(tmp_path):
    film = make_film(tmp_path / "film.mp4", num_frames=125)
    (tmp_path / "s.srt").write_text("1\n00:00:01,500 --> 00:00:03,700\nset white with f four again\n")
    made = dualdub_jax.load().dub(film, str(tmp_path / "s.srt"), rt60_s=0.3, noise_dbfs=-50)
    due = slice(24_000, 59_200)
    margin = 1_280  # samples: 80 ms
    assert not made.speech[: due.start - margin].any() and not made.speech[due.stop + margin :].any()
    assert -40 < 10 * np.log10(np.mean(made.speech[due] ** 2)) < -15
    (spoken,) = made.receipt()["speech"]
    assert 1.42 <= spoken["start_s"] < 2.6 and 3.2 < spoken["end_s"] <= 3.78
    assert made.project.warnings == ()

"""Nothing in the bundled model's tracks tells where windows end, and where voice and scene change."""

import pathlib

import numpy as np
import pytest
import soundfile

import dualdub_jax
from dualdub_jax.dubbing.dub import Soundtrack
from dualdub_jax.evaluation.analysis.seams import jumps, seam_ranks
from tests.films import make_shots

DEMO = pathlib.Path(dualdub_jax.__file__).parent / "assets" / "demo"
SCRIPT = """WEBVTT

00:00.500 --> 00:04.500
<v Ann>Place blue by a two please. Lay green at e nine now.

00:05.600 --> 00:07.800
<v Bob>Set white with f four again.
"""
# In the middle of a cue, in a pause, and in the middle of a shot.
SEAMS_S = [2.24, 8.2, 12.2]
CUTS_S = [5.2, 9.2]  # where windows end as well, and at the first of them voice and scene


@pytest.mark.slow
def test_seams_of_windows_shots_and_voices_are_like_other_places(tmp_path, monkeypatch):
    samples, rate_hz = soundfile.read(DEMO / "voice.wav")
    soundfile.write(tmp_path / "bob.wav", samples, round(1.25 * rate_hz))  # a higher voice
    film = make_shots(tmp_path / "film.mp4", ((70, 70, 70), 130), ((200, 170, 120), 100), ((40, 60, 200), 95))
    (tmp_path / "s.vtt").write_text(SCRIPT)
    voices = {"Ann": DEMO / "voice.wav", "Bob": tmp_path / "bob.wav"}
    model = dualdub_jax.load()
    made = model.dub(film, str(tmp_path / "s.vtt"), voices=voices, noise_dbfs=-45, seed=1)
    rate_hz = made.sample_rate_hz
    assert starts_s(made) == sorted(SEAMS_S + CUTS_S) and len(made.project.take.acoustics) == 2
    spoken = made.speech[rate_hz // 2 : round(4.5 * rate_hz)]
    for track, seams_s in ((made.background, SEAMS_S), (made.mix, SEAMS_S), (spoken, [2.24 - 0.5])):
        ranks = seam_ranks(track, rate_hz, seams_s)
        assert ranks.max() < 1 and ranks.mean() < 0.75
    # The same figures do tell windows that do not continue each other: every other one is 6 dB softer.
    window = np.searchsorted(starts_s(made), np.arange(len(made.background)) / rate_hz)
    apart = made.background * np.where(window % 2, 0.5, 1.0)
    assert seam_ranks(apart, rate_hz, SEAMS_S)[:, 0].mean() > 0.9

    # The model answers a cut with a sound, also where no window ends.
    monkeypatch.setattr("dualdub_jax.dubbing.film_plan.shot_frames", lambda *_: [])
    whole = model.dub(film, noise_dbfs=-45, seed=1)
    assert not set(CUTS_S) & set(starts_s(whole))
    for cut_s in CUTS_S:
        assert largest_jump_db(made, cut_s) < largest_jump_db(whole, cut_s) + 6


def starts_s(made: Soundtrack) -> list[float]:
    return [float(window.start_frame / made.project.frame_rate) for window in made.project.windows[1:]]


def largest_jump_db(made: Soundtrack, time_s: float) -> float:
    """Of the level of the background, near a time."""
    near = slice(*(round((time_s + side) * made.sample_rate_hz) for side in (-0.1, 0.1)))
    return jumps(made.background[near], made.sample_rate_hz)[:, 0].max()

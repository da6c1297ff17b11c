"""Nothing in the bundled model's tracks tells where windows end, and where voice and scene change."""

import pathlib

import pytest
import soundfile

import dualdub_jax
from dualdub_jax.evaluation.analysis.seams import seam_ranks
from tests.films import make_shots

DEMO = pathlib.Path(dualdub_jax.__file__).parent / "assets" / "demo"
SCRIPT = """WEBVTT

00:00.500 --> 00:08.000
<v Ann>Set white with f four again. Place blue by a two please. Lay green at e nine now. Bin red in g six.

00:08.000 --> 00:11.000
<v Bob>Set white with f four again.
"""


@pytest.mark.slow
def test_seams_of_windows_and_voices_are_like_other_places(tmp_path):
    samples, rate_hz = soundfile.read(DEMO / "voice.wav")
    soundfile.write(tmp_path / "bob.wav", samples, round(1.25 * rate_hz))  # a higher voice
    film = make_shots(tmp_path / "film.mp4", ((70, 70, 70), 130), ((200, 170, 120), 100), ((40, 60, 200), 95))
    (tmp_path / "s.vtt").write_text(SCRIPT)
    voices = {"Ann": DEMO / "voice.wav", "Bob": tmp_path / "bob.wav"}
    made = dualdub_jax.load().dub(film, str(tmp_path / "s.vtt"), voices=voices, noise_dbfs=-45, seed=1)
    project = made.project
    seams_s = [float(window.start_frame / project.frame_rate) for window in project.windows[1:]]
    spoken = slice(round(0.5 * made.sample_rate_hz), 11 * made.sample_rate_hz)
    within_speech = [seam_s - 0.5 for seam_s in seams_s if 1 < seam_s < 10.5]
    assert len(seams_s) == 4 and len(within_speech) == 3 and len(project.take.acoustics) == 2
    for track, seams in (
        (made.background, seams_s),
        (made.mix, seams_s),
        (made.speech[spoken], within_speech),
    ):
        ranks = seam_ranks(track, made.sample_rate_hz, seams)
        assert ranks.max() < 1 and ranks.mean() < 0.75

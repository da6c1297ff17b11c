"""Nothing in the bundled model's tracks tells where windows, voices and scenes change."""

import pathlib

import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.evaluation.analysis.seams import seam_ranks
from tests.films import make_shots

DEMO = pathlib.Path(dualdub_jax.__file__).parent / "assets" / "demo"
SCRIPT = """WEBVTT

00:00.500 --> 00:08.000
<v Ann>Set white with f four again. Place blue by a two please. Lay green at e nine now. Bin red in g six soon.

00:08.300 --> 00:11.500
<v Bob>Set white with f four again.
"""


@pytest.mark.slow
def test_tracks_have_no_audible_seams(tmp_path):
    grey, sand, blue = (70, 70, 70), (200, 170, 120), (40, 60, 200)
    film = make_shots(tmp_path / "film.mp4", (grey, 130), (sand, 100), (blue, 120))
    (tmp_path / "s.vtt").write_text(SCRIPT)
    made = dualdub_jax.load().dub(
        film, str(tmp_path / "s.vtt"), voices={"Ann": DEMO / "voice.wav", "Bob": DEMO / "voice.wav"}, seed=1
    )
    windows = made.project.windows
    seams_s = [float(window.start_frame / made.project.frame_rate) for window in windows[1:]]
    print(
        [(w.start_frame, w.scene, w.speaker, w.text) for w in windows],
        made.project.take.acoustics,
        made.project.warnings,
    )
    print(seam_ranks(made.background, made.sample_rate_hz, seams_s))
    print(seam_ranks(made.mix, made.sample_rate_hz, seams_s))
    part = made.speech[8_000:128_000]
    inner = [seam_s - 0.5 for seam_s in seams_s if 1 < seam_s < 7.5]
    print(inner, seam_ranks(part, made.sample_rate_hz, inner))

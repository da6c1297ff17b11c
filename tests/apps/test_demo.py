"""The newcomer's first command, with the real bundled checkpoint and the real bundled clip."""

import wave

import av
import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import default_bundle_path, read_bundle_header


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(out)]) == 0
    return out


def _samples(path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768.0


@pytest.mark.slow
def test_demo_leaves_its_five_files_and_nothing_else(demo):
    names = {"soundtrack.mp4", "speech.wav", "background.wav", "mix.wav", "report.html"}
    assert {path.name for path in demo.iterdir()} == names


@pytest.mark.slow
def test_tracks_are_as_long_as_the_clip_and_sound(demo):
    clip = default_bundle_path().parent / "demo" / "clip.mp4"
    with av.open(str(clip)) as container:
        num_pictures = container.streams.video[0].frames
    for name in ("speech", "background", "mix"):
        samples = _samples(demo / f"{name}.wav")
        assert len(samples) == num_pictures * 640
        assert 0.003 < np.sqrt(np.mean(samples**2)) < 0.5, name


@pytest.mark.slow
def test_report_is_one_page_with_nothing_outside_it(demo):
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "set white with f four again" in page
    assert "Impact onsets within 60 ms, F1</td><td>1 (true: 1)" in page
    for outside in ('src="http', 'href="http', "url(http"):
        assert outside not in page


def test_the_bundled_checkpoint_says_how_it_was_trained_and_fits_its_limit():
    training = read_bundle_header(default_bundle_path()).training
    assert "soundtrack" in training["phases"] and "seed" in training
    size = sum(path.stat().st_size for path in default_bundle_path().rglob("*") if path.is_file())
    assert size <= 25e6

"""Face sync: what is made of a mouth's opening; the mesh itself is stood in for."""

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage.voices import bank
from dualdub_jax.evaluation.analysis.speech_envelope import speech_envelope
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.listeners import face_mesh
from dualdub_jax.evaluation.metrics.face_sync import FaceSync
from tests.evaluation import degrade


class _GreyMesh:
    """Reads the opening off a picture's brightness; a black picture shows no face."""

    sha256 = "0" * 64

    def mouth_opening(self, frames: np.ndarray) -> np.ndarray:
        levels = frames.mean(axis=(1, 2, 3)) / 255
        return np.where(levels > 0.02, levels, np.nan)


@pytest.fixture(autouse=True)
def grey_mesh(monkeypatch):
    monkeypatch.setattr(face_mesh, "load", _GreyMesh)


def _clip(number: int, faces: float = 1.0, **changes) -> Clip:
    """A face that opens its mouth with the speech, in the first `faces` of its frames."""
    voices = bank("tone")
    samples, _ = voices.synthesise(voices.seen[number], "lay green with nine please now and set blue")
    samples = np.pad(samples, (3200, 6400))
    samples = samples[: len(samples) // 640 * 640].astype(np.float32)
    num_frames = len(samples) // 640
    opening = 0.1 + 0.5 * speech_envelope(samples)(np.arange(num_frames) / 25)
    opening[round(faces * num_frames) :] = 0
    frames = np.round(np.broadcast_to(opening[:, None, None, None], (num_frames, 4, 4, 3)) * 255)
    frames = frames.astype(np.uint8)
    facts = {"num_samples": len(samples), "speech": samples, "load_frames": lambda: frames}
    return Clip(id=str(number), **(facts | changes))


def _one(clip: Clip) -> dict[str, float | None]:
    return {name: values[0] for name, values in FaceSync().score([clip]).items()}


def test_true_speech_is_in_step():
    values = _one(_clip(0))
    assert values["face_lip_correlation"] > 0.98
    assert abs(values["face_lip_lag_ms"]) < 5


def test_a_shift_shows_as_itself():
    values = _one(degrade.shifted(_clip(0), "speech", 200))
    assert values["face_lip_lag_ms"] == pytest.approx(200, abs=10)
    assert values["face_lip_best_correlation"] > 0.9 > values["face_lip_correlation"] + 0.2


def test_the_mixture_stands_in_for_a_missing_speech_track():
    clip = _clip(0)
    assert _one(_clip(0, speech=None, mixture=clip.speech)) == _one(clip)


def test_faces_in_too_few_frames_give_no_value():
    assert _one(_clip(0, faces=0.8))["face_lip_correlation"] > 0.9
    assert set(_one(_clip(0, faces=0.5)).values()) == {None}


@pytest.mark.parametrize("change", [{"world": {}}, {"load_frames": None}, {"speech": None}, {"text": ""}])
def test_what_is_missing_has_no_value(change):
    assert set(_one(_clip(0, **change)).values()) == {None}


def test_odd_tracks_are_no_error():
    clip = _clip(0)
    assert _one(degrade.silenced(clip, "speech")) == {
        "face_lip_correlation": 0.0,
        "face_lip_best_correlation": 0.0,
        "face_lip_lag_ms": None,
    }
    for odd in (degrade.with_nan(clip, "speech"), degrade.with_length(clip, "speech", 0)):
        assert all(value is None or np.isfinite(value) for value in _one(odd).values())

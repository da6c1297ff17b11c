"""Onsets of the background against those of the true stem."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.analysis import onsets
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.evaluation.metrics.impacts import TOLERANCE_S, onset_f1


class StemOnsets(ClipMetric):
    """Onsets of the background track against those of the true background stem.

    Applies to any clip with a true background, rendered or real. Onsets of both tracks are picked by the same
    detector (`analysis/onsets.py`) and matched one-to-one within 60 ms; counts are summed over clips, so F1
    is a micro-average. A track without any onset beside a truth that has some has F1 0.

    Limits: the truth scores 1 by construction. In rain or music most onsets are arbitrary, and two good
    soundtracks of one film share few of them: compare with the floor, and with the truth through the codec.

    Source: our choice.
    """

    name = "stem_onsets"
    figures = (
        Figure(
            "stem_onset_f1",
            "",
            "higher",
            "F1 of the background's onsets against those of the true stem, within 60 ms; micro-average",
            onset_f1,
            lambda value: onset_f1([value]),
            limits=(0.0, 1.0),
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[3] (matched pairs, onsets, true onsets); no entry without both tracks."""
        if clip.background is None or clip.true_background is None:
            return {}
        found_s, true_s = (
            onsets.pick_onsets(onsets.onset_strength(onsets.mel_power(track)))
            for track in (clip.background, clip.true_background)
        )
        if not len(true_s) and not len(found_s):
            return {}
        pairs = onsets.match(found_s, true_s, TOLERANCE_S)
        return {"stem_onset_f1": np.array([len(pairs), len(found_s), len(true_s)], np.float64)}

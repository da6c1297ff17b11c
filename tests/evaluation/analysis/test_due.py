"""Which silent stems count as the worst, and which have nothing to sound."""

import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.due import is_wrongly_silent
from dualdub_jax.evaluation.contracts.clips import Clip

SOUND = np.sin(np.arange(16_000) / 9).astype(np.float32)
SILENCE = np.zeros(16_000, np.float32)


@pytest.mark.parametrize(
    ("stream", "facts", "expected"),
    [
        ("speech", {"speech": SILENCE, "true_speech": SOUND}, True),
        ("speech", {"speech": SILENCE, "true_speech": SILENCE, "text": "words"}, False),
        ("speech", {"speech": SILENCE, "text": "words"}, True),
        ("speech", {"speech": SILENCE, "text": ""}, False),
        ("speech", {"speech": SILENCE}, False),
        ("speech", {"speech": SOUND, "true_speech": SOUND}, False),
        ("speech", {"speech": None, "true_speech": SOUND}, False),
        ("speech", {"speech": np.full(16_000, np.nan, np.float32), "true_speech": SOUND}, True),
        ("background", {"background": SILENCE[:0], "true_background": SOUND}, True),
        ("background", {"background": SILENCE, "text": "words"}, False),
    ],
)
def test_a_stem_is_wrongly_silent_where_the_truth_or_the_script_is_not(stream, facts, expected):
    assert is_wrongly_silent(Clip("clip", 16_000, **facts), stream) is expected

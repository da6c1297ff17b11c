"""Digital silence where nothing is due: a gate on the decoded speech track.

The model speaks only while an utterance is due (steering.py), but a room's noise and reverberation remain
between them. The gate is open while an utterance is due, fades over the tolerance on both sides, and is
exactly zero elsewhere. It does not close between utterances whose tolerances touch. Source: our choice.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dualdub_jax.dubbing.utterances import TOLERANCE_S, Utterance


class SpeechGate:
    """The gain of the speech track as a function of time."""

    def __init__(self, utterances: Sequence[Utterance], sample_rate_hz: int, num_samples: int) -> None:
        """Plans the gain.

        Args:
            utterances: in order of time.
            sample_rate_hz: of the track.
            num_samples: length of the track.
        """
        margin = int(TOLERANCE_S * sample_rate_hz)
        spans: list[list[int]] = []  # samples [first, end) of full gain
        for utterance in utterances:
            first, end = (round(time_s * sample_rate_hz) for time_s in (utterance.start_s, utterance.end_s))
            if not utterance.cues:
                # A window, which ends where another begins: its silence is exact, so it fades inside.
                first, end = first + margin * (first > 0), end - margin * (end < num_samples)
            end = max(end, first + 1)
            if spans and first - spans[-1][1] <= 2 * margin:
                spans[-1][1] = max(end, spans[-1][1])
            else:
                spans.append([first, end])
        corners = [(first - margin, first, end - 1, end - 1 + margin) for first, end in spans]
        self._samples = np.array(corners, np.int64).reshape(-1)
        self._gains = np.tile([0.0, 1.0, 1.0, 0.0], len(corners))

    def apply(self, blocks: Iterator[np.ndarray], first: int = 0) -> Iterator[np.ndarray]:
        """Applies the gain to float32[n] or [n, 2] blocks, of which the first begins at sample `first`."""
        for block in blocks:
            gain = np.interp(np.arange(first, first + len(block)), self._samples, self._gains)
            yield (block.T * gain).T.astype(np.float32)
            first += len(block)

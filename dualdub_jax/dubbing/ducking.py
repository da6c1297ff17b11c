"""Ducking: the background is lowered while somebody speaks.

The gain is 0 dB far from speech and `-depth_db` from the moment an utterance becomes audible until `HOLD_S`
after it is over. It falls within `ATTACK_S` before, for a mix made afterwards knows when speech will begin,
and rises within `RELEASE_S`: in decibels along half a cosine, so without a corner. Between utterances that
follow each other so closely that it would not rise to the top, it stays down. Source: our choice.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

ATTACK_S = 0.2
HOLD_S = 0.25
RELEASE_S = 0.6


@dataclasses.dataclass(frozen=True)
class Ducking:
    """The gain of the background as a function of time.

    Attributes:
        depth_db: how far it is lowered; 0: not at all.
        spans_s: when speech is audible, seconds; disjoint, in order of time, and farther apart than the gain
            takes to rise and fall.
    """

    depth_db: float = 0.0
    spans_s: tuple[tuple[float, float], ...] = ()

    @classmethod
    def under(cls, spans_s: Iterable[tuple[float, float]], depth_db: float) -> "Ducking":
        """Ducking under spans of speech that may lie close to each other or overlap."""
        merged: list[tuple[float, float]] = []
        for start_s, end_s in sorted(spans_s) if depth_db else ():
            if merged and start_s - merged[-1][1] < HOLD_S + RELEASE_S + ATTACK_S:
                merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
            else:
                merged.append((start_s, end_s))
        return cls(depth_db, tuple(merged))

    def gains(self, first: int, end: int, sample_rate_hz: int) -> np.ndarray | float:
        """The gain of samples [first, end), an amplitude: float64[end - first]; 1.0 where it is 0 dB."""
        if not self.spans_s:
            return 1.0
        corners = [
            (start_s - ATTACK_S, start_s, end_s + HOLD_S, end_s + HOLD_S + RELEASE_S)
            for start_s, end_s in self.spans_s
        ]
        times_s = np.arange(first, end) / sample_rate_hz
        slope = np.interp(times_s, np.ravel(corners), np.tile([0.0, 1.0, 1.0, 0.0], len(corners)))
        return 10.0 ** (-self.depth_db / 20.0 * (0.5 - 0.5 * np.cos(np.pi * slope)))

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> "Ducking":
        """The ducking that `describe` described."""
        return cls(described["depth_db"], tuple((start_s, end_s) for start_s, end_s in described["spans_s"]))

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for receipts."""
        return {
            "depth_db": self.depth_db,
            "attack_s": ATTACK_S,
            "hold_s": HOLD_S,
            "release_s": RELEASE_S,
            "spans_s": [list(span) for span in self.spans_s],
        }

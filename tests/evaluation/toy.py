"""A suite and metrics of numbers instead of sound, so that the framework is tested in milliseconds.

Clip k of the toy suite has a film of 1 s whose true speech has the level k / 100; a system's speech may
differ. The metric `Level` compares the two.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Figure, Metric, Requirement, Value, correlation, ratio
from dualdub_jax.evaluation.suites.suite import Footage, Suite

NUM_SAMPLES = 16_000


def track(level: float, num_samples: int = NUM_SAMPLES) -> np.ndarray:
    return np.full(num_samples, level, np.float32)


class ToySuite(Suite):
    """Soundtracks are given: speech `offset` louder than the true one, background half as loud as speech."""

    name = "pairs"
    is_generated = False

    def __init__(self, num_clips: int = 6, offset: float = 0.01, unreadable: Sequence[int] = ()) -> None:
        self._numbers = {f"clip-{k}": k for k in range(1, num_clips + 1)}
        self._offset, self._unreadable = offset, unreadable

    @property
    def ids(self) -> Sequence[str]:
        return list(self._numbers)

    def load(self, clip_id: str) -> Footage:
        k = self._numbers[clip_id]
        if k in self._unreadable:
            raise ValueError(f"film {k} is torn")
        clip = Clip(
            id=clip_id,
            num_samples=NUM_SAMPLES,
            speech=track(k / 100 + self._offset),
            background=track(k / 200),
            text="words",
            true_speech=track(k / 100),
            true_background=track(k / 200),
            group="odd" if k % 2 else "even",
        )
        return Footage(clip, notes={"number": k})

    def protocol(self) -> dict[str, Any]:
        return {"offset": self._offset}


class Level(Metric):
    """How far the speech's level is from the true one, and whether levels go together."""

    name = "level"
    figures = (
        Figure("level_error", "", "lower", "Mean difference of levels."),
        Figure("level_ratio", "", "neither", "Level over true level.", summarise=ratio, paired_floor=False),
        Figure("level_correlation", "", "higher", "Over clips.", summarise=correlation),
    )

    def __init__(self, version: str = "1", fails_on: Sequence[str] = ()) -> None:
        self.version = version
        self.fails_on = fails_on
        self.scored: list[str] = []

    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        for clip in clips:
            if clip.id in self.fails_on:
                raise RuntimeError(f"cannot score {clip.id}")
        self.scored += [clip.id for clip in clips]
        levels = [np.array([clip.speech.mean(), clip.true_speech.mean()], np.float64) for clip in clips]
        return {
            "level_error": [np.abs(level[0] - level[1]) for level in levels],
            "level_ratio": levels,
            "level_correlation": levels,
        }


class Absent(Metric):
    """Needs a package that does not exist."""

    name = "absent"
    figures = (Figure("absent_score", "", "higher", "Cannot be measured."),)
    requirements = (Requirement("no-such-package", "no_such_package"),)

    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        raise AssertionError("must not be asked")


class NeedsWorld(Metric):
    """Applies to no clip of the toy suite."""

    name = "needs_world"
    figures = (Figure("world_score", "", "higher", "Of rendered worlds."),)

    def score(self, clips: Sequence[Clip]) -> Mapping[str, list[Value]]:
        return {"world_score": [None if clip.world is None else np.array(1.0) for clip in clips]}

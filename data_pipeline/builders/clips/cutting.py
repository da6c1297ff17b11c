"""Where a film is cut into clips: at silences and changes of shot, never inside of a word."""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from dualdub_jax.data_pipeline.builders.clips.small_video import Span
from dualdub_jax.data_pipeline.builders.clips.sound import Sound
from dualdub_jax.data_pipeline.builders.clips.source_clip import Word
from dualdub_jax.dsp.activity import FRAME_S, levels_dbfs

Cut = Literal["quiet", "equal"]

MIN_CLIP_S = 1
_SMOOTHING = 20  # frames of 10 ms: a pause between words is longer
_SHOT_BONUS_DB = 12.0  # a change of shot is worth as much as sound that is quieter by this
_EARLY_DB = 6.0  # and the shortest clip costs as much, since long ones have more context
_FLOOR_DBFS = -80.0
_MAX_LOST = Fraction(1, 10)  # of a clip, at the end of a film, rather than two short clips
_STEP_S = Fraction(FRAME_S).limit_denominator(1000)


class Cutter:
    """Cuts a film from its beginning to its end; sound is read as far as it decides.

    Args:
        length_s: of the film.
        clip_s: the longest clip. A rest below `MIN_CLIP_S` is no clip.
        cut: "equal" clips of `clip_s`; or "quiet": each ends where sound is quietest, preferably at a change
            of shot, after half of `clip_s` or later.
        words: that must stay whole.
        shots_s: times of changes of shot, rising.
        read: `read(start_s, end_s)`, the sound there; None without sound. Only used for "quiet".
    """

    def __init__(
        self,
        length_s: Fraction,
        clip_s: Fraction,
        cut: Cut,
        words: Sequence[Word],
        shots_s: Sequence[Fraction],
        read: Callable[[Fraction, Fraction], Sound | None],
    ) -> None:
        self._length_s, self._clip_s, self._cut = length_s, clip_s, cut
        self._words, self._shots_s, self._read = words, shots_s, read

    def spans(self) -> Iterator[Span | float]:
        """The clips in order; a number is the start of one that cannot be cut, since a word is too long."""
        start_s = Fraction(0)
        while self._length_s - start_s >= MIN_CLIP_S:
            if self._length_s - start_s <= self._clip_s:
                yield Span(start_s, self._length_s)
                return
            end_s = self._end(start_s)
            if end_s is None:
                yield float(start_s)
                end_s = self._after_words(start_s + self._clip_s)
            else:
                yield Span(start_s, end_s)
            start_s = end_s

    def _end(self, start_s: Fraction) -> Fraction | None:
        """Where the clip from `start_s` on ends; None if it would be inside of a word everywhere."""
        latest_s = start_s + self._clip_s
        if self._cut == "equal":
            for back in range(math.floor((self._clip_s - MIN_CLIP_S) / _STEP_S) + 1):
                if self._is_between_words(latest_s - back * _STEP_S):
                    return latest_s - back * _STEP_S
            return None
        rest_s = self._length_s - latest_s
        if rest_s <= self._clip_s * _MAX_LOST and not self._has_words_after(latest_s):
            return latest_s
        earliest_s = start_s + max(Fraction(MIN_CLIP_S), self._clip_s / 2)
        if rest_s < MIN_CLIP_S:  # so that the rest is a clip
            latest_s = max(self._length_s - MIN_CLIP_S, earliest_s)
        best = self._quietest(start_s, earliest_s, latest_s)
        return best or self._quietest(start_s, start_s + MIN_CLIP_S, start_s + self._clip_s)

    def _quietest(self, start_s: Fraction, earliest_s: Fraction, latest_s: Fraction) -> Fraction | None:
        """The best end of the clip from `start_s` on, between two times; the latest of equal ones."""
        num_steps = math.floor((latest_s - earliest_s) / _STEP_S)
        times_s = [latest_s - step * _STEP_S for step in range(num_steps + 1)]
        times_s += [shot_s for shot_s in self._shots_s if earliest_s <= shot_s <= latest_s]
        levels_db = self._levels_db(start_s, latest_s)
        best = None
        for place, time_s in enumerate(times_s):
            if not self._is_between_words(time_s):
                continue
            frame = min(int((time_s - start_s) / _STEP_S), len(levels_db) - 1)
            early = float((latest_s - time_s) / max(latest_s - earliest_s, _STEP_S))
            cost_db = levels_db[frame] - _SHOT_BONUS_DB * (place > num_steps) + _EARLY_DB * early
            if best is None or cost_db < best[0]:
                best = (cost_db, time_s)
        return best and best[1]

    def _levels_db(self, start_s: Fraction, end_s: Fraction) -> np.ndarray:
        """Smoothed level of every 10 ms, at least one; of a film without sound the same everywhere."""
        sound = self._read(start_s, end_s + _SMOOTHING * _STEP_S)
        if sound is None:
            return np.zeros(1)
        levels = np.maximum(levels_dbfs(sound.samples, sound.sample_rate_hz), _FLOOR_DBFS)
        if not len(levels):
            return np.zeros(1)
        padded = np.pad(levels, _SMOOTHING // 2, mode="edge")
        return np.convolve(padded, np.full(_SMOOTHING, 1 / _SMOOTHING), mode="valid")

    def _is_between_words(self, time_s: Fraction) -> bool:
        place = bisect.bisect_left(self._words, float(time_s), key=lambda word: word[1])
        return place == 0 or self._words[place - 1][2] <= float(time_s)

    def _has_words_after(self, time_s: Fraction) -> bool:
        return any(ends_s > float(time_s) for _, _, ends_s in self._words[-1:])

    def _after_words(self, time_s: Fraction) -> Fraction:
        """The end of the word that is spoken at a time."""
        place = bisect.bisect_left(self._words, float(time_s), key=lambda word: word[1])
        end_s = self._words[place - 1][2] if place else 0.0
        return max(time_s, Fraction(end_s).limit_denominator(1000))


def words_in(words: Sequence[Word], span: Span) -> list[Word]:
    """The words of a clip, with times after its start."""
    start_s, end_s = float(span.start_s), float(span.end_s)
    return [
        (text, round(max(begins_s - start_s, 0.0), 4), round(min(ends_s, end_s) - start_s, 4))
        for text, begins_s, ends_s in words
        if start_s <= begins_s < end_s
    ]

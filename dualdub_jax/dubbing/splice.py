"""A splice: a span of a film in which new sound replaces the old, with linear cross-fades at both ends."""

import dataclasses
import math
from fractions import Fraction

import numpy as np

FADE_S = Fraction(1, 50)


@dataclasses.dataclass(frozen=True)
class Splice:
    """A span of samples; the cross-fades are inside.

    Attributes:
        first, end: of the film.
        sample_rate_hz: of the samples.
    """

    first: int
    end: int
    sample_rate_hz: int

    @classmethod
    def inside(cls, region_s: tuple[Fraction, Fraction], sample_rate_hz: int) -> "Splice":
        """The samples inside a region in seconds."""
        first, end = math.ceil(region_s[0] * sample_rate_hz), math.floor(region_s[1] * sample_rate_hz)
        return cls(first, end, sample_rate_hz)

    def weight(self, like: np.ndarray, first: int) -> np.ndarray:
        """The weight of the new sound, 0 outside of the span and 1 in its middle.

        Args:
            like: float[n], or float[n, channels], samples that it will be multiplied with.
            first: place of the first of them in the film.
        """
        fade = min(math.ceil(FADE_S * self.sample_rate_hz), (self.end - self.first) // 4)
        sample = np.arange(first, first + len(like)) + 0.5
        weight = np.clip(np.minimum(sample - self.first, self.end - sample) / fade, 0.0, 1.0)
        return weight if like.ndim == 1 else weight[:, None]

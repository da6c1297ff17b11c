"""From two decoded tracks to stems and a mix that agree to the last bit, in blocks.

Tracks are cut to the film's samples and rounded to 16 bits first; the mix is made from the rounded stems. Two
gains are recorded: `stem_gain`, one for both stems so that their balance stays, below 1 only if a stem alone
would clip; `mix_gain`, below 1 only if the sum of the stems exceeds the ceiling. So
`mix == mix_gain * (speech + background)`, to half a step of 16 bits. The gains depend on the peaks of
the whole film and are measured in passes of their own before the first block is mixed. Source: our choice.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from dualdub_jax.config.streams import STREAMS
from dualdub_jax.media.track import Samples

PEAK_CEILING = 10.0 ** (-1.0 / 20.0)  # -1 dB full scale: room for what AAC adds
BLOCK_SAMPLES = 1 << 16
_STEPS = 32768.0


@dataclasses.dataclass(frozen=True)
class Mixdown:
    """Decoded tracks with the gains of their mix.

    Attributes:
        speech: float32[S'], or [S', 2] in stereo, S' >= num_samples; None: switched off, all zeros.
        background: likewise, of as many channels.
        num_samples: length of the film's tracks.
        stem_gain: of both stems.
        mix_gain: of the sum of the stems.
        num_channels: of all tracks.
    """

    speech: Samples | None
    background: Samples | None
    num_samples: int
    stem_gain: float
    mix_gain: float
    num_channels: int = 1

    @classmethod
    def measure(
        cls, speech: Samples | None, background: Samples | None, num_samples: int, num_channels: int = 1
    ) -> "Mixdown":
        """Measures the gains; arguments as the attributes.

        Raises:
            ValueError: a track is too short, or holds values that are not finite.
        """
        for name, track in zip(STREAMS, (speech, background), strict=True):
            if track is not None and len(track) < num_samples:
                raise ValueError(f"{name}: {len(track)} samples, but the film has {num_samples}")
        plain = cls(speech, background, num_samples, 1.0, 1.0, num_channels)
        peak = 0.0
        for blocks in plain._decoded():
            for name, block in zip(STREAMS, blocks, strict=True):
                if not np.isfinite(block).all():
                    raise ValueError(f"{name}: the decoder gave values that are not finite")
                peak = max(peak, _peak(block))
        guarded = dataclasses.replace(plain, stem_gain=_guard(peak))
        sum_peak = max((_peak(speech + background) for speech, background in guarded._stems()), default=0.0)
        return dataclasses.replace(guarded, mix_gain=_guard(sum_peak))

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields speech, background and mix, float32[n] (stereo [n, 2]), multiples of 1/32768."""
        for speech, background in self._stems():
            mix = _round((speech + background) * self.mix_gain)
            yield speech.astype(np.float32), background.astype(np.float32), mix.astype(np.float32)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Speech, background and mix as a whole, float32[num_samples] each, [num_samples, 2] in stereo."""
        return tuple(np.concatenate(parts) for parts in zip(*self.blocks(), strict=True))

    def _stems(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for speech, background in self._decoded():
            yield _round(speech * self.stem_gain), _round(background * self.stem_gain)

    def _decoded(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, self.num_samples, BLOCK_SAMPLES):
            end = min(first + BLOCK_SAMPLES, self.num_samples)
            yield tuple(
                np.zeros(end - first if self.num_channels == 1 else (end - first, self.num_channels))
                if track is None
                else np.asarray(track[first:end], np.float64)
                for track in (self.speech, self.background)
            )


def _peak(track: np.ndarray) -> float:
    return float(np.abs(track).max(initial=0.0))


def _guard(peak: float) -> float:
    """The gain that keeps `peak` below the ceiling; 1 if it is there already."""
    return min(1.0, PEAK_CEILING / peak) if peak else 1.0


def _round(track: np.ndarray) -> np.ndarray:
    return np.round(track * _STEPS) / _STEPS

"""From decoded tracks to stems, in blocks.

Tracks are cut to the film's samples and rounded to 16 bits. One gain of all stems, so that their balance
stays, is below 1 only if a stem alone would clip. It depends on the peaks of the whole film, which are
measured in a pass before the first block is written. Source: our choice.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from dualdub_jax.dsp.blocks import BLOCK_SAMPLES, silence
from dualdub_jax.media.track import Samples

PEAK_CEILING = 10.0 ** (-1.0 / 20.0)  # -1 dB full scale: room for what AAC adds
ORIGINAL = "original"  # the stem of kept sound
_STEPS = 32768.0


@dataclasses.dataclass(frozen=True)
class Stems:
    """Decoded tracks and the gain of their stems.

    Attributes:
        decoded: by name, float32[S'], or [S', 2] in stereo, S' >= num_samples; None: switched off, all zeros.
        num_samples: length of the film's tracks.
        num_channels: of all tracks.
        gain: of all stems.
    """

    decoded: Mapping[str, Samples | None]
    num_samples: int
    num_channels: int = 1
    gain: float = 1.0

    @classmethod
    def measure(
        cls, decoded: Mapping[str, Samples | None], num_samples: int, num_channels: int = 1
    ) -> "Stems":
        """Measures the gain; arguments as the attributes.

        Raises:
            ValueError: a track is too short, or holds values that are not finite.
        """
        for name, track in decoded.items():
            if track is not None and len(track) < num_samples:
                raise ValueError(f"{name}: {len(track)} samples, but the film has {num_samples}")
        plain = cls(decoded, num_samples, num_channels)
        peak = 0.0
        for blocks in plain._decoded_blocks():
            for name, block in blocks.items():
                if not np.isfinite(block).all():
                    raise ValueError(f"{name}: the decoder gave values that are not finite")
                peak = max(peak, peak_of(block))
        return dataclasses.replace(plain, gain=guard(peak))

    def blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields all stems by name, float32[n] (stereo [n, 2]), multiples of 1/32768."""
        for blocks in self._decoded_blocks():
            yield {name: quantise(block * self.gain) for name, block in blocks.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """All stems as a whole, float32[num_samples] each, [num_samples, 2] in stereo."""
        blocks = list(self.blocks())
        return {name: np.concatenate([block[name] for block in blocks]) for name in self.decoded}

    def _decoded_blocks(self) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, self.num_samples, BLOCK_SAMPLES):
            end = min(first + BLOCK_SAMPLES, self.num_samples)
            yield {
                name: silence(end - first, self.num_channels)
                if track is None
                else np.asarray(track[first:end], np.float64)
                for name, track in self.decoded.items()
            }


def peak_of(samples: np.ndarray) -> float:
    """The highest absolute value."""
    return float(np.abs(samples).max(initial=0.0))


def guard(peak: float, ceiling: float = PEAK_CEILING) -> float:
    """The gain that keeps `peak` below a ceiling; 1 if it is there already."""
    return min(1.0, ceiling / peak) if peak else 1.0


def quantise(samples: np.ndarray) -> np.ndarray:
    """Rounds to multiples of 1/32768, float32."""
    return (np.round(samples * _STEPS) / _STEPS).astype(np.float32)

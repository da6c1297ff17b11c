"""From two decoded tracks to stems and a mix that agree to the last bit.

Tracks are cut to the film's samples and rounded to 16 bits first; the mix is made from the rounded
stems. Two gains are recorded: `stem_gain`, one for both stems so that their balance stays, below 1 only
if a stem alone would clip; `mix_gain`, below 1 only if the sum of the stems exceeds the ceiling. So
`mix == mix_gain * (speech + background)`, to half a step of 16 bits. Source: our choice.
"""

import dataclasses

import numpy as np

PEAK_CEILING = 10.0 ** (-1.0 / 20.0)  # -1 dB full scale: room for what AAC adds
_STEPS = 32768.0


@dataclasses.dataclass(frozen=True)
class Mixdown:
    """Stems and mix, float32[S] each, all values multiples of 1/32768 within the ceiling."""

    speech: np.ndarray
    background: np.ndarray
    mix: np.ndarray
    stem_gain: float
    mix_gain: float


def mix_down(speech: np.ndarray | None, background: np.ndarray | None, num_samples: int) -> Mixdown:
    """Makes stems of exact length and their mix.

    Args:
        speech: float32[S'], S' >= num_samples; None: switched off, all zeros.
        background: likewise.
        num_samples: length of the film's tracks.

    Raises:
        ValueError: a track is too short, or holds values that are not finite.
    """
    tracks = {}
    for name, track in (("speech", speech), ("background", background)):
        if track is None:
            tracks[name] = np.zeros(num_samples)
            continue
        if len(track) < num_samples:
            raise ValueError(f"{name}: {len(track)} samples, but the film has {num_samples}")
        tracks[name] = np.asarray(track[:num_samples], np.float64)
        if not np.isfinite(tracks[name]).all():
            raise ValueError(f"{name}: the decoder gave values that are not finite")
    stem_gain = _guard(max(_peak(track) for track in tracks.values()))
    stems = {name: _round(track * stem_gain) for name, track in tracks.items()}
    total = stems["speech"] + stems["background"]
    mix_gain = _guard(_peak(total))
    return Mixdown(
        speech=stems["speech"].astype(np.float32),
        background=stems["background"].astype(np.float32),
        mix=_round(total * mix_gain).astype(np.float32),
        stem_gain=stem_gain,
        mix_gain=mix_gain,
    )


def _peak(track: np.ndarray) -> float:
    return float(np.abs(track).max(initial=0.0))


def _guard(peak: float) -> float:
    """The gain that keeps `peak` below the ceiling; 1 if it is there already."""
    return min(1.0, PEAK_CEILING / peak) if peak else 1.0


def _round(track: np.ndarray) -> np.ndarray:
    return np.round(track * _STEPS) / _STEPS

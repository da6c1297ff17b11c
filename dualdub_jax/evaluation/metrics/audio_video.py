"""Audio-visual onset synchronization, without a learned model.

The visual curve is the largest frame-to-frame change of brightness in any cell of an 8 x 8 grid. The audio
curve is the spectral flux of the mixture (`onsets.py`), its maximum in the 40 ms around the frame's time. The
figures are their correlation at zero lag (`av_correlation`, mean over clips) and the absolute lag of the
highest correlation within 500 ms (`av_lag_ms`, median over clips).

Limits: it measures timing, not content. Music, cuts and camera motion cause unrelated onsets, so even true
audio scores low; the ceiling and the floor of a report give the usable range. On an animated film with music
(Big Buck Bunny) this range was small and the lag uninformative. It is not AV-Align, the paper's column, which
is an intersection over union of audio onsets and peaks of video motion.

Source: our choice, after the audio-visual correlation of onsets (Barzelay and Schechner, 2007).
"""

from collections.abc import Callable, Mapping

import numpy as np
from einops import reduce

from dualdub_jax.evaluation.analysis import onsets
from dualdub_jax.evaluation.analysis.cross_correlation import agreement
from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value
from dualdub_jax.evaluation.metrics.lip_sync import median_size

_CELLS = 8
_STEPS_PER_FRAME = round(1 / FRAME_RATE_HZ / onsets.STEP_S)
_BEFORE_STEPS = 3  # the flux of a sound that starts with a frame rises this many steps before it


class AudioVideo(ClipMetric):
    """Visual change against spectral flux of the mixture."""

    name = "audio_video"
    figures = (
        Figure(
            "av_correlation",
            "",
            "higher",
            "correlation of the largest local visual change with the mixture's spectral flux at zero lag",
        ),
        Figure(
            "av_lag_ms",
            "ms",
            "lower",
            "absolute lag of their highest correlation, within 500 ms; median over clips",
            median_size,
            lambda value: abs(float(value)),
        ),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[]; no entry without video, audio or visual change."""
        if clip.load_frames is None or clip.mix is None:
            return {}
        found = agreement(visible_change(clip.load_frames()), _onsets_at(clip.mix), FRAME_RATE_HZ)
        if found is None:
            return {}
        return {
            "av_correlation": np.float64(found.correlation),
            "av_lag_ms": None if found.lag_ms is None else np.float64(found.lag_ms),
        }


def visible_change(frames: np.ndarray) -> np.ndarray:
    """The largest change from the previous frame in any cell of the grid.

    Args:
        frames: uint8[T, height, width, 3].

    Returns:
        float64[T], mean absolute difference of brightness, 0 to 255; NaN for the first frame.
    """
    change = np.full(len(frames), np.nan)
    before = None
    for t, frame in enumerate(frames):
        luma = frame.mean(axis=-1, dtype=np.float32)
        if before is not None:
            height, width = (max(1, side // _CELLS) for side in luma.shape)
            difference = np.abs(luma - before)
            difference = difference[: len(difference) // height * height]
            difference = difference[:, : difference.shape[1] // width * width]
            change[t] = reduce(difference, "(h a) (w b) -> h w", "mean", a=height, b=width).max()
        before = luma
    return change


def _onsets_at(samples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The maximum spectral flux in the 40 ms around a time: s -> dB, NaN outside the track."""
    strength = onsets.onset_strength(onsets.mel_power(samples))
    padded = np.pad(strength, (_BEFORE_STEPS, _STEPS_PER_FRAME))
    largest = np.lib.stride_tricks.sliding_window_view(padded, _STEPS_PER_FRAME).max(axis=1)
    duration_s = (len(strength) - 1) * onsets.STEP_S

    def at(times_s: np.ndarray) -> np.ndarray:
        steps = np.clip(np.round(times_s / onsets.STEP_S).astype(int), 0, len(largest) - 1)
        return np.where((times_s >= 0) & (times_s < duration_s), largest[steps], np.nan)

    return at

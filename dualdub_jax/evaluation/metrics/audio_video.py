"""Audio-visual onset synchronization, without a learned model.

The visual curve is the largest frame-to-frame change of brightness in any cell of an 8 x 8 grid. The audio
curve is the spectral flux of the mixture (`onsets.py`), its maximum in the 40 ms around the frame's time.

- `av_sync` is their correlation at zero lag within a band of about 0.4 to 2 Hz: the logarithm of the change
  and the flux are smoothed over half a second, and the mean of two seconds is subtracted. Gestures and the
  sounds that go with them have this rate; frames and single onsets are noise beside it.
- `av_correlation` is the correlation of the curves as they are, `av_lag_ms` the absolute lag of the highest
  correlation within 500 ms (median over clips).

On Big Buck Bunny, an animated film with music, `av_sync` separates the truth from other clips' sound and
from its own 200 ms late, given a minute or two of film (docs/evaluation.md has the figures). On a few
seconds it does not, and its interval says so. Its band was chosen on that film;
`benchmarks/sync_on_films.py` measures others. On a single clip of a real film no figure of this module
tells the truth from another soundtrack with certainty, and `av_lag_ms` is uninformative there.

Limits: it measures timing, not content. Music, cuts and camera motion cause unrelated onsets, so even true
audio scores low; the ceiling and the floor of a report give the usable range. It is not AV-Align, the paper's
column, which is an intersection over union of audio onsets and peaks of video motion.

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
_SMOOTH_FRAMES, _SLOW_FRAMES = 11, 51  # the band; chosen on Big Buck Bunny
_STEPS_PER_FRAME = round(1 / FRAME_RATE_HZ / onsets.STEP_S)
_BEFORE_STEPS = 3  # the flux of a sound that starts with a frame rises this many steps before it


class AudioVideo(ClipMetric):
    """Visual change against spectral flux of the mixture."""

    name = "audio_video"
    version = "2"
    figures = (
        Figure(
            "av_sync",
            "",
            "higher",
            "correlation of visual change and spectral flux in a band of about 0.4 to 2 Hz, at zero lag",
            smallest_difference=0.02,
        ),
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
        change, curve = visible_change(clip.load_frames()), onsets_at(clip.mix)
        found = agreement(change, curve, FRAME_RATE_HZ)
        if found is None:
            return {}
        return {
            "av_sync": np.float64(band_correlation(change, curve)),
            "av_correlation": np.float64(found.correlation),
            "av_lag_ms": None if found.lag_ms is None else np.float64(found.lag_ms),
        }


def band_correlation(change: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]) -> float:
    """Pearson's correlation of the logarithm of visual change with the audio curve, both in the band.

    Args:
        change: float64[T] on the frame grid; NaN where unknown.
        curve: times in seconds float[T] -> the audio curve there, NaN outside the track.

    Returns:
        In [-1, 1]; 0 where one of the two is constant or they have less than half a second in common.
    """
    flux = curve(np.arange(len(change)) / FRAME_RATE_HZ)
    known = np.isfinite(change) & np.isfinite(flux)
    if known.sum() < _SMOOTH_FRAMES:
        return 0.0
    # What is unknown is at the ends: the first frame, and frames behind the end of the track.
    x, y = _band(np.log1p(change[known])), _band(flux[known])
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 1e-9 else 0.0


def _band(curve: np.ndarray) -> np.ndarray:
    """float64[T] smoothed, less its slow part and its mean."""
    smooth = _smoothed(curve, _SMOOTH_FRAMES)
    slow = smooth - _smoothed(smooth, _SLOW_FRAMES)
    return slow - slow.mean()


def _smoothed(curve: np.ndarray, num_frames: int) -> np.ndarray:
    """A mean weighted by a Hann window, of the frames that there are at the ends."""
    window = np.hanning(num_frames + 2)[1:-1]
    start = num_frames // 2
    total, weight = (
        np.convolve(values, window)[start : start + len(curve)] for values in (curve, np.ones(len(curve)))
    )
    return total / weight


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


def onsets_at(samples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The maximum spectral flux in the 40 ms around a time: s -> dB, NaN outside the track."""
    strength = onsets.onset_strength(onsets.mel_power(samples))
    padded = np.pad(strength, (_BEFORE_STEPS, _STEPS_PER_FRAME))
    largest = np.lib.stride_tricks.sliding_window_view(padded, _STEPS_PER_FRAME).max(axis=1)
    duration_s = (len(strength) - 1) * onsets.STEP_S

    def at(times_s: np.ndarray) -> np.ndarray:
        steps = np.clip(np.round(times_s / onsets.STEP_S).astype(int), 0, len(largest) - 1)
        return np.where((times_s >= 0) & (times_s < duration_s), largest[steps], np.nan)

    return at

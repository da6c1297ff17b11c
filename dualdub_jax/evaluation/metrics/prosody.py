"""Prosody: pitch, voicing and energy contours of the speech against the true speech."""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.audible import as_sound, frame_levels_dbfs, is_silent
from dualdub_jax.evaluation.analysis.track_memo import once_per_track
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value, ratio

_HOP_MS = 10.0
_HOP = round(SAMPLE_RATE_HZ * _HOP_MS / 1000)
_ENERGY_WINDOW = 4 * _HOP
_ENERGY_RANGE_DB = 40.0  # levels are clipped this far below the loudest frame
_MIN_PITCH_HZ, _MAX_PITCH_HZ = 60.0, 500.0
_MIN_VOICED_FRAMES = 10
_MIN_SAMPLES = SAMPLE_RATE_HZ // 10
_VOICED_DB = 30.0  # WORLD assigns pitch to faint noise: frames further below the loudest are unvoiced


def _root_of_ratio(values: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(ratio(values)))


class Prosody(ClipMetric):
    """Pitch and energy contours compared frame by frame, without time warping.

    Pitch is estimated by WORLD's Harvest every 10 ms, 60 to 500 Hz, in semitones; a frame is voiced if it has
    a pitch and lies within 30 dB of the loudest frame. `pitch_correlation` and `pitch_error_semitones` use
    frames voiced in both tracks, of clips with at least ten of them; a constant transposition raises the
    error and leaves the correlation unchanged. `voicing_error` is the fraction of frames voiced in one track
    only. `energy_correlation` compares frame levels (40 ms windows) in dB, clipped 40 dB below each track's
    loudest frame; a silent track has correlation 0.

    Limits: words at other times count as prosody errors; pitch trackers make occasional octave errors. Clips
    with silent ground truth are excluded.

    Source: Harvest: Morise (2017), through pyworld; the figures are the field's, the thresholds ours.
    """

    name = "prosody"
    figures = (
        Figure("pitch_correlation", "", "higher", "Correlation of pitch over frames voiced in both."),
        Figure(
            "pitch_error_semitones",
            "semitones",
            "lower",
            "Root mean square error of pitch over all frames voiced in both.",
            summarise=_root_of_ratio,
            clip_value=lambda value: float(np.sqrt(value[0] / value[1])),
        ),
        Figure(
            "voicing_error",
            "",
            "lower",
            "Fraction of frames voiced in one of the two tracks only.",
            summarise=ratio,
            clip_value=lambda value: float(value[0] / value[1]),
        ),
        Figure("energy_correlation", "", "higher", "Correlation of frame levels in dB."),
    )
    requirements = (Requirement("pyworld-prebuilt", "pyworld"),)

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure; float64[2] (sum, number of frames) where frames of all clips are pooled."""
        return _compare(clip)


def _compare(clip: Clip) -> dict[str, np.ndarray]:
    """Values of the figures that apply to a clip."""
    if clip.speech is None or clip.true_speech is None:
        return {}
    size = min(len(clip.speech), len(clip.true_speech))
    speech, truth = as_sound(clip.speech)[:size], as_sound(clip.true_speech)[:size]
    if size < _MIN_SAMPLES or is_silent(truth):
        return {}
    pitches = [pitch_semitones(sound) for sound in (speech, truth)]
    voiced = [np.isfinite(pitch) for pitch in pitches]
    both = voiced[0] & voiced[1]
    row = {
        "voicing_error": np.array([np.sum(voiced[0] != voiced[1]), len(both)], np.float64),
        "energy_correlation": np.array(_correlation(*(_energy_db(sound) for sound in (speech, truth)))),
    }
    if both.sum() >= _MIN_VOICED_FRAMES:
        one, other = (pitch[both] for pitch in pitches)
        row["pitch_correlation"] = np.array(_correlation(one, other))
        row["pitch_error_semitones"] = np.array([np.sum((one - other) ** 2), both.sum()], np.float64)
    return row


@once_per_track()
def pitch_semitones(sound: np.ndarray) -> np.ndarray:
    """Estimates pitch every 10 ms.

    Args:
        sound: float64[S] at 16 kHz.

    Returns:
        float64[S // 160 + 1], semitones above 1 Hz; NaN where unvoiced.
    """
    import pyworld

    levels = frame_levels_dbfs(sound, _ENERGY_WINDOW, _HOP)
    if is_silent(sound):
        return np.full(len(levels), np.nan)
    pitch_hz, _ = pyworld.harvest(
        np.ascontiguousarray(sound), SAMPLE_RATE_HZ, _MIN_PITCH_HZ, _MAX_PITCH_HZ, _HOP_MS
    )
    voiced = (pitch_hz[: len(levels)] > 0) & (levels > levels.max() - _VOICED_DB)
    return np.where(voiced, 12 * np.log2(np.where(voiced, pitch_hz[: len(levels)], 1.0)), np.nan)


def _energy_db(sound: np.ndarray) -> np.ndarray:
    levels = frame_levels_dbfs(sound, _ENERGY_WINDOW, _HOP)
    return np.maximum(levels, levels.max() - _ENERGY_RANGE_DB)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation; 0 if either input is constant."""
    if x.std() < 1e-9 or y.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])

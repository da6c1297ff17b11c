"""Acoustic agreement of speech and background: reverberation time and noise level."""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.analysis.audible import SILENCE_DBFS
from dualdub_jax.evaluation.analysis.due import is_wrongly_silent
from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Summarise, Value, correlation
from dualdub_jax.evaluation.listeners.room_acoustics import TRACKS, asset_sha256, estimate_acoustics

# Puppet Stage's speech microphone is closer: its noise floor lies this far below the world's noise level.
SPEECH_NOISE_OFFSET_DB = -6.0
_LEAST_CLIPS = 10  # for the interval of a correlation
# Of a stem that is silent where something is due: no reverberation, no noise.
SILENT = {"rt60_s": 0.05, "noise_dbfs": SILENCE_DBFS}


def _log_correlation(values: Sequence[np.ndarray]) -> float:
    return correlation([np.log(value) for value in values])


def _difference(value: np.ndarray) -> float:
    return float(abs(value[0] - value[1]))


def _mean_difference(values: Sequence[np.ndarray]) -> float:
    return float(np.mean([_difference(value) for value in values]))


def _correlation_figure(name: str, about: str, agree: Summarise) -> Figure:
    return Figure(name, "", "higher", about, agree, _difference, least_clips=_LEAST_CLIPS, limits=(-1.0, 1.0))


def _figures() -> tuple[Figure, ...]:
    figures = []
    for name, unit, what, agree in (
        ("rt60", "s", "reverberation time", _log_correlation),
        ("noise_level", "dB", "noise level", correlation),
    ):
        about = f"Correlation over clips of the {what} estimated from the speech and from the background."
        figures.append(_correlation_figure(f"{name}_correlation", about, agree))
        for track in TRACKS:
            about = f"Correlation over clips of the {what} estimated from the {track} and the world's."
            suffix = f"truth_correlation_{track}"
            figures.append(_correlation_figure(f"{name}_{suffix}", about, agree))
            about = f"Mean absolute error of the {what} estimated from the {track}, to the world's."
            key = f"{name}_error_{track}_{'s' if unit == 's' else 'db'}"
            figures.append(Figure(key, unit, "lower", about, _mean_difference, _difference))
    return tuple(figures)


class RoomAcoustics(ClipMetric):
    """Blind estimates of RT60 and noise level, compared between the tracks and with the ground truth.

    In Puppet Stage the room is not visible, so the tracks agree only if they are generated jointly or under a
    shared acoustic condition. `rt60_correlation` (of log RT60) and `noise_level_correlation` compare the
    generated tracks; figures with `truth` in their name require a rendered world. A track whose estimate is
    too uncertain is excluded from the figures that use it; n is reported for each figure.

    A stem that is silent where something is due counts as one without reverberation (0.05 s) and without
    noise (-90 dBFS).

    `room_acoustics.py` documents the estimators and the exclusion rule. The figures of the true tracks are
    the estimators' ceiling.

    The noise floor of the background is the world's noise level; that of the speech lies 6 dB below it. The
    few clips that the world attenuates to avoid clipping are not corrected.

    Source: our choice.
    """

    name = "acoustics"
    version = "2"
    figures = _figures()

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] by figure: the estimates from speech and background, or an estimate and the ground
        truth; seconds or dBFS."""
        self.weights_sha256 = asset_sha256()
        return _compare(clip)


def _compare(clip: Clip) -> dict[str, np.ndarray]:
    """Values of the figures that apply to a clip."""
    estimated = {track: estimate_acoustics(getattr(clip, track), track) for track in TRACKS}
    true = (clip.world or {}).get("room")
    row = {}
    for name, attribute, unit in (("rt60", "rt60_s", "s"), ("noise_level", "noise_dbfs", "db")):
        estimates = {
            track: SILENT[attribute]
            if is_wrongly_silent(clip, track)
            else getattr(estimated[track], attribute)
            for track in TRACKS
        }
        if None not in estimates.values():
            row[f"{name}_correlation"] = np.array([estimates[track] for track in TRACKS])
        if not true:
            continue
        for track, estimate in estimates.items():
            if estimate is None:
                continue
            is_near = name == "noise_level" and track == "speech"
            truth = true[attribute] + (SPEECH_NOISE_OFFSET_DB if is_near else 0.0)
            row[f"{name}_truth_correlation_{track}"] = np.array([estimate, truth])
            row[f"{name}_error_{track}_{unit}"] = np.array([estimate, truth])
    return row

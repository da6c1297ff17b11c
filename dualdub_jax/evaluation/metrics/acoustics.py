"""Whether both tracks sound as if they were in one room: the same reverberation, the same noise."""

from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Value, correlation
from dualdub_jax.evaluation.listeners.room_acoustics import TRACKS, asset_sha256, estimate_acoustics

# Puppet Stage's microphone of the speech is closer; its floor lies this much below the world's noise level.
SPEECH_NOISE_OFFSET_DB = -6.0


def _log_correlation(values: Sequence[np.ndarray]) -> float:
    return correlation([np.log(value) for value in values])


def _difference(value: np.ndarray) -> float:
    return float(abs(value[0] - value[1]))


def _mean_difference(values: Sequence[np.ndarray]) -> float:
    return float(np.mean([_difference(value) for value in values]))


def _figures() -> tuple[Figure, ...]:
    figures = []
    for name, unit, what, agree in (
        ("rt60", "s", "reverberation time", _log_correlation),
        ("noise_level", "dB", "noise level", correlation),
    ):
        about = f"Correlation over clips of the {what} heard in the speech and in the background."
        figures.append(Figure(f"{name}_correlation", "", "higher", about, agree, _difference))
        for track in TRACKS:
            about = f"Correlation over clips of the {what} heard in the {track} and the world's."
            suffix = f"truth_correlation_{track}"
            figures.append(Figure(f"{name}_{suffix}", "", "higher", about, agree, _difference))
            about = f"Mean distance of the {what} heard in the {track} from the world's."
            key = f"{name}_error_{track}_{'s' if unit == 's' else 'db'}"
            figures.append(Figure(key, unit, "lower", about, _mean_difference, _difference))
    return tuple(figures)


class RoomAcoustics(ClipMetric):
    """Blind estimates of RT60 and noise level: do the tracks agree with each other, and with the truth?

    In Puppet Stage a clip's room is not visible: a system can only make both tracks agree by listening to one
    while it makes the other. `rt60_correlation` (of logarithms) and `noise_level_correlation` look at the
    generated tracks alone; those with `truth` in their name need a rendered world. A clip that is too
    uncertain in one track counts for the other track's figures only; n is reported for each.

    How the estimates are made, and when a track is too uncertain to count, is in `room_acoustics.py`. Read
    the figures beside those of the true tracks: they are the estimators' own ceiling.

    The background's floor is the world's noise level, the speech's is 6 dB below it; the rare clips that the
    world turns down for their peaks are not corrected.

    Source: our choice; the issue's "RT60 and noise-level agreement".
    """

    name = "acoustics"
    figures = _figures()

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[2] of each clip: what is heard in the speech and in the background, or in one of them and
        what is true; seconds or dBFS."""
        self.weights_sha256 = asset_sha256()
        return _compare(clip)


def _compare(clip: Clip) -> dict[str, np.ndarray]:
    """What can be said of a clip; what cannot is left out."""
    heard = {track: estimate_acoustics(getattr(clip, track), track) for track in TRACKS}
    true = (clip.world or {}).get("room")
    row = {}
    for name, attribute, unit in (("rt60", "rt60_s", "s"), ("noise_level", "noise_dbfs", "db")):
        estimates = {track: getattr(heard[track], attribute) for track in TRACKS}
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

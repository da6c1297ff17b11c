"""A film with one system's soundtrack: the only input of a metric.

Every waveform of an evaluation is at `SAMPLE_RATE_HZ`, whatever the codec's own rate. Tracks are resampled
where they enter: files by the suites (`suites/sound.py`), a checkpoint's stems by `run/systems.py`.
"""

import dataclasses
import fractions
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import soxr

from dualdub_jax.media.track import as_mono

SAMPLE_RATE_HZ = 16_000  # of every waveform: the rate of the recognisers and embedders
FRAME_RATE_HZ = 25  # of video frames and of everything in `world`


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A soundtrack and the annotations of its film. `None` always means "unknown" or "not given".

    A metric returns `None` for a clip that lacks a required input: it neither guesses nor scores zero.
    Waveforms are mono float32[S], nominally in [-1, 1], at `SAMPLE_RATE_HZ`.

    Attributes:
        id: unique in its suite and shared by all systems, which allows paired comparison.
        num_samples: required length of each track: the film's duration in samples.
        speech: the system's speech track.
        background: the system's background track.
        mixture: the system's mixture, for systems without stems.
        text: the script; "": no speech in this clip; None: unknown.
        voice: the reference recording of the target speaker.
        other_voice: a recording of another speaker, for the wrong-speaker control.
        true_speech: ground-truth speech stem.
        true_background: ground-truth background stem.
        load_frames: decodes the film at `FRAME_RATE_HZ`: () -> uint8[T, height, width, 3], RGB. Called
            by visual metrics only; picklable, for evaluation in several processes.
        video: the film's file, for metrics that need its own size and rate.
        world: annotations of a rendered world (Puppet Stage's events: "contacts", "mouth", "room", …);
            None for real films.
        group: subset of the suite with figures of its own, such as "seen" or "unseen" voices; "" for none.
        generation_s: generation time in seconds, compilation excluded.
    """

    id: str
    num_samples: int
    speech: np.ndarray | None = None
    background: np.ndarray | None = None
    mixture: np.ndarray | None = None
    text: str | None = None
    voice: np.ndarray | None = None
    other_voice: np.ndarray | None = None
    true_speech: np.ndarray | None = None
    true_background: np.ndarray | None = None
    load_frames: Callable[[], np.ndarray] | None = None
    video: pathlib.Path | None = None
    world: Mapping[str, Any] | None = None
    group: str = ""
    generation_s: float | None = None

    @functools.cached_property
    def mix(self) -> np.ndarray | None:
        """float32[S]: `mixture` if given, else the sum of the given tracks; None without any track."""
        if self.mixture is not None:
            return self.mixture
        tracks = [track for track in (self.speech, self.background) if track is not None]
        if not tracks:
            return None
        mix = np.zeros(max(map(len, tracks)), np.float32)
        for track in tracks:
            mix[: len(track)] += track
        return mix

    @property
    def num_frames(self) -> int:
        """Frames of the film at `FRAME_RATE_HZ`, rounded up."""
        return -(-self.num_samples * FRAME_RATE_HZ // SAMPLE_RATE_HZ)

    @property
    def duration_s(self) -> float:
        """Duration of the film in seconds."""
        return self.num_samples / SAMPLE_RATE_HZ


def at_metric_rate(
    track: np.ndarray,
    sample_rate_hz: int,
    duration_s: fractions.Fraction | float,
    resample: Callable[[np.ndarray, int, int], np.ndarray] = soxr.resample,
) -> np.ndarray:
    """Resamples a system's track from its codec's rate to `SAMPLE_RATE_HZ`.

    Args:
        track: float32[S], or [S, 2] in stereo, of which the mean is taken.
        sample_rate_hz: its rate.
        duration_s: of the film. A track of `round(duration_s * sample_rate_hz)` samples is mapped to exactly
            `round(duration_s * SAMPLE_RATE_HZ)`; a longer or shorter one keeps its error, so that the
            duration metric reports it.
        resample: samples, their rate, new rate -> samples.

    Returns:
        float32[S'] at `SAMPLE_RATE_HZ`; `track` itself if it already has this rate.
    """
    track = as_mono(track)
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return track
    error = len(track) - round(duration_s * sample_rate_hz)
    length = round(duration_s * SAMPLE_RATE_HZ) + round(error * SAMPLE_RATE_HZ / sample_rate_hz)
    resampled = resample(track, sample_rate_hz, SAMPLE_RATE_HZ).astype(np.float32)[:length]
    return np.pad(resampled, (0, length - len(resampled)))

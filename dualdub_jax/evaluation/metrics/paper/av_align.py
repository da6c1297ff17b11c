"""AV-Align: agreement of audio onsets with peaks of optical flow, in both published versions."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import av
import numpy as np

from dualdub_jax.dsp.sinc_resample import sinc_resample
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.media.container import open_media

_ONSET_RATE_HZ = 22_050  # librosa's default
_LEAST_FLOW = 0.1  # pixels a frame; of a peak in the version of 2025
# Farnebäck's method: scale, levels, window, iterations, neighbourhood, sigma, flags.
_FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)


def local_maxima(values: Sequence[float], least: float) -> list[int]:
    """Indices of values above both neighbours and at least `least`."""
    return [
        i
        for i in range(1, len(values) - 1)
        if values[i - 1] < values[i] > values[i + 1] and values[i] >= least
    ]


def intersection_over_union(
    onsets_s: Sequence[float], peaks_s: Sequence[float], frame_s: float, is_one_to_one: bool
) -> float | None:
    """Matched onsets over all onsets and peaks, less the matched.

    Args:
        onsets_s: times of audio onsets, seconds, ascending.
        peaks_s: times of motion peaks, seconds, ascending.
        frame_s: an onset matches a peak at less than one frame's distance.
        is_one_to_one: each peak matches one onset only.

    Returns:
        In [0, 1]; None without any onset or peak, where the published code divides by zero.
    """
    used, matched = set(), 0
    for onset in onsets_s:
        for i, peak in enumerate(peaks_s):
            if i not in used and peak - frame_s < onset < peak + frame_s:
                matched += 1
                if is_one_to_one:
                    used.add(i)
                break
    union = len(onsets_s) + len(peaks_s) - matched
    return matched / union if union else None


class AVAlign(ClipMetric):
    """AV-Align on the mixture and the film at its own size and frame rate.

    Two versions are in use under one name, and the paper does not state its own. `av_align` is the public
    code since February 2025: motion below 0.1 pixels a frame is no peak, and a peak matches one onset.
    `av_align_2023` is the code before: every local maximum is a peak, and a peak may match several onsets (as
    its text intends; it fails as written). A clip without onset and without peak has no value.

    Limits: camera motion and cuts are peaks; an onset of music or of a word is matched by chance; a video
    with many peaks matches anything. The floor of shuffled soundtracks shows how much is chance.

    Source: Yariv et al. (2023), "Diverse and aligned audio-to-video generation via text-to-video model
    adaptation", and its public code.
    """

    name = "av_align"
    figures = (
        Figure(
            "av_align",
            "",
            "higher",
            "Intersection over union of audio onsets and motion peaks (public code of 2025).",
            limits=(0.0, 1.0),
        ),
        Figure(
            "av_align_2023",
            "",
            "higher",
            "The same by the code of 2023: no least motion, a peak may match several onsets.",
            limits=(0.0, 1.0),
        ),
    )
    requirements = (
        Requirement("opencv-python-headless", "cv2"),
        Requirement("librosa", "librosa"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[1] by figure."""
        if clip.video is None or clip.mix is None:
            return {}
        flow, rate_hz = mean_flow(clip.video)
        onsets = onset_times_s(clip.mix)
        values = {}
        for name, least, is_one_to_one in (("av_align", _LEAST_FLOW, True), ("av_align_2023", 0.0, False)):
            peaks = [i / rate_hz for i in local_maxima(flow, least)]
            value = intersection_over_union(onsets, peaks, 1 / rate_hz, is_one_to_one)
            values[name] = None if value is None else np.array([value])
        return values


def onset_times_s(waveform: np.ndarray) -> list[float]:
    """Onsets by librosa's defaults at 22,050 Hz, seconds; waveform float[S] at 16 kHz."""
    import librosa

    samples = sinc_resample(waveform, SAMPLE_RATE_HZ, _ONSET_RATE_HZ)
    strength = librosa.onset.onset_strength(y=samples, sr=_ONSET_RATE_HZ)
    frames = librosa.onset.onset_detect(onset_envelope=strength, sr=_ONSET_RATE_HZ)
    return librosa.frames_to_time(frames, sr=_ONSET_RATE_HZ).tolist()


@functools.lru_cache(maxsize=4096)  # all systems share a film
def mean_flow(video: pathlib.Path) -> tuple[tuple[float, ...], float]:
    """Mean magnitude of the optical flow into each frame, and the frame rate.

    Args:
        video: the film.

    Returns:
        Pixels a frame, one value a frame, the first one repeated; and frames per second. A film of one frame
        has no values.
    """
    import cv2

    values: list[float] = []
    with open_media(video, "video") as container:
        stream = container.streams.best("video")
        rate_hz, before = float(stream.average_rate), None
        for grey in _grey_frames(container, stream):
            if before is not None:
                flow = cv2.calcOpticalFlowFarneback(before, grey, None, *_FARNEBACK)
                values.append(cv2.mean(cv2.magnitude(flow[..., 0], flow[..., 1]))[0])
            before = grey
    return tuple(values[:1] + values), rate_hz


def _grey_frames(container: av.container.InputContainer, stream: av.video.VideoStream):
    import cv2

    for frame in container.decode(stream):
        yield cv2.cvtColor(frame.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY)

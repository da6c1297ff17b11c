"""AV-Align in both published versions, on films made for it."""

import av
import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.metrics.paper.av_align import (
    AVAlign,
    intersection_over_union,
    local_maxima,
    mean_flow,
)

RATE_HZ = 25
JUMPS = (20, 40, 60)  # frames in which a square moves


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A textured square that jumps three times, 3.2 s."""
    path = tmp_path_factory.mktemp("films") / "jumps.mp4"
    square = np.random.default_rng(0).integers(80, 255, (24, 24, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE_HZ, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        left = 10
        for i in range(80):
            left += 4 if i in JUMPS else 0
            picture = np.full((64, 96, 3), 40, np.uint8)
            picture[20:44, left : left + 24] = square
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def clicks(times_s):
    rng = np.random.default_rng(1)
    samples = 1e-4 * rng.normal(size=int(3.2 * 16_000))
    for time in times_s:
        start = round(time * 16_000)
        samples[start : start + 800] += 0.5 * rng.normal(size=800) * np.exp(-np.arange(800) / 150)
    return samples.astype(np.float32)


def score(film, mixture):
    return AVAlign().score_clip(Clip("clip", len(mixture), mixture=mixture, video=film))


def test_the_flow_has_its_peaks_where_things_move(film):
    flow, rate_hz = mean_flow(film)
    assert rate_hz == RATE_HZ and len(flow) == 80 and flow[0] == flow[1]
    assert [i for i in local_maxima(flow, 0.1)] == list(JUMPS)


def test_sound_at_the_jumps_is_aligned_and_sound_elsewhere_is_not(film):
    aligned = score(film, clicks([i / RATE_HZ for i in JUMPS]))
    assert aligned["av_align"] == 1.0
    assert score(film, clicks([0.3, 1.2, 2.9]))["av_align"] == 0.0
    # One click of three, and a jump for each: 1 / (1 + 3 - 1)
    assert score(film, clicks([JUMPS[1] / RATE_HZ]))["av_align"] == pytest.approx(1 / 3)


def test_silence_is_the_worst_and_without_peaks_there_is_no_value(film):
    silence = np.zeros(51_200, np.float32)
    assert score(film, silence)["av_align"] == 0.0
    assert AVAlign().score_clip(Clip("clip", 1000, mixture=silence)) == {}
    assert intersection_over_union([], [], 0.04, True) is None


def test_the_versions_differ_in_matching_and_in_the_least_motion():
    onsets, peaks = [1.0, 1.01], [1.0]
    assert intersection_over_union(onsets, peaks, 0.04, True) == 0.5
    assert intersection_over_union(onsets, peaks, 0.04, False) == 2.0 / 1.0
    assert local_maxima([0, 0.05, 0, 0.2, 0], 0.1) == [3]
    assert local_maxima([0, 0.05, 0, 0.2, 0], 0.0) == [1, 3]
    # At exactly one frame's distance there is no match.
    assert intersection_over_union([1.5], [1.0], 0.5, True) == 0.0

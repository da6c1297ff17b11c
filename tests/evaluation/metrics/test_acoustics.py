import dataclasses

import numpy as np
import pytest

from dualdub_jax.data_pipeline.builders.puppet_stage import acoustics
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.listeners.room_acoustics import TRACKS, estimate_acoustics
from dualdub_jax.evaluation.metrics.acoustics import RoomAcoustics
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips


@pytest.fixture(scope="module")
def clips():
    return spoken_clips(28)


@pytest.fixture(scope="module")
def true_figures(clips):
    return _figures(clips)


def _figures(clips):
    """Name -> (figure, n); NaN where no clip counts."""
    values = RoomAcoustics().score(clips)
    out = {}
    for figure in RoomAcoustics.figures:
        known = [value for value in values[figure.name] if value is not None]
        out[figure.name] = (figure.summarise(known) if known else float("nan"), len(known))
    return out


def _knocks(rt60_s, noise_dbfs=-60.0):
    """Three dry knocks in a room of the world's kind: float32[S]."""
    rng = np.random.default_rng(3)
    dry = np.zeros(3 * SAMPLE_RATE_HZ, np.float32)
    knock = acoustics.band_noise(rng, 400, 300, 6000) * np.exp(-np.arange(400) / 60)
    for start in (8_000, 22_000, 35_000):
        dry[start : start + 400] = 0.2 * knock
    wet = acoustics.reverberate(dry, acoustics.impulse_response(rng, rt60_s))
    return (wet + acoustics.noise_floor(rng, len(wet), noise_dbfs)).astype(np.float32)


def test_true_tracks_agree_with_each_other_and_with_the_world(true_figures):
    assert true_figures["rt60_correlation"][0] > 0.7
    assert true_figures["noise_level_correlation"][0] > 0.9
    for track in TRACKS:
        assert true_figures[f"rt60_truth_correlation_{track}"][0] > 0.75
        assert true_figures[f"noise_level_truth_correlation_{track}"][0] > 0.9
        assert true_figures[f"noise_level_error_{track}_db"][0] < 2.5
    assert true_figures["noise_level_correlation"][1] == 28
    assert true_figures["rt60_truth_correlation_speech"][1] > 20


def test_one_track_of_another_clip_ends_the_agreement_and_only_that_tracks_truth(clips, true_figures):
    figures = _figures(degrade.shuffled(clips, ["background"]))
    for name in ("rt60", "noise_level"):
        assert abs(figures[f"{name}_correlation"][0]) < 0.6
        assert figures[f"{name}_correlation"][0] < true_figures[f"{name}_correlation"][0] - 0.3
        of_speech = f"{name}_truth_correlation_speech"
        assert figures[of_speech] == true_figures[of_speech]


@pytest.mark.parametrize("shorter_s, longer_s", [(0.15, 0.3), (0.3, 0.6), (0.15, 0.7)])
def test_longer_reverberation_is_estimated_as_longer(shorter_s, longer_s):
    shorter, longer = (estimate_acoustics(_knocks(s), "background").rt60_s for s in (shorter_s, longer_s))
    assert longer > 1.3 * shorter


def test_added_reverberation_is_detected_in_speech(clips):
    dry = [clip for clip in clips if clip.world["room"]["rt60_s"] < 0.3]
    wet = [degrade.reverberated(clip, "speech", 0.9) for clip in dry]
    before, after = ([estimate_acoustics(c.speech, "speech").rt60_s for c in group] for group in (dry, wet))
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    assert len(pairs) >= 3
    assert np.median([b / a for a, b in pairs]) > 1.5


def test_reverberation_time_ignores_gain_and_the_noise_level_follows_it(clips):
    for track in TRACKS:
        samples = getattr(clips[0], track)
        loud, soft = estimate_acoustics(samples, track), estimate_acoustics(0.25 * samples, track)
        assert soft.noise_dbfs == pytest.approx(loud.noise_dbfs - 12.04, abs=0.1)
        if loud.rt60_s is not None:
            assert soft.rt60_s == pytest.approx(loud.rt60_s, rel=0.02)


@pytest.mark.parametrize("track", TRACKS)
def test_added_noise_is_measured(clips, track):
    for clip in [clip for clip in clips if not clip.world["continuous"]][:6]:
        noisy = degrade.with_noise_at(clip, track, -32.0)
        # Flat noise is none of the world's, whose floors fall by 1 dB an octave: hence the slack.
        assert estimate_acoustics(getattr(noisy, track), track).noise_dbfs == pytest.approx(-32, abs=5)
        assert estimate_acoustics(getattr(clip, track), track).noise_dbfs < -38


def test_a_shift_leaves_the_noise_level_and_a_gap_is_not_quiet_noise(clips):
    for track in TRACKS:
        for clip in clips[:6]:
            expected = estimate_acoustics(getattr(clip, track), track).noise_dbfs
            shifted = degrade.shifted(clip, track, 400)
            assert estimate_acoustics(getattr(shifted, track), track).noise_dbfs == pytest.approx(
                expected, abs=1
            )


def test_sound_that_begins_out_of_digital_silence_is_no_decay():
    hiss = acoustics.noise_floor(np.random.default_rng(0), 48_000, -30.0)
    hiss[:8_000] = 0
    hiss[40_000:] = 0
    for track in TRACKS:
        assert estimate_acoustics(hiss, track).rt60_s is None


def test_a_shift_hardly_moves_the_reverberation_time(clips):
    pairs = [
        [estimate_acoustics(c.speech, "speech").rt60_s for c in (clip, degrade.shifted(clip, "speech", 200))]
        for clip in clips
    ]
    ratios = [b / a for a, b in pairs if a is not None and b is not None]
    assert len(ratios) > 18
    assert np.median(np.abs(np.log(ratios))) < 0.1


def test_narrow_band_noise_is_estimated(clips):
    for clip in [clip for clip in clips if not clip.world["continuous"]][:6]:
        narrow = degrade.low_passed(clip, "speech", 3000)
        expected = estimate_acoustics(clip.speech, "speech").noise_dbfs
        assert estimate_acoustics(narrow.speech, "speech").noise_dbfs == pytest.approx(expected, abs=9)


def test_a_track_without_free_decays_has_no_reverberation_time():
    hiss = acoustics.noise_floor(np.random.default_rng(0), 48_000, -30.0)
    tone = (0.1 * np.sin(np.arange(48_000) * 0.2)).astype(np.float32)
    for track in TRACKS:
        assert estimate_acoustics(hiss, track).rt60_s is None
        assert estimate_acoustics(tone, track).rt60_s is None
        assert estimate_acoustics(hiss, track).noise_dbfs == pytest.approx(-30, abs=3)


@pytest.mark.parametrize(
    "samples", [None, np.zeros(0), np.zeros(48_000), np.full(48_000, np.nan), np.ones(400)]
)
def test_silence_has_no_estimate(samples):
    for track in TRACKS:
        estimate = estimate_acoustics(samples, track)
        assert estimate.rt60_s is None and estimate.noise_dbfs is None


def test_spoiled_tracks_give_numbers_or_none(clips):
    spoils = (
        lambda c: degrade.with_clicks(c, "background"),
        lambda c: degrade.with_nan(c, "background"),
        lambda c: degrade.clipped(c, "background"),
        lambda c: degrade.amplified(c, "background", -70),
        lambda c: degrade.low_passed(c, "background"),
        lambda c: degrade.with_length(c, "background", 9_000),
    )
    for spoil in spoils:
        estimate = estimate_acoustics(spoil(clips[1]).background, "background")
        assert estimate.rt60_s is None or 0.01 < estimate.rt60_s < 10
        assert estimate.noise_dbfs is None or -140 < estimate.noise_dbfs < 10


def test_a_real_film_has_no_truth_and_a_missing_track_no_agreement(clips):
    real = dataclasses.replace(clips[0], world=None)
    names = {name for name, (value, n) in _figures([real]).items() if n}
    assert names <= {"rt60_correlation", "noise_level_correlation"}
    alone = degrade.without(clips[0], "background")
    figures = _figures([alone])
    assert figures["noise_level_correlation"][1] == 0
    assert figures["noise_level_truth_correlation_speech"][1] == 1
    assert _figures([Clip("empty", 48_000)])["noise_level_correlation"][1] == 0

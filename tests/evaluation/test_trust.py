"""Can the figures be trusted? Known ways of spoiling a true soundtrack move the right ones and no others.

One table for all metrics: a row is a way of spoiling, its first set are the figures that it must make
clearly worse than those of the untouched truth, its second set those that it must leave alone. Metrics that
look at one track only say so here: spoiling the other track leaves them exactly where they were.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import Figure
from dualdub_jax.evaluation.contracts.registry import all_metrics
from dualdub_jax.evaluation.run.scoring import missing_requirement
from tests.evaluation import degrade
from tests.evaluation.puppet_clips import spoken_clips

_NUM_CLIPS = 6
# Metrics that take a second a clip see fewer: what is tested is far above what differs between clips.
_FEW_CLIPS = {"dnsmos": 2, "mel_cepstral": 2, "prosody": 2, "grammar_asr": 4}

# Metrics that these clips or this time cannot test; each has tests of the same kind of its own.
_TESTED_ALONE = {
    "open_asr",  # seconds a clip
    "asked_words",  # likewise
    "ghost_speech",  # the same recogniser
    "distillmos",  # needs torch
    "face_sync",  # puppets have no human face
    "audio_video",  # says little of a puppet: most of what moves makes no sound
    "casp",  # needs batches of 32
    "realtime",  # about the machine, not the soundtrack
}

Spoil = Callable[[list[Clip]], list[Clip]]


def _each(change: Callable[..., Clip], *arguments: object) -> Spoil:
    return lambda clips: [change(clip, *arguments) for clip in clips]


def _shuffled_pairs(clips: list[Clip]) -> list[Clip]:
    """As the report's floor: speech of one other clip, background of a third."""
    return degrade.shuffled(degrade.shuffled(clips, ["speech"], 1), ["background"], 2)


def _silence(clips: list[Clip]) -> list[Clip]:
    return [degrade.silenced(degrade.silenced(clip, "speech"), "background") for clip in clips]


_OF_SPEECH = {"wer", "voice_similarity", "voice_margin", "lip_correlation", "lip_lag_ms", "mcd"}
_OF_BACKGROUND = {"onset_f1", "onset_precision", "onset_recall", "impact_class_accuracy", "fad", "kl"}

# How the soundtrack is degraded -> (how, figures that get worse, figures that stay).
_TABLE: dict[str, tuple[Spoil, set[str], set[str]]] = {
    "speech as loud as its noise": (
        _each(degrade.with_noise, "speech", 0.0),
        {
            *{"wer", "dnsmos_ovrl", "dnsmos_bak", "mcd", "voice_similarity"},
            *{"noise_level_correlation", "pause_level_db"},
        },
        {*_OF_BACKGROUND, "lip_correlation", "lip_lag_ms", "loudness_background_lufs"},
    ),
    "speech 200 ms late": (
        _each(degrade.shifted, "speech", 200.0),
        {"lip_correlation", "lip_lag_ms", "mcd", "pitch_correlation", "energy_correlation"},
        {*_OF_BACKGROUND, "wer", "voice_similarity", "voice_margin", "mcd_dtw", "noise_level_correlation"},
    ),
    "background 200 ms late": (
        _each(degrade.shifted, "background", 200.0),
        {"onset_f1", "onset_precision", "onset_recall", "stem_onset_f1"},
        {*_OF_SPEECH, "noise_level_correlation", "duration_error_samples"},
    ),
    "speech in another voice": (
        _each(degrade.in_another_voice),
        {"voice_similarity", "voice_margin", "mcd", "pitch_error_semitones"},
        {*_OF_BACKGROUND, "lip_correlation", "lip_lag_ms", "duration_error_samples"},
    ),
    "tracks swapped": (
        _each(degrade.with_tracks_swapped),
        {
            *{
                "wer",
                "voice_similarity",
                "voice_margin",
                "lip_correlation",
                "lip_lag_ms",
                "mcd",
                "dnsmos_ovrl",
            },
            *{"onset_f1", "impact_class_accuracy", "fad", "kl", "loudness_balance_error_lu"},
        },
        {"loudness_mix_lufs", "duration_error_samples"},
    ),
    "pairs shuffled": (
        _shuffled_pairs,
        {
            "voice_margin",
            "lip_correlation",
            "lip_lag_ms",
            "mcd",
            "wer",
            "onset_f1",
            "kl",
            "noise_level_correlation",
        },
        {"duration_error_samples"},
    ),
    "silence": (
        _silence,
        {
            "wer",
            "lip_correlation",
            "voice_similarity",
            "dnsmos_ovrl",
            "onset_f1",
            "onset_recall",
            "fad",
            "kl",
        },
        {"duration_error_samples"},
    ),
    "an eighth of a second cut off": (
        lambda clips: [degrade.with_length(clip, "speech", clip.num_samples - 2_000) for clip in clips],
        {"duration_error_samples"},
        _OF_BACKGROUND,
    ),
}
# What "stays" means in units that are not shares; otherwise 0.05.
_SMALL = {"ms": 5.0, "LUFS": 0.2, "LU": 0.2, "dB": 0.1}


@pytest.fixture(scope="module")
def figure_of() -> Callable[[str, str], float | None]:
    """(figure, way of spoiling or "") -> its value; every metric sees every soundtrack at most once."""
    clips = spoken_clips(_NUM_CLIPS)
    owner = {figure.name: (metric, figure) for metric in all_metrics() for figure in metric.figures}
    soundtracks: dict[str, list[Clip]] = {"": clips}
    values: dict[tuple[str, str], dict[str, list]] = {}

    def value(name: str, degraded: str) -> float | None:
        metric, figure = owner[name]
        assert missing_requirement(metric) is None, "the extra 'dev' brings what this table needs"
        if degraded not in soundtracks:
            soundtracks[degraded] = _TABLE[degraded][0](clips)
        key = (metric.name, degraded)
        if key not in values:
            values[key] = metric.score(soundtracks[degraded][: _FEW_CLIPS.get(metric.name, _NUM_CLIPS)])
        return _summary(figure, values[key][name])

    return value


def _summary(figure: Figure, values: Sequence[np.ndarray | None]) -> float | None:
    present = [np.asarray(value) for value in values if value is not None]
    return figure.summarise(present) if present else None


def _figure(name: str) -> Figure:
    return next(f for metric in all_metrics() for f in metric.figures if f.name == name)


def test_the_table_speaks_of_figures_that_exist():
    known = {figure.name for metric in all_metrics() for figure in metric.figures}
    for degraded, (_, worse, still) in _TABLE.items():
        assert worse | still <= known, degraded
        assert not worse & still, degraded


def test_every_metric_is_in_the_table_or_says_why_not():
    declared = set().union(*(worse | still for _, worse, still in _TABLE.values()))
    for metric in all_metrics():
        is_declared = any(figure.name in declared for figure in metric.figures)
        assert is_declared != (metric.name in _TESTED_ALONE), metric.name


@pytest.mark.parametrize(("degraded", "name"), [(s, n) for s, row in _TABLE.items() for n in sorted(row[1])])
def test_gets_worse(figure_of, degraded, name):
    before, after = figure_of(name, ""), figure_of(name, degraded)
    assert before is not None and after is not None
    loss = before - after if _figure(name).better == "higher" else after - before
    assert loss > 0.05 * max(abs(before), 1.0), f"{name}: {before:.3f} became {after:.3f}"


@pytest.mark.parametrize(("degraded", "name"), [(s, n) for s, row in _TABLE.items() for n in sorted(row[2])])
def test_stays(figure_of, degraded, name):
    before, after = figure_of(name, ""), figure_of(name, degraded)
    assert before is not None and after is not None
    small = _SMALL.get(_figure(name).unit, 0.05)
    assert abs(after - before) <= small, f"{name}: {before:.3f} became {after:.3f}"

"""The figures of `dualdub demo`: metrics with exact annotations from the rendered world.

The demo clip comes with its ground truth (`assets/demo/truth.json`, `speech.flac`, `background.flac`), so
every figure is printed beside that of the true audio. A metric whose package is not installed prints the
installation command in place of its figures.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip, at_metric_rate
from dualdub_jax.evaluation.report import number_text
from dualdub_jax.evaluation.run.scoring import missing_requirement
from dualdub_jax.evaluation.run.systems import true_tracks, with_tracks

if TYPE_CHECKING:
    from dualdub_jax.dubbing.dub import Soundtrack

_METRICS = ("grammar_asr", "speaker", "lip_sync", "impacts", "duration")
_SHOWN: Mapping[str, str] = {
    "wer": "Word error rate",
    "voice_similarity": "Speaker similarity, cosine",
    "lip_correlation": "Lip sync, correlation",
    "lip_lag_ms": "Lip sync, best lag, ms",
    "onset_f1": "Impact onsets within 60 ms, F1",
    "impact_class_accuracy": "Impact class accuracy",
    "duration_error_samples": "Duration error, samples",
}


def measure_demo(soundtrack: "Soundtrack", assets: pathlib.Path) -> list[tuple[str, str]]:
    """Scores a soundtrack of the demo clip.

    Args:
        soundtrack: generated from `assets/clip.mp4`; its stems are resampled to
            `clips.SAMPLE_RATE_HZ`.
        assets: the demo's folder.

    Returns:
        For each figure its label with the unit, and its value beside that of the true audio, or the reason
        for its absence.
    """
    truth = json.loads((assets / "truth.json").read_text(encoding="utf-8"))
    duration_s = soundtrack.film.duration_s
    clip = Clip(
        id="demo",
        num_samples=round(duration_s * SAMPLE_RATE_HZ),
        speech=at_metric_rate(soundtrack.speech, soundtrack.sample_rate_hz, duration_s),
        background=at_metric_rate(soundtrack.background, soundtrack.sample_rate_hz, duration_s),
        text=truth["script"],
        voice=_read(assets / "voice.wav"),
        true_speech=_read(assets / "speech.flac"),
        true_background=_read(assets / "background.flac"),
        world=truth["events"],
    )
    true = with_tracks(clip, true_tracks(clip))
    rows = []
    for metric in registry.select(registry.all_metrics(), _METRICS):
        figures = [figure for figure in metric.figures if figure.name in _SHOWN]
        if absent := missing_requirement(metric):
            rows += [(_SHOWN[figure.name], absent) for figure in figures]
            continue
        scores = metric.score([clip, true])
        for figure in figures:
            ours, best = (
                _text(None if value is None else figure.clip_value(value), figure.unit)
                for value in scores[figure.name]
            )
            rows.append((_SHOWN[figure.name], f"{ours} (true: {best})"))
    return rows


def _text(value: float | None, unit: str) -> str:
    return number_text.number(number_text.in_unit(value, unit)) + "%" * (unit == "%")


def _read(path: pathlib.Path) -> np.ndarray:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    if rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"{path}: {rate_hz} Hz, expected {SAMPLE_RATE_HZ}")
    return samples

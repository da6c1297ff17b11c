"""What `dualdub demo` measures of its own clip: the metrics that know the rendered world's answers.

The clip comes with its truth (`assets/demo/truth.json`, `speech.flac`, `background.flac`), so that every
figure has the true audio's beside it. Metrics whose packages are not installed say so in place of figures.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.evaluation.contracts.clips import SAMPLE_RATE_HZ, Clip
from dualdub_jax.evaluation.report import number_text
from dualdub_jax.evaluation.run.scoring import missing_requirement
from dualdub_jax.evaluation.run.systems import true_tracks, with_tracks

if TYPE_CHECKING:
    from dualdub_jax.dubbing.soundtrack import Soundtrack

_METRICS = ("grammar_asr", "speaker", "lip_sync", "impacts", "duration")
_SHOWN: Mapping[str, str] = {
    "wer": "Words wrong",
    "voice_similarity": "Voice, cosine to the reference",
    "lip_correlation": "Mouth and speech, correlation",
    "lip_lag_ms": "Speech off the mouth, ms",
    "onset_f1": "Impacts within 60 ms, F1",
    "impact_class_accuracy": "Impacts of the right kind",
    "duration_error_samples": "Length off, samples",
}


def measure_demo(soundtrack: "Soundtrack", assets: pathlib.Path) -> list[tuple[str, str]]:
    """Scores a soundtrack of the demo's clip.

    Args:
        soundtrack: made from `assets/clip.mp4`.
        assets: the demo's folder.

    Returns:
        What was measured, in words with the unit, and its value beside the true audio's; or why there is
        none.
    """
    truth = json.loads((assets / "truth.json").read_text(encoding="utf-8"))
    clip = Clip(
        id="demo",
        num_samples=soundtrack.film.num_samples,
        speech=soundtrack.speech,
        background=soundtrack.background,
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

"""Scores by which `dualdub dub` ranks takes beside those of their speech; none needs the true sound.

- `av_correlation`: correlation of visual change with onsets of the mix (metrics/audio_video.py).
- `casp`: harmony of speech and background by the bundled weights (metrics/casp.py), which know Puppet Stage
  only.

Both are means over pieces of the film of a minute, so that memory does not grow with it. Source: our choice.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from dualdub_jax.evaluation.contracts.clips import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Clip, at_metric_rate
from dualdub_jax.evaluation.metrics.audio_video import AudioVideo
from dualdub_jax.evaluation.metrics.casp import CaspMetric
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.frames import FrameSpec

if TYPE_CHECKING:
    from dualdub_jax.dubbing.project import Project

_PIECE_S = 60
_LEAST_S = 2  # of a last piece
_FRAME_SIZE = 64


def score_take(project: "Project") -> dict[str, float | None]:
    """Scores the chosen take of a project.

    Returns:
        By name; higher is better; None where the film or the take has no such score.
    """
    metrics = {"av_correlation": AudioVideo(), "casp": CaspMetric()}
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for clip in _pieces(project):
        for name, metric in metrics.items():
            value = metric.score_clip(clip).get(name)
            if value is not None:
                values[name].append(float(np.asarray(value).reshape(-1)[0]))
    return {name: float(np.mean(found)) if found else None for name, found in values.items()}


def _pieces(project: "Project") -> Iterator[Clip]:
    """The film in clips of a minute; the last one has the rest."""
    duration_s = project.film.duration_s
    num_pieces = max(1, int((duration_s - _LEAST_S) // _PIECE_S) + 1)
    with FilmReader(project.film.path) as reader:
        num_frames = -(-duration_s * FRAME_RATE_HZ // 1)
        frames = _regrouped(
            reader.blocks(FrameSpec(Fraction(FRAME_RATE_HZ), _FRAME_SIZE), int(num_frames)), num_pieces
        )
        for index, piece in enumerate(frames):
            start_s = Fraction(index * _PIECE_S)
            end_s = duration_s if index == num_pieces - 1 else start_s + _PIECE_S
            tracks = {
                name: _at_rate(project, name, start_s, end_s) for name in ("speech", "background", "mix")
            }
            yield Clip(
                id=f"{index}",
                num_samples=round((end_s - start_s) * SAMPLE_RATE_HZ),
                speech=tracks["speech"],
                background=tracks["background"],
                mixture=tracks["mix"],
                load_frames=lambda piece=piece: piece,
            )


def _regrouped(blocks: Iterator[np.ndarray], num_pieces: int) -> Iterator[np.ndarray]:
    """Frames uint8[n, size, size, 3] in pieces of a minute; the last one has all that is left."""
    held: list[np.ndarray] = []
    length = _PIECE_S * FRAME_RATE_HZ
    for block in blocks:
        held.append(block)
        while num_pieces > 1 and sum(map(len, held)) >= length:
            frames = np.concatenate(held)
            yield frames[:length]
            held, num_pieces = [frames[length:]], num_pieces - 1
    yield np.concatenate(held)


def _at_rate(project: "Project", name: str, start_s: Fraction, end_s: Fraction) -> np.ndarray:
    first, end = (round(time_s * project.sample_rate_hz) for time_s in (start_s, end_s))
    return at_metric_rate(project.tracks[name][first:end], project.sample_rate_hz, end_s - start_s)

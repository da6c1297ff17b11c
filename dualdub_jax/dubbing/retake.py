"""A retake: a region of a film generated anew, and every sample elsewhere left as it is.

Tokens of the frames inside the region are sampled anew, conditioned on the tokens before it; those behind it
are kept. The new tokens are decoded with `CONTEXT_S` of their surroundings, and the result replaces the old
tracks inside the region, with linear cross-fades at both of its ends, which are inside as well (splice.py).
The film's gains stay. If the new sound would exceed the ceiling under them, it alone is lowered
(retake_gain.py).

The film is decoded from its beginning to the end of the region. Source: our choice.
"""

import contextlib
import dataclasses
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import soundfile

from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.blocks import BLOCK_SAMPLES
from dualdub_jax.dsp.true_peak import amplitude_db
from dualdub_jax.dubbing.film_tokens import Asked, FilmTokens
from dualdub_jax.dubbing.listeners import Listeners
from dualdub_jax.dubbing.mixdown import MIX, amplitude
from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.retake_gain import local_gain
from dualdub_jax.dubbing.segmented_decoder import Segment, open_segments
from dualdub_jax.dubbing.speech_check import SpokenUtterance, find_speech
from dualdub_jax.dubbing.speech_gate import SpeechGate
from dualdub_jax.dubbing.splice import Splice
from dualdub_jax.dubbing.stems import quantise
from dualdub_jax.dubbing.take import Take
from dualdub_jax.dubbing.track_decoder import decode_track
from dualdub_jax.dubbing.window_frames import WindowFrames
from dualdub_jax.media import leftovers
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.outputs import explain_errors
from dualdub_jax.media.track import FloatFile, Track

CONTEXT_S = 4
MOST_SOFTENED_DB = 3.0  # of new sound without a word


class Retaken(NamedTuple):
    """A new take, its utterances (those outside of the region as before), and what the user should know."""

    take: Take
    spoken: tuple[SpokenUtterance, ...]
    warnings: list[str]


def make_retake(
    project: ProjectState,
    engine: DubbingEngine,
    listeners: Listeners,
    region_s: tuple[Fraction, Fraction],
    seed: int,
    number: int,
    advance: Advance,
) -> Retaken:
    """Generates a region anew and writes tokens and tracks of a new take.

    Args:
        project: whose chosen take is the parent.
        engine: the model.
        listeners: detect speech.
        region_s: start and end, seconds, inside the film.
        seed: of the sampler.
        number: of the new take.
        advance: progress.

    Raises:
        UserError: a file cannot be written.
    """
    parent = dataclasses.replace(
        project.take,
        seed=seed,
        parent=project.chosen,
        region_s=tuple(map(float, region_s)),
    )
    take = dataclasses.replace(parent, tokens=_sample(project, engine, listeners, parent, region_s, advance))
    splice = Splice.inside(region_s, project.sample_rate_hz)
    folder = project.layout.track(number, MIX).parent
    is_done = False
    try:
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context(_decoded(project, engine, take, name, splice))
                for name in project.used
            }
            advance(0.9)
            with explain_errors(project.layout.track(number, MIX)):
                folder.mkdir(parents=True, exist_ok=True)
                gain = _write_tracks(project, files, number, splice)
        spoken = _listen_again(project, listeners, take, number, region_s)
        take.save(project.layout.take(number))
        is_done = True
    finally:
        if not is_done:
            shutil.rmtree(folder, ignore_errors=True)
    return Retaken(take, spoken, _softened(gain, region_s))


def _softened(gain: float, region_s: tuple[Fraction, Fraction]) -> list[str]:
    if gain > amplitude(-MOST_SOFTENED_DB):
        return []
    return [
        f"the new sound from {float(region_s[0]):g} s to {float(region_s[1]):g} s is "
        f"{-amplitude_db(gain):.1f} dB softer than it was made, for the mix has no more room below its peak; "
        "choose another --seed"
    ]


def _sample(
    project: ProjectState,
    engine: DubbingEngine,
    listeners: Listeners,
    take: Take,
    region_s: tuple[Fraction, Fraction],
    advance: Advance,
) -> dict[Stream, np.ndarray]:
    """Tokens of the film, of which those of frames inside the region are new."""
    first, end = math.ceil(region_s[0] * project.frame_rate), math.floor(region_s[1] * project.frame_rate)
    film = FilmTokens(project, engine, listeners, take.seed, take.sampling, take.tokens)
    with FilmReader(project.film.path) as reader:
        frames = WindowFrames(reader, engine, project.num_frames)
        for index, window in enumerate(project.windows):
            span = max(first, window.start_frame), min(end, window.end_frame)
            if span[0] >= span[1]:
                continue
            video = frames.take(window.first_frame, window.end_frame)
            _answer(film.ask(index, video, take.acoustics[window.scene], span), engine)
            advance(0.8 * (span[1] - first) / (end - first))
    return film.tokens


def _answer(requests: Asked, engine: DubbingEngine) -> None:
    """Answers all requests."""
    request = next(requests)
    while request is not None:
        try:
            request = requests.send(engine.generate(**request))
        except StopIteration:
            return


@contextlib.contextmanager
def _decoded(
    project: ProjectState, engine: DubbingEngine, take: Take, name: Stream, splice: Splice
) -> Iterator[FloatFile]:
    """A file of the decoded samples of a span, gated; it is removed at the end."""
    rate_hz, frame_rate = project.sample_rate_hz, project.frame_rate
    # Both rates must have a whole sample at the first frame that is decoded.
    step = math.lcm(*((hz / frame_rate).denominator for hz in (rate_hz, engine.sample_rate_hz(name))))
    context = CONTEXT_S * frame_rate
    first = max(0, math.floor((splice.first * frame_rate / rate_hz - context) / step) * step)
    end = min(project.num_frames, math.ceil(splice.end * frame_rate / rate_hz + context))
    first_sample = int(first * rate_hz / frame_rate)
    blocks = decode_track(
        open_segments(_segments(project, engine, take, name, first, end), frame_rate),
        take.tokens[name][first:end],
        rate_hz,
        min(project.num_samples, math.floor(end * rate_hz / frame_rate)) - first_sample,
        project.num_channels,
    )
    if name == "speech":
        gate = SpeechGate(project.utterances, rate_hz, project.num_samples)
        blocks = gate.apply(blocks, first_sample)
    file = FloatFile(project.layout.decoded(name), project.num_channels)
    leftovers.add(file.path)
    try:
        with explain_errors(file.path):
            file.write(_cut(blocks, splice.first - first_sample, splice.end - first_sample))
        yield file
    finally:
        file.path.unlink(missing_ok=True)
        leftovers.discard(file.path)


def _segments(
    project: ProjectState, engine: DubbingEngine, take: Take, name: Stream, first: int, end: int
) -> list[Segment]:
    """The segments of frames [first, end), counted from `first`."""
    before, inside = [], []
    for segment in project.segments(engine, name, take):
        if segment.start_frame <= first:
            before = [dataclasses.replace(segment, start_frame=0)]
        elif segment.start_frame < end:
            inside.append(dataclasses.replace(segment, start_frame=segment.start_frame - first))
    return before + inside


def _cut(blocks: Iterator[np.ndarray], first: int, end: int) -> Iterator[np.ndarray]:
    """The part [first, end) of a signal in blocks."""
    position = 0
    for block in blocks:
        yield block[max(0, first - position) : max(0, end - position)]
        position += len(block)


def _write_tracks(
    project: ProjectState, files: Mapping[Stream, FloatFile], number: int, splice: Splice
) -> float:
    """Writes the tracks of the new take: copies of the old ones, with the span replaced.

    Returns:
        The gain of the new sound under those of the film.
    """
    paths = {name: project.layout.track(number, name) for name in project.tracks}
    for name, path in paths.items():
        shutil.copyfile(project.tracks[name].path, path)
    gain = local_gain(project, files, splice)
    for name, file in files.items():
        _replace(
            paths[name],
            splice,
            lambda first, end, file=file: (
                gain
                * project.mixdown.stem_gain
                * file[first - splice.first : end - splice.first].astype(np.float64)
            ),
        )
    stems = {name: Track(path) for name, path in paths.items() if name != MIX}
    mixdown = dataclasses.replace(project.mixdown, stems=stems)
    # Without a limiter the new mix meets the old one by itself; a limiter looks around.
    is_faded = mixdown.limiter is not None
    _replace(
        paths[MIX], splice, lambda first, end: mixdown.part(first, end).astype(np.float64), is_faded=is_faded
    )
    return gain


def _replace(
    path: pathlib.Path, splice: Splice, new: Callable[[int, int], np.ndarray], is_faded: bool = True
) -> None:
    """Replaces a span of a track by new samples, of which `new` returns those from a place to another."""
    with soundfile.SoundFile(path, "r+") as file:
        for first in range(splice.first, splice.end, BLOCK_SAMPLES):
            end = min(first + BLOCK_SAMPLES, splice.end)
            samples = new(first, end)
            if is_faded:
                file.seek(first)
                old = file.read(end - first)
                samples = old + splice.weight(samples, first) * (samples - old)
            file.seek(first)
            file.write(np.round(quantise(samples) * 32768.0).astype(np.int16))


def _listen_again(
    project: ProjectState,
    listeners: Listeners,
    take: Take,
    number: int,
    region_s: tuple[Fraction, Fraction],
) -> tuple[SpokenUtterance, ...]:
    """The utterances of the new take; only those in the region are searched for."""
    if "speech" not in project.used:
        return ()
    track = Track(project.layout.track(number, "speech"))
    thresholds_dbfs = listeners.thresholds_dbfs(
        project.utterances, project.windows, take.acoustics, project.frame_rate
    )
    found = find_speech(track, track.sample_rate_hz, project.utterances, thresholds_dbfs)
    start_s, end_s = region_s
    return tuple(
        new if old.utterance.start_s < end_s and old.utterance.end_s > start_s else old
        for old, new in zip(project.spoken, found, strict=True)
    )

"""A retake: a region of a film generated anew, and every sample elsewhere left as it is.

Tokens of the frames inside the region are sampled anew, conditioned on the tokens before it; those behind it
are kept. The new tokens are decoded with `CONTEXT_S` of their surroundings, and the result replaces the old
tracks inside the region, with linear cross-fades of `FADE_S` at both of its ends, which are inside as well.
The film's gains stay. If the new sound would exceed the ceiling under them, it alone is lowered.

The film is decoded from its beginning to the end of the region. Source: our choice.
"""

import contextlib
import dataclasses
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

import numpy as np
import soundfile

from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.blocks import BLOCK_SAMPLES
from dualdub_jax.dubbing.film_tokens import Asked, FilmTokens
from dualdub_jax.dubbing.listeners import Listeners
from dualdub_jax.dubbing.mixdown import MIX, SPEECH, Mixdown
from dualdub_jax.dubbing.progress import Advance
from dualdub_jax.dubbing.project_state import ProjectState
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.segmented_decoder import Segment, open_segments
from dualdub_jax.dubbing.speech_check import SpokenUtterance, find_speech
from dualdub_jax.dubbing.speech_gate import SpeechGate
from dualdub_jax.dubbing.stems import PEAK_CEILING, quantise
from dualdub_jax.dubbing.take import Take
from dualdub_jax.dubbing.track_decoder import decode_track
from dualdub_jax.dubbing.window_frames import WindowFrames
from dualdub_jax.media import leftovers
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.outputs import explain_errors
from dualdub_jax.media.track import FloatFile, Track

CONTEXT_S = 4
FADE_S = Fraction(1, 50)


def make_retake(
    project: ProjectState,
    engine: DubbingEngine,
    listeners: Listeners,
    region_s: tuple[Fraction, Fraction],
    seed: int,
    number: int,
    advance: Advance,
) -> tuple[Take, tuple[SpokenUtterance, ...]]:
    """Generates a region anew and writes tokens and tracks of a new take.

    Args:
        project: whose chosen take is the parent.
        engine: the model.
        listeners: tell speech from silence.
        region_s: start and end, seconds, inside the film.
        seed: of the sampler.
        number: of the new take.
        advance: progress.

    Returns:
        The take, and its utterances: those outside of the region as before.

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
    span = _samples(region_s, project.sample_rate_hz)
    folder = project.layout.track(number, MIX).parent
    is_done = False
    try:
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context(_decoded(project, engine, take, name, span))
                for name in project.used
            }
            advance(0.9)
            with explain_errors(project.layout.track(number, MIX)):
                folder.mkdir(parents=True, exist_ok=True)
                _splice(project, files, number, span)
        spoken = _listen_again(project, listeners, take, number, region_s)
        take.save(project.layout.take(number))
        is_done = True
    finally:
        if not is_done:
            shutil.rmtree(folder, ignore_errors=True)
    return take, spoken


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


def _samples(region_s: tuple[Fraction, Fraction], rate_hz: int) -> tuple[int, int]:
    """Samples [first, end) inside a region."""
    return math.ceil(region_s[0] * rate_hz), math.floor(region_s[1] * rate_hz)


@contextlib.contextmanager
def _decoded(
    project: ProjectState, engine: DubbingEngine, take: Take, name: Stream, span: tuple[int, int]
) -> Iterator[FloatFile]:
    """A file of the decoded samples of a span, gated; it is removed at the end."""
    rate_hz, frame_rate = project.sample_rate_hz, project.frame_rate
    # Both rates must have a whole sample at the first frame that is decoded.
    step = math.lcm(*((hz / frame_rate).denominator for hz in (rate_hz, engine.sample_rate_hz(name))))
    context = CONTEXT_S * frame_rate
    first = max(0, math.floor((span[0] * frame_rate / rate_hz - context) / step) * step)
    end = min(project.num_frames, math.ceil(span[1] * frame_rate / rate_hz + context))
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
            file.write(_cut(blocks, span[0] - first_sample, span[1] - first_sample))
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


def _splice(
    project: ProjectState, files: Mapping[Stream, FloatFile], number: int, span: tuple[int, int]
) -> None:
    """Writes the tracks of the new take: copies of the old ones, with the span replaced."""
    paths = {name: project.layout.track(number, name) for name in project.tracks}
    for name, path in paths.items():
        shutil.copyfile(project.tracks[name].path, path)
    gain = project.mixdown.stem_gain * _local_gain(project, files, span)
    for name, file in files.items():
        _replace(paths[name], span, project, lambda part, file=file: gain * file[part].astype(np.float64))
    stems = {name: Track(path) for name, path in paths.items() if name != MIX}
    mixdown = dataclasses.replace(project.mixdown, stems=stems)
    # Without a limiter the new mix meets the old one by itself; a limiter looks around.
    _replace(
        paths[MIX],
        span,
        project,
        lambda part: mixdown.part(span[0] + part.start, span[0] + part.stop).astype(np.float64),
        is_faded=mixdown.limiter is not None,
    )


def _replace(
    path: pathlib.Path,
    span: tuple[int, int],
    project: ProjectState,
    new: Callable[[slice], np.ndarray],
    is_faded: bool = True,
) -> None:
    """Replaces a span of a track by new samples, of which `new` returns parts counted from its beginning."""
    length = span[1] - span[0]
    fade = min(math.ceil(FADE_S * project.sample_rate_hz), length // 4)
    with soundfile.SoundFile(path, "r+") as file:
        for first in range(0, length, BLOCK_SAMPLES):
            part = slice(first, min(first + BLOCK_SAMPLES, length))
            samples = new(part)
            if is_faded:
                file.seek(span[0] + first)
                old = file.read(part.stop - first)
                samples = old + _weight(part, length, fade, project.num_channels) * (samples - old)
            file.seek(span[0] + first)
            file.write(np.round(quantise(samples) * 32768.0).astype(np.int16))


def _local_gain(project: ProjectState, files: Mapping[Stream, FloatFile], span: tuple[int, int]) -> float:
    """The gain, at most 1, that keeps the new sound below the ceiling under the gains of the film.

    The old sound is below it, and a linear cross-fade of both is below it as well. A mix with a limiter is
    lowered by that.

    Raises:
        ValueError: the decoder gave values that are not finite.
    """
    mixdown, gain = project.mixdown, 1.0
    for first in range(span[0], span[1], BLOCK_SAMPLES):
        end = min(first + BLOCK_SAMPLES, span[1])
        part = slice(first - span[0], end - span[0])
        blocks = {name: mixdown.stem_gain * file[part].astype(np.float64) for name, file in files.items()}
        if not all(np.isfinite(block).all() for block in blocks.values()):
            raise ValueError("the decoder gave values that are not finite")
        for block in blocks.values():
            gain = min(gain, _most(block, PEAK_CEILING))
        if mixdown.limiter is None:
            new, kept = _sums(project, mixdown, blocks, first, end)
            room = PEAK_CEILING - np.abs(mixdown.mix_gain * kept)
            gain = min(gain, _most(mixdown.mix_gain * new, np.maximum(room, 0.0)))
    return gain


def _sums(
    project: ProjectState, mixdown: Mixdown, blocks: Mapping[str, np.ndarray], first: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sums of the new stems and of the kept ones, ducked."""
    ducked = mixdown.ducking.gains(first, end, project.sample_rate_hz)
    sums = [np.zeros_like(next(iter(blocks.values()))) for _ in range(2)]
    for name, stem in mixdown.stems.items():
        is_kept = name not in blocks
        samples = np.asarray(stem[first:end], np.float64) if is_kept else blocks[name]
        sums[is_kept] += samples if name == SPEECH else (samples.T * ducked).T
    return sums[0], sums[1]


def _most(samples: np.ndarray, ceiling: np.ndarray | float) -> float:
    """The highest gain, at most 1, that keeps samples below a ceiling."""
    loudest = np.abs(samples)
    return float(np.min(np.where(loudest > ceiling, ceiling / np.maximum(loudest, 1e-9), 1.0), initial=1.0))


def _weight(part: slice, length: int, fade: int, num_channels: int) -> np.ndarray:
    """Weight of the new sound in a part of the span: 0 at its ends, 1 inside."""
    sample = np.arange(part.start, part.stop)
    weight = np.minimum(1.0, np.minimum(sample + 0.5, length - sample - 0.5) / fade)
    return weight if num_channels == 1 else weight[:, None]


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

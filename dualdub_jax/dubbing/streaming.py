"""Stems as they are made: tokens are sampled and decoded a few frames at a time.

    frames of a window -> PART_FRAMES tokens of both streams -> decoders -> chunks of both stems

The samples are those of `dub` before its `stem_gain`, which depends on the whole film, and before they are
rounded to 16 bits; programs of other shapes differ by float rounding. Behind the tokens, sound is late by the
receptive field of the decoders. A window whose script has no times is held until it is known that its words
are spoken, for they are otherwise spoken anew. Source: our choice.
"""

import collections
import dataclasses
import functools
from collections.abc import Generator, Iterator, Mapping

import numpy as np

from dualdub_jax.config.streams import STREAMS, Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dsp.blocks import silence
from dualdub_jax.dubbing.casting import NOBODY
from dualdub_jax.dubbing.project import Project
from dualdub_jax.dubbing.protocol import DubbingEngine, WindowRequest
from dualdub_jax.dubbing.segmented_decoder import Segment, SegmentedDecoder, context_frames
from dualdub_jax.dubbing.speech_gate import SpeechGate
from dualdub_jax.dubbing.track_decoder import decode_track

PART_FRAMES = 12


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A stretch of both stems.

    Attributes:
        start_s: of its first sample, seconds from the first frame.
        speech: float32[n] in [-1, 1], or [n, 2] in stereo; zeros if there is no speech. It may exceed the
            range, for it has no gain yet.
        background: likewise, of as many samples.
        sample_rate_hz: of both.
    """

    start_s: float
    speech: np.ndarray
    background: np.ndarray
    sample_rate_hz: int


def stream_stems(project: Project, engine: DubbingEngine, part_frames: int = PART_FRAMES) -> Iterator[Chunk]:
    """Generates the stems of a project from its first window to its last.

    Args:
        project: planned, without takes.
        engine: the model.
        part_frames: frames of tokens that are sampled and decoded at a time; fewer are earlier and slower.

    Yields:
        Chunks in order, without gaps; together exactly as long as the film.

    Raises:
        UserError: as of `Project.dub`, but for a script of which nothing is audible.
    """
    acoustics: list[Acoustics | None] = []  # by scene, as far as they are known
    tracks: dict[Stream, _Track] = {}  # opened once the acoustics of the first scene are known
    emitted = 0
    for parts in _parts(project, engine, acoustics, part_frames):
        for name, tokens in parts.items():
            if name not in tracks:
                tracks[name] = _Track(project, engine, name, acoustics, part_frames)
            tracks[name].push(tokens)
        chunk = _take(project, tracks, emitted)
        emitted += len(chunk.speech)
        if len(chunk.speech):
            yield chunk
    for track in tracks.values():
        track.finish()
    chunk = _take(project, tracks, emitted)
    if len(chunk.speech):
        yield chunk


def _parts(
    project: Project, engine: DubbingEngine, acoustics: list[Acoustics | None], part_frames: int
) -> Iterator[Mapping[Stream, np.ndarray]]:
    """New tokens of the film in order, int32[t, Q] by stream, as soon as they are final."""
    requests = project.window_requests(engine, lambda fraction: None)
    index, request = 0, next(requests, None)
    while request is not None:
        window = project.windows[index]
        if window.scene == len(acoustics):
            acoustics.append(request["acoustics"])
        # It is generated again if its words are inaudible, once at most.
        is_final = not window.text or request["speech_span"] is not None
        made: list[Mapping[Stream, np.ndarray]] = []
        for part in engine.generate_parts(request, part_frames):
            made.append(part)
            if is_final:
                yield _behind(made, window.num_context)
        whole = {name: np.concatenate([part[name] for part in made]) for name in project.used}
        asked = _answer(requests, whole)
        if not is_final and (asked is None or asked["seed"] != request["seed"]):
            yield {name: track[window.num_context :] for name, track in whole.items()}
            is_final = True
        index, request = index + is_final, asked


def _behind(made: list[Mapping[Stream, np.ndarray]], num_context: int) -> dict[Stream, np.ndarray]:
    """The last part, without frames of context."""
    first = sum(len(next(iter(part.values()))) for part in made[:-1])
    return {name: track[max(0, num_context - first) :] for name, track in made[-1].items()}


def _answer(
    requests: Generator[WindowRequest, Mapping[Stream, np.ndarray], None], tokens: Mapping[Stream, np.ndarray]
) -> WindowRequest | None:
    try:
        return requests.send(tokens)
    except StopIteration:
        return None


class _Track:
    """One stem that is decoded piece by piece.

    Attributes:
        pending: samples that are not in a chunk yet.
    """

    def __init__(
        self,
        project: Project,
        engine: DubbingEngine,
        name: Stream,
        acoustics: list[Acoustics | None],
        part_frames: int,
    ) -> None:
        self._project, self._engine, self._acoustics = project, engine, acoustics
        self._name, self._part_frames = name, part_frames
        rate_hz, decoder_hz = project.sample_rate_hz, engine.sample_rate_hz(name)
        self._lead = context_frames(project.frame_rate, decoder_hz)
        self._pieces: collections.deque[np.ndarray | None] = collections.deque()
        self._held, self._num_pushed = [], 0
        self._decoder = SegmentedDecoder(project.frame_rate, decoder_hz, engine.num_channels(name))
        self._num_planned, self._conditions = 0, None  # windows that have a segment, and those of the last
        self._blocks = decode_track(
            self._decoder, self._next_pieces(), rate_hz, project.num_samples, project.num_channels
        )
        self._gate = (
            SpeechGate(project.utterances, rate_hz, project.num_samples) if name == "speech" else None
        )
        self._num_decoded = 0
        self.pending = silence(0, project.num_channels)

    def push(self, tokens: np.ndarray) -> None:
        """Takes int32[t, Q]; decodes as far as the acoustics are known."""
        self._held = [*self._held, tokens]
        held, first = np.concatenate(self._held), self._num_pushed
        end = self._plan() - self._lead
        piece, self._held = held[: max(0, end - first)], [held[max(0, end - first) :]]
        if len(piece):
            self._num_pushed += len(piece)
            self._pieces.append(piece)
            self._add(next(self._blocks))

    def finish(self) -> None:
        """Decodes the rest."""
        self._pieces.append(None)
        for block in self._blocks:
            self._add(block)

    def _plan(self) -> int:
        """Appends the segments of windows whose acoustics are known; returns the first frame behind them.

        The segments are those of `ProjectState.segments`.
        """
        project = self._project
        for window in project.windows[self._num_planned :]:
            if window.scene >= len(self._acoustics):
                return window.start_frame
            speaker = window.speaker if self._name == "speech" else NOBODY
            conditions = speaker, self._acoustics[window.scene]
            if conditions != self._conditions:
                opened = functools.partial(
                    self._engine.open_decoder,
                    self._name,
                    project.voices[speaker],
                    conditions[1],
                    self._part_frames,
                )
                self._decoder.append(Segment(window.start_frame, opened))
            self._num_planned, self._conditions = self._num_planned + 1, conditions
        return project.num_frames + self._lead

    def _add(self, block: np.ndarray) -> None:
        if self._gate is not None:
            (block,) = self._gate.apply(iter([block]), self._num_decoded)
        self._num_decoded += len(block)
        self.pending = np.concatenate([self.pending, block])

    def _next_pieces(self) -> Iterator[np.ndarray]:
        while (piece := self._pieces.popleft()) is not None:
            yield piece


def _take(project: Project, tracks: Mapping[Stream, _Track], first: int) -> Chunk:
    """The samples that all stems have."""
    count = min(len(track.pending) for track in tracks.values())
    stems = {}
    for name in STREAMS:
        if name in tracks:
            pending = tracks[name].pending
            stems[name], tracks[name].pending = pending[:count], pending[count:]
        else:
            stems[name] = silence(count, project.num_channels)
    return Chunk(first / project.sample_rate_hz, **stems, sample_rate_hz=project.sample_rate_hz)

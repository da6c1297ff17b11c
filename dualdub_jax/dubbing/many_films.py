"""Dubs many films at once: their windows are generated in batches, and each film is finished by itself.

As many films are in flight as a batch has rows. In every round each of them asks for its next window; a film
that is done makes room for the next. What is held for a film in flight is what it needs alone: about one
window of frames, and its tokens. Source: our choice.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from dualdub_jax.config.streams import Stream
from dualdub_jax.dubbing.progress import Advance, Progress
from dualdub_jax.dubbing.project import Project, Score
from dualdub_jax.dubbing.protocol import DubbingEngine, WindowRequest
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.stores.path import StorePath

Tokens = Mapping[Stream, np.ndarray]
OnWindow = Callable[[int, float], None]  # called with the index of a film, and the part of it that is done


@dataclasses.dataclass(frozen=True)
class FilmJob:
    """A film to dub.

    Attributes:
        request: makes the request, when the film's turn comes.
        folder: of the project, new or empty; None: a temporary one.
        out: where the film will be written, if already known, see `Project.read`.
        resume: the folder may hold an unfinished project of the same request, which is continued.
    """

    request: Callable[[], DubRequest]
    folder: pathlib.Path | None = None
    out: pathlib.Path | None = None
    resume: bool = False


@dataclasses.dataclass(frozen=True)
class FilmOutcome:
    """What became of a film: either of the two.

    Attributes:
        index: of the job.
        project: with its tracks done; whoever receives it closes it.
        error: why there is none.
    """

    index: int
    project: Project | None = None
    error: Exception | None = None


def dub_films(
    engine: DubbingEngine,
    checkpoint: StorePath,
    jobs: Iterable[FilmJob],
    rows_per_device: int,
    advance: OnWindow = lambda index, fraction: None,
    score: Score | None = None,
) -> Iterator[FilmOutcome]:
    """Dubs films; each has the result that it has alone with equal `rows_per_device`.

    Args:
        engine: the model.
        checkpoint: its folder, for the record.
        jobs: the films, begun in this order; drawn as there is room.
        rows_per_device: see `DubbingEngine.generate_many`.
        advance: progress, called with the index of a film and the part of it that is generated.
        score: see `Project.dub`.

    Yields:
        Outcomes, as films end. An error of one film does not concern the others.
    """
    waiting = enumerate(jobs)
    room = engine.most_windows(rows_per_device)
    in_flight: list[_Film] = []
    try:
        while True:
            while len(in_flight) < room and (started := next(waiting, None)) is not None:
                film = _Film(*started, advance)
                if (outcome := film.begin(engine, checkpoint, score)) is not None:
                    yield outcome
                else:
                    in_flight.append(film)
            if not in_flight:
                return
            answers = _generate(engine, [film.request for film in in_flight], rows_per_device)
            for film, answer in zip(list(in_flight), answers, strict=True):
                if (outcome := film.take(answer)) is not None:
                    in_flight.remove(film)
                    yield outcome
    finally:
        for film in in_flight:
            film.close()


@dataclasses.dataclass(frozen=True)
class _Answer:
    """Tokens of a window and its share of the time of the batch; or why there are none."""

    tokens: Tokens | None
    seconds: float = 0.0
    error: Exception | None = None


def _generate(
    engine: DubbingEngine, requests: Sequence[WindowRequest], rows_per_device: int
) -> list[_Answer]:
    """Generates a batch; if that fails, window by window, so that only the faulty ones are lost.

    Raises:
        Exception: every one of several windows fails, so that no film is the reason.
    """
    start = time.perf_counter()
    try:
        made = engine.generate_many(requests, rows_per_device)
    except Exception as error:
        if len(requests) == 1:
            return [_Answer(None, error=error)]
        answers = [_generate(engine, [request], rows_per_device)[0] for request in requests]
        if all(answer.error is not None for answer in answers):
            raise
        return answers
    share_s = (time.perf_counter() - start) / len(requests)
    return [_Answer(tokens, share_s) for tokens in made]


class _Film:
    """A film in flight.

    Attributes:
        request: for the window that it needs next.
    """

    request: WindowRequest

    def __init__(self, index: int, job: FilmJob, advance: OnWindow) -> None:
        self._index, self._job = index, job
        self._progress = _FilmProgress(lambda fraction: advance(index, fraction))
        self._closing = contextlib.ExitStack()

    def close(self) -> None:
        """Ends an unfinished film."""
        self._closing.close()

    def begin(self, engine: DubbingEngine, checkpoint: StorePath, score: Score | None) -> FilmOutcome | None:
        """Opens and plans the film; returns its outcome if it has one already."""
        try:
            self._project = Project(
                self._job.request(), self._job.folder, self._progress, resume=self._job.resume
            )
            self._closing.callback(self._project.close)
            self._project.read(self._job.out)
            with self._progress.step("read inputs"):
                self._project.plan(engine, checkpoint)
            self._requests = self._project.requests(engine, score)
            self._closing.callback(self._requests.close)
        except Exception as error:
            self.close()
            return FilmOutcome(self._index, error=error)
        return self._step(None)

    def take(self, answer: _Answer) -> FilmOutcome | None:
        """Takes the tokens of its window; returns the outcome if that was the last one."""
        if answer.error is not None:
            self.close()
            return FilmOutcome(self._index, error=answer.error)
        self._progress.waited_s += time.perf_counter() - self._asked_s - answer.seconds
        return self._step(answer.tokens)

    def _step(self, tokens: Tokens | None) -> FilmOutcome | None:
        try:
            self.request = self._requests.send(tokens)
        except StopIteration:
            self._closing.pop_all()
            return FilmOutcome(self._index, self._project)
        except Exception as error:
            self.close()
            return FilmOutcome(self._index, error=error)
        self._asked_s = time.perf_counter()
        return None


class _FilmProgress(Progress):
    """Measures the steps of a film, and passes on how far its generation is."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self._advance = advance

    @contextlib.contextmanager
    def _shown(self, name: str) -> Iterator[Advance]:
        yield self._advance if name == "generate" else lambda fraction: None

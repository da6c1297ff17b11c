"""Dubs the films of a manifest into a folder; an interrupted run resumes at the next window."""

import dataclasses
import pathlib
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dualdub_jax.dubbing.delivery import Targets
from dualdub_jax.dubbing.ledger import Ledger, Part, line_digest, open_ledger
from dualdub_jax.dubbing.manifest import FilmLine
from dualdub_jax.dubbing.many_films import FilmJob, FilmOutcome, dub_films
from dualdub_jax.dubbing.progress import Progress
from dualdub_jax.dubbing.project import Project, Score
from dualdub_jax.dubbing.protocol import DubbingEngine
from dualdub_jax.dubbing.request import DubRequest
from dualdub_jax.errors import UserError
from dualdub_jax.media.outputs import remove_partial
from dualdub_jax.stores.path import StorePath


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        engine: of the model.
        checkpoint: its folder.
        rows_per_device: windows of a batch on each device.
        score: see `Project.dub`.
    """

    engine: DubbingEngine
    checkpoint: StorePath
    rows_per_device: int
    score: Score | None = None


class Delivered(NamedTuple):
    """The files that were written for a film, and the verdict of its quality."""

    files: Sequence[pathlib.Path]
    verdict: str


@dataclasses.dataclass
class Summary:
    """Result of a run.

    Attributes:
        num_films: of the manifest, or of this process's part of it.
        num_skipped: done by an earlier run.
        num_failed: of this run.
        film_s: duration of the films that this run has dubbed, seconds.
        elapsed_s: duration of the run, seconds.
        failures: the file that lists what failed.
    """

    num_films: int
    failures: pathlib.Path
    num_skipped: int = 0
    num_failed: int = 0
    film_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def num_dubbed(self) -> int:
        return self.num_films - self.num_skipped - self.num_failed

    def describe(self) -> str:
        """One line."""
        films = "film" if self.num_films == 1 else "films"
        text = f"{self.num_films} {films}: {self.num_dubbed} dubbed, {self.num_skipped} done before, "
        text += f"{self.num_failed} failed"
        if self.film_s:
            text += f"; {_clock(self.film_s)} of film at {self.film_s / self.elapsed_s:.2f} x realtime"
        return text


def run_manifest(
    lines: Sequence[FilmLine],
    folder: pathlib.Path,
    setup: Mapping[str, Any],
    load: Callable[[], Model],
    write: Callable[[Project, Targets], Delivered],
    *,
    part: Part,
    progress: Progress,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> Summary:
    """Dubs the films that are not done yet.

    A film that fails is recorded, and the others go on.

    Args:
        lines: of the manifest.
        folder: of the outputs and of the record; made if need be.
        setup: what the results depend on besides the lines, see `line_digest`.
        load: loads the model; called if there is something to do.
        write: delivers a film.
        part: the lines of this process.
        progress: measures loading and the films.
        report: receives a line for each film that is dubbed.
        warn: receives a line for each warning and each failure.

    Raises:
        UserError: the folder cannot be used.
    """
    start = time.monotonic()
    with open_ledger(folder, part) as ledger:
        chosen = part.of(list(lines))
        digests = [line_digest(line, setup) for line in chosen]
        todo = [
            (line, digest) for line, digest in zip(chosen, digests, strict=True) if not ledger.is_done(digest)
        ]
        summary = Summary(len(chosen), ledger.failures, num_skipped=len(chosen) - len(todo))
        _clear(ledger, todo)
        if todo:
            with progress.step("load model"):
                model = load()
            _dub(model, todo, ledger, summary, write, progress, report, warn)
        shutil.rmtree(ledger.work, ignore_errors=True)
        summary.elapsed_s = time.monotonic() - start
    return summary


def _clear(ledger: Ledger, todo: Sequence[tuple[FilmLine, str]]) -> None:
    """Removes what a killed run has left, but for the projects that can be continued."""
    ledger.work.mkdir(exist_ok=True)
    wanted = {digest for _, digest in todo}
    for project in ledger.work.iterdir():
        if project.name not in wanted:
            shutil.rmtree(project, ignore_errors=True)
    for line, _ in todo:
        for file in line.targets.files():
            remove_partial(file)


def _dub(
    model: Model,
    todo: Sequence[tuple[FilmLine, str]],
    ledger: Ledger,
    summary: Summary,
    write: Callable[[Project, Targets], Delivered],
    progress: Progress,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    start = time.monotonic()
    done = [0.0] * len(todo)  # part of each film
    jobs = (
        FilmJob(_Beginning(line), line.project or ledger.work / digest, line.targets.out, resume=True)
        for line, digest in todo
    )
    with progress.step("films") as advance:

        def on_window(index: int, fraction: float) -> None:
            done[index] = min(fraction, 0.99)
            advance(sum(done) / len(todo))

        outcomes = dub_films(
            model.engine, model.checkpoint, jobs, model.rows_per_device, on_window, model.score
        )
        for count, outcome in enumerate(outcomes, start=1):
            line, digest = todo[outcome.index]
            done[outcome.index] = 1.0
            advance(sum(done) / len(todo))
            try:
                duration_s, warnings = _finish(outcome, line, digest, ledger, write, model.rows_per_device)
            except Exception as error:
                text = _describe(error)
                summary.num_failed += 1
                shutil.rmtree(ledger.work / digest, ignore_errors=True)  # the next run begins anew
                ledger.add_failure(line, text)
                warn(f"line {line.number}: {text}")
                if not isinstance(error, UserError):
                    warn("".join(traceback.format_exception(error)).rstrip())
                continue
            summary.film_s += duration_s
            for warning in warnings:
                warn(f"line {line.number}: warning: {warning}")
            elapsed_s = time.monotonic() - start
            left_s = elapsed_s * (len(todo) - sum(done)) / sum(done)
            report(
                f"{count}/{len(todo)} wrote {line.targets.out} ({duration_s:.1f} s of film); "
                f"{summary.film_s / elapsed_s:.2f} x realtime, about {_clock(left_s)} left"
            )


@dataclasses.dataclass(frozen=True)
class _Beginning:
    """Makes the request of a line when its turn comes, and checks its outputs."""

    line: FilmLine

    def __call__(self) -> DubRequest:
        request, targets = DubRequest(**self.line.settings), self.line.targets
        request.check()
        for path in [*targets.files(), *filter(None, [targets.stems, self.line.project])]:
            _make_parents(path)
        targets.check(request.inputs, has_original=bool(request.mix.keep_original))
        return request


def _make_parents(path: pathlib.Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be made ({error.strerror}); choose another output") from None


def _finish(
    outcome: FilmOutcome,
    line: FilmLine,
    digest: str,
    ledger: Ledger,
    write: Callable[[Project, Targets], Delivered],
    rows_per_device: int,
) -> tuple[float, tuple[str, ...]]:
    """Delivers and records a film; returns its duration and its warnings."""
    if outcome.error is not None:
        raise outcome.error
    with outcome.project as project:
        line.targets.check_space(project.film)
        delivered = write(project, line.targets)
        duration_s, warnings = float(project.film.duration_s), project.warnings
        facts = {
            "duration_s": duration_s,
            "realtime_factor": project.realtime_factor,
            "rows_per_device": rows_per_device,
            "verdict": delivered.verdict,
            "warnings": list(warnings),
        }
    if line.project is None:
        shutil.rmtree(project.folder, ignore_errors=True)
    ledger.add_done(digest, line, delivered.files, facts)
    return duration_s, warnings


def _describe(error: Exception) -> str:
    """One line; a fault of ours is named as one."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"a fault of DualDub: {type(error).__name__}: {text}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

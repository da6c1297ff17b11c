"""What the page does when a visitor does something: the functions behind its controls."""

import asyncio
import contextlib
import pathlib
import secrets
import shutil
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import gradio

from dualdub_jax.apps.web import views
from dualdub_jax.apps.web.device_queue import Cancelled, DeviceQueue, Task
from dualdub_jax.apps.web.job import Job
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.messages import error_text, page_text
from dualdub_jax.apps.web.numbers import read_number, read_seed
from dualdub_jax.apps.web.sessions import Session, Sessions
from dualdub_jax.apps.web.settings import MAX_SPEAKERS, Settings
from dualdub_jax.apps.web.speakers import find_speakers
from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.errors import UserError
from dualdub_jax.media.voice import read_voice
from dualdub_jax.text.script_source import open_source

_POLL_S = 0.4
_MAX_SCRIPT_LETTERS = 200_000
_FAULT = "This is a fault of the page and not of your files; the server's log has the details."


class Actions:
    """The functions; each takes the request of a visitor's browser and the values of controls."""

    def __init__(self, model: DualDub, sessions: Sessions, queue: DeviceQueue, limits: Limits) -> None:
        self._model, self._sessions, self._queue, self._limits = model, sessions, queue, limits

    def take_film(self, request: gradio.Request, upload: str | None) -> str:
        """Probes an uploaded film and keeps it; returns what is known of it, or what is wrong."""
        session = _session(request)
        self._drop_film(session)
        if upload is None:
            return ""
        with self._explained() as messages:
            session.film_upload = self._own(session, upload)
            session.film = self._limits.check_film(session.film_upload)
            return views.film_facts(session.film)
        return messages[0]

    def take_script(self, request: gradio.Request, upload: str | None) -> tuple[Any, ...]:
        """Reads an uploaded script; returns its text for the editor, and as `check_script`."""
        session = _session(request)
        self._drop_script(session)
        if upload is None:
            return gradio.skip(), *(gradio.skip() for _ in range(1 + MAX_SPEAKERS))
        with self._explained() as messages:
            session.script = self._own(session, upload)
            text = open_source(str(session.script)).text
            _check_letters(text)
            return text, *self.check_script(request, text)
        self._drop_script(session)
        return gradio.skip(), messages[0], *_slots(())

    def check_script(self, request: gradio.Request, script: str | None) -> tuple[Any, ...]:
        """Parses the editor's text; returns what is wrong with it, and the voices that it needs."""
        session, speakers, text = _session(request), (), ""
        with self._explained() as messages:
            path = self._write_script(session, session.folder, script)
            speakers = () if path is None else find_speakers(path)
            if (num_more := len(speakers) - MAX_SPEAKERS) > 0:
                text = views.note(
                    f"{num_more} more speakers have no place here; dualdub dub takes any number"
                )
        return messages[0] if messages else text, *_slots(speakers)

    def take_voice(self, request: gradio.Request, upload: str | None) -> str:
        """Checks a recording; returns what is wrong with it."""
        if upload is None:
            return ""
        with self._explained() as messages:
            read_voice(self._own(_session(request), upload), GridConfig())
            return ""
        return messages[0]

    async def generate(
        self,
        request: gradio.Request,
        film: str | None,
        script: str | None,
        voice: str | None,
        *values: Any,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Makes the soundtrack; yields updates of the outputs, see `_waiting` and `_shown`.

        Args:
            request: the browser's.
            film, script, voice: values of their controls.
            values: of the voices of the speakers, and of the settings.
        """
        session = _session(request)
        speaker_voices, settings = values[:MAX_SPEAKERS], Settings(*values[MAX_SPEAKERS:])

        def prepare() -> Callable[[Task], Job]:
            # Two pages of a visitor: the film is this page's, or it is not made.
            if session.film is None or film != str(session.film.path):
                raise UserError("no film yet: drop one first")
            self._drop_unfinished(session)
            folder = session.folder / secrets.token_hex(8)
            folder.mkdir()
            script_path = self._write_script(session, folder, script)
            has_speakers = script_path is not None and settings.use_speech
            speakers = find_speakers(script_path) if has_speakers else ()
            cast = zip(speakers if len(speakers) > 1 else (), speaker_voices, strict=False)
            # Links: retakes read the film, also after another was uploaded.
            job = Job(
                settings.request(
                    _link(session.film.path, folder / "film"),
                    script_path,
                    None if voice is None else _link(self._own(session, voice), folder / "voice"),
                    {
                        name: _link(self._own(session, path), folder / f"voice_{number}")
                        for number, (name, path) in enumerate(cast, 1)
                        if path is not None
                    },
                ),
                folder,
                settings.delivery(session.film),
            )

            def make(task: Task) -> Job:
                try:
                    return job.make(self._model, task)
                except BaseException:
                    job.close()
                    raise

            return make

        async for update in self._run(session, prepare):
            yield update

    async def redo(
        self, request: gradio.Request, start: str | None, end: str | None, seed: str | None
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Generates a region of the last film anew; yields as `generate`."""
        session = _session(request)

        def prepare() -> Callable[[Task], Job]:
            start_s, end_s = read_number(start, "From"), read_number(end, "To")
            if start_s is None or end_s is None:
                raise UserError("no region yet: drag over the tracks, or fill in “From” and “To”")
            job, number = _job(session), read_seed(seed)
            return lambda task: job.redo(self._model, task, (start_s, end_s), number)

        async for update in self._run(session, prepare):
            yield update

    async def choose(
        self, request: gradio.Request, event: gradio.EventData
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Delivers another take of the last film; yields as `generate`."""
        session = _session(request)

        def prepare() -> Callable[[Task], Job]:
            job, number = _job(session), int(event.take)
            return lambda task: job.choose(task, number)

        async for update in self._run(session, prepare):
            yield update

    def cancel(self, request: gradio.Request) -> None:
        """Stops what the visitor's browser waits for."""
        session = _session(request)
        if session.task is not None:
            self._queue.remove(session.task)

    def show(self, request: gradio.Request) -> tuple[Any, ...]:
        """What a page shows that is opened: the visitor's last film, if it is still kept."""
        session = _session(request)
        return _shown(session)

    async def _run(
        self, session: Session, prepare: Callable[[], Callable[[Task], Job]]
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Waits in the queue and for the result; the job is stopped if the browser goes away."""
        if session.is_busy:
            yield _shown(session, views.error("Your film is being made: wait for it, or cancel it first."))
            return
        session.is_busy = True
        try:
            with self._explained() as messages:
                task = session.task = self._queue.submit(await asyncio.to_thread(prepare))
                try:
                    while not task.future.done():
                        task.keep_alive()
                        yield _waiting(views.status(task, self._queue.num_before(task)))
                        await asyncio.sleep(_POLL_S)
                    self._replace_job(session, task.future.result())
                finally:
                    self._queue.remove(task)
        finally:
            session.is_busy = False
        yield _shown(session, messages[0] if messages else None)

    def _replace_job(self, session: Session, job: Job) -> None:
        if session.job is not None and session.job is not job:
            session.job.close()
        job.warnings = [page_text(warning, self._sessions.root) for warning in job.warnings]
        session.job = job

    def _own(self, session: Session, upload: str) -> pathlib.Path:
        """An upload of this visitor.

        Raises:
            UserError: it is another's, or not kept any more.
        """
        if not session.owns_upload(upload):
            raise UserError("the file is not kept any more; upload it again")
        return pathlib.Path(upload)

    def _drop_unfinished(self, session: Session) -> None:
        """Removes what cancelled and refused jobs of a visitor have left; the last film stays."""
        for path in session.folder.iterdir():
            if path.is_dir() and (session.job is None or path != session.job.folder):
                shutil.rmtree(path, ignore_errors=True)

    def _drop_film(self, session: Session) -> None:
        if session.film_upload is not None:
            session.release_upload(session.film_upload)
        session.film_upload = session.film = None

    def _drop_script(self, session: Session) -> None:
        if session.script is not None:
            session.release_upload(session.script)
            session.script = None

    def _write_script(
        self, session: Session, folder: pathlib.Path, script: str | None
    ) -> pathlib.Path | None:
        """A file of the script: what a visitor types is never taken for a path on the server."""
        if not (script or "").strip():
            return None
        _check_letters(script)
        path = folder / (session.script.name if session.script else "script.txt")
        path.write_text(script, encoding="utf-8")
        return path

    @contextlib.contextmanager
    def _explained(self) -> Any:
        """Turns errors inside into a message of the page, which is appended to the yielded list."""
        messages: list[str] = []
        try:
            yield messages
        except (Cancelled, CancelledError):
            messages.append(views.note("Cancelled."))
        except UserError as error:
            messages.append(views.error(error_text(error, self._sessions.root)))
        except Exception:  # visitors see that it is ours, and the log has the rest
            traceback.print_exc()
            messages.append(views.error(_FAULT))


def _session(request: gradio.Request) -> Session:
    return request.request.state.session


def _check_letters(script: str) -> None:
    if len(script) > _MAX_SCRIPT_LETTERS:
        raise UserError(
            f"the script has {len(script):,} letters, and this page takes up to {_MAX_SCRIPT_LETTERS:,}; "
            "shorten it, or use dualdub dub"
        )


def _link(upload: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """An upload in a folder of its own, for as long as a job needs it."""
    folder.mkdir()
    path = folder / upload.name
    path.hardlink_to(upload)
    return path


def _job(session: Session) -> Job:
    """The last film.

    Raises:
        UserError: there is none.
    """
    if session.job is None:
        raise UserError("the film is not kept any more; generate it again")
    return session.job


def _slots(speakers: Sequence[str]) -> list[Any]:
    """Updates of the voices' controls: one for each speaker, if there are several."""
    names = speakers if len(speakers) > 1 else ()
    shown = [gradio.update(visible=True, label=f"Voice of {name}") for name in names[:MAX_SPEAKERS]]
    return [*shown, *(gradio.update(visible=False, value=None) for _ in range(MAX_SPEAKERS - len(shown)))]


def _waiting(status: str) -> tuple[Any, ...]:
    """Updates of the outputs while a job waits or runs: the last film stays."""
    return (
        status,
        gradio.skip(),
        gradio.skip(),
        gradio.skip(),
        gradio.update(interactive=False),
        gradio.update(visible=True),
    )


def _shown(session: Session, status: str | None = None) -> tuple[Any, ...]:
    """Updates of the outputs when nothing runs: status, player, downloads, results, generate, cancel.

    Args:
        session: of the visitor, whose last film is shown.
        status: message to show; None: that film's verdict.
    """
    job = session.job
    if status is None:
        status = "" if job is None else views.done(job)
    return (
        status,
        None if job is None else views.player(job),
        None if job is None else views.downloads(job),
        gradio.update(visible=job is not None),
        gradio.update(interactive=True),
        gradio.update(visible=False),
    )

"""What the page does when a visitor does something: the functions behind its controls."""

import asyncio
import contextlib
import pathlib
import secrets
import shutil
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from typing import Any

import gradio

from dualdub_jax.apps.web import views
from dualdub_jax.apps.web.device_queue import Cancelled, DeviceQueue, Task
from dualdub_jax.apps.web.job import Job
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.messages import page_message
from dualdub_jax.apps.web.sessions import Session, Sessions
from dualdub_jax.apps.web.settings import SUFFIXES, Settings
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
        with self._explained() as told:
            path = self._own(session, upload)
            folder = session.folder / "film"
            folder.mkdir(exist_ok=True)
            session.film = folder / path.name
            path.replace(session.film)  # out of reach of Gradio's file server
            session.uploads.pop(str(path), None)
            return views.film_facts(self._limits.check_film(session.film))
        self._drop_film(session)
        return told[0]

    def take_script(self, request: gradio.Request, upload: str | None) -> tuple[Any, str]:
        """Reads an uploaded script; returns its text for the editor, and what is wrong with it."""
        session = _session(request)
        if upload is None:
            session.script_name = None
            return gradio.skip(), ""
        with self._explained() as told:
            path = self._own(session, upload)
            try:
                text = open_source(str(path)).text
            finally:
                self._sessions.release_upload(session, str(path))
            session.script_name = path.name
            return text, ""
        return gradio.skip(), told[0]

    def take_voice(self, request: gradio.Request, upload: str | None) -> str:
        """Checks a recording; returns what is wrong with it."""
        if upload is None:
            return ""
        with self._explained() as told:
            read_voice(self._own(_session(request), upload), GridConfig())
            return ""
        return told[0]

    async def generate(
        self, request: gradio.Request, script: str, voice: str | None, *values: Any
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Makes the soundtrack; yields status, player, downloads and whether something runs."""
        session = _session(request)

        def prepare() -> Callable[[Task], Job]:
            settings = Settings(*values)
            if session.film is None:
                raise UserError("no film yet: drop one first")
            if settings.suffix not in SUFFIXES:
                raise UserError(f"{settings.suffix}: unknown file format; choose {', '.join(SUFFIXES)}")
            folder = session.folder / secrets.token_hex(8)
            folder.mkdir()
            voice_path = None if voice is None else self._own(session, voice)
            job = Job(
                settings.request(session.film, self._write_script(session, folder, script), voice_path),
                folder,
                settings.suffix,
            )

            def make(task: Task) -> Job:
                try:
                    return job.make(self._model, task)
                except BaseException:
                    job.close()
                    raise

            return make

        async for shown in self._run(session, prepare):
            yield shown

    def cancel(self, request: gradio.Request) -> None:
        """Stops what the visitor's browser waits for."""
        session = _session(request)
        if session.task is not None:
            self._queue.remove(session.task)

    def show(self, request: gradio.Request) -> tuple[Any, ...]:
        """What a page shows that is opened: the visitor's last film, if it is still kept."""
        session = _session(request)
        return _shown(session, "")

    async def _run(
        self, session: Session, prepare: Callable[[], Callable[[Task], Job]]
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Waits in the queue and for the result; the job is stopped if the browser goes away."""
        if session.is_busy:
            yield _shown(session, views.error("Your film is being made: wait for it, or cancel it first."))
            return
        with self._explained() as told:
            task = session.task = self._queue.submit(await asyncio.to_thread(prepare))
            try:
                while not task.future.done():
                    task.keep_alive()
                    yield _waiting(views.status(task, self._queue.num_before(task)))
                    await asyncio.sleep(_POLL_S)
                self._replace_job(session, task.future.result())
            finally:
                self._queue.remove(task)
        yield _shown(session, told[0] if told else views.note("Done."))

    def _replace_job(self, session: Session, job: Job) -> None:
        if session.job is not None and session.job is not job:
            session.job.close()
        session.job = job

    def _own(self, session: Session, upload: str) -> pathlib.Path:
        """An upload of this visitor.

        Raises:
            UserError: it is another's, or not kept any more.
        """
        if not session.owns_upload(upload):
            raise UserError("the file is not kept any more; upload it again")
        return pathlib.Path(upload)

    def _drop_film(self, session: Session) -> None:
        session.film = None
        shutil.rmtree(session.folder / "film", ignore_errors=True)

    def _write_script(self, session: Session, folder: pathlib.Path, script: str) -> pathlib.Path | None:
        """A file of the script: what a visitor types is never taken for a path on the server."""
        if not script.strip():
            return None
        if len(script) > _MAX_SCRIPT_LETTERS:
            raise UserError(
                f"the script has {len(script)} letters, and at most {_MAX_SCRIPT_LETTERS} can be read"
            )
        path = folder / (session.script_name or "script.txt")
        path.write_text(script, encoding="utf-8")
        return path

    @contextlib.contextmanager
    def _explained(self) -> Any:
        """Turns errors inside into a message of the page, which is appended to the yielded list."""
        told: list[str] = []
        try:
            yield told
        except (Cancelled, CancelledError):
            told.append(views.note("Cancelled."))
        except UserError as error:
            told.append(views.error(page_message(error, (self._sessions.root,))))
        except Exception:  # visitors see that it is ours, and the log has the rest
            traceback.print_exc()
            told.append(views.error(_FAULT))


def _session(request: gradio.Request) -> Session:
    return request.request.state.session


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


def _shown(session: Session, status: str) -> tuple[Any, ...]:
    """Updates of the outputs when nothing runs: status, player, downloads, results, generate, cancel."""
    job = session.job
    return (
        status + ("" if job is None else views.warnings(job.warnings)),
        None if job is None else views.player(job),
        None if job is None else views.downloads(job),
        gradio.update(visible=job is not None),
        gradio.update(interactive=True),
        gradio.update(visible=False),
    )

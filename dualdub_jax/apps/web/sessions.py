"""Visitors: each has a folder of random name and owns the files that are uploaded or made in it."""

import contextlib
import pathlib
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualdub_jax.apps.web.device_queue import Task
    from dualdub_jax.apps.web.job import Job

_UNFINISHED_UPLOAD_S = 6 * 3600.0


class Session:
    """One visitor: a browser with its cookie.

    Attributes:
        folder: of the visitor's files.
        film: the uploaded film; None: none so far.
        script_name: of the script file that was uploaded; None: the script is typed.
        speakers: names in the script, in the order of the voices on the page.
        uploads: paths and sizes in bytes of the uploads that are the visitor's.
        job: the film that was made last.
        task: what is being made, or was.
        is_busy: something of this visitor waits or runs.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.film: pathlib.Path | None = None
        self.script_name: str | None = None
        self.speakers: tuple[str, ...] = ()
        self.uploads: dict[str, int] = {}
        self.job: Job | None = None
        self.task: Task | None = None
        self.is_busy = False
        self.used_s = time.monotonic()

    def add_uploads(self, paths: Sequence[str]) -> None:
        """Notes files that this visitor has uploaded."""
        for path in paths:
            self.uploads[path] = pathlib.Path(path).stat().st_size

    def owns_upload(self, path: str | pathlib.Path) -> bool:
        """Whether this visitor has uploaded a file."""
        return str(path) in self.uploads

    def has_job(self, token: str) -> bool:
        """Whether the visitor's present job has this token."""
        return self.job is not None and secrets.compare_digest(token.encode(), self.job.token.encode())

    def close(self) -> None:
        """Stops what runs, and removes all files."""
        if self.task is not None:
            self.task.cancel()
        if self.job is not None:
            self.job.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All visitors, by the secret in their cookie."""

    def __init__(self, root: pathlib.Path, keep_s: float) -> None:
        """Makes the folders.

        Args:
            root: a new folder that nobody else can read.
            keep_s: a visitor who has not been seen for so long is forgotten.
        """
        self.root = root
        self.uploads = root / "uploads"
        self._folders = root / "sessions"
        for folder in (self.uploads, self._folders):
            folder.mkdir(mode=0o700)
        self._keep_s = keep_s
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def find(self, secret: str | None) -> Session | None:
        """The visitor with a cookie; None: unknown or forgotten."""
        with self._lock:
            session = self._sessions.get(secret or "")
            if session is not None:
                session.used_s = time.monotonic()
            return session

    def start(self) -> tuple[str, Session]:
        """A new visitor, and the secret of the cookie."""
        secret = secrets.token_urlsafe(32)
        folder = self._folders / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        with self._lock:
            session = self._sessions[secret] = Session(folder)
        return secret, session

    def expire(self) -> None:
        """Forgets visitors who have not been seen for long, and removes their files."""
        now_s = time.monotonic()
        with self._lock:
            old = [
                secret
                for secret, session in self._sessions.items()
                if now_s - session.used_s > self._keep_s and not session.is_busy
            ]
            forgotten = [self._sessions.pop(secret) for secret in old]
        for session in forgotten:
            for path in list(session.uploads):
                self.release_upload(session, path)
            session.close()
        self._sweep_uploads()

    def release_upload(self, session: Session, path: str) -> None:
        """A visitor's upload is not needed any more; it is removed unless it is also another's."""
        session.uploads.pop(path, None)
        with self._lock:
            is_shared = any(path in other.uploads for other in self._sessions.values())
        file = pathlib.Path(path)
        # Only what lies in the folder of uploads.
        if not is_shared and self.uploads in file.parents:
            file.unlink(missing_ok=True)

    def _sweep_uploads(self) -> None:
        """Removes what an interrupted upload has left."""
        with self._lock:
            owned = {path for session in self._sessions.values() for path in session.uploads}
        for path in self.uploads.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                is_old = time.time() - path.stat().st_mtime > _UNFINISHED_UPLOAD_S
                if is_old and path.is_file() and str(path) not in owned:
                    path.unlink()

    def close(self) -> None:
        """Forgets everybody and removes everything."""
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            session.close()
        shutil.rmtree(self.root, ignore_errors=True)

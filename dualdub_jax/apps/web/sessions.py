"""Visitors: each has folders of random name, for the files that are uploaded and for those that are made."""

import pathlib
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dualdub_jax.apps.web.uploads import Uploads

if TYPE_CHECKING:
    from dualdub_jax.apps.web.device_queue import Task
    from dualdub_jax.apps.web.job import Job
    from dualdub_jax.media.film import Film
_UPLOADS_PER_SESSION = 6  # times the limit of one file
_MAX_UPLOADS = 100  # files of a visitor


class Session:
    """One visitor: a browser with its cookie.

    Attributes:
        folder: of what is made for the visitor.
        film_upload: the file in the place of the film; None: none.
        film: what is known of it; None: it is none that can be used.
        script: the script file that was uploaded; None: the script is typed.
        uploads: paths and sizes in bytes of the uploads that are the visitor's.
        job: the film that was made last.
        task: what is being made, or was.
        is_busy: something of this visitor waits or runs.
    """

    def __init__(self, folder: pathlib.Path, store: Uploads, max_upload_bytes: int) -> None:
        self.folder = folder
        self._store, self._inbox, self._max_upload_bytes = store, store.make_inbox(), max_upload_bytes
        self._lock = threading.Lock()
        self.film_upload: pathlib.Path | None = None
        self.film: Film | None = None
        self.script: pathlib.Path | None = None
        self.uploads: dict[str, int] = {}
        self.job: Job | None = None
        self.task: Task | None = None
        self.is_busy = False
        self.used_s = time.monotonic()

    def take_uploads(self, stored: Sequence[str]) -> list[str]:
        """Takes files over that this visitor has uploaded; returns their new paths.

        Only so many are kept: the oldest go first, but not the film.
        """
        paths = [self._store.hand_over(pathlib.Path(path), self._inbox) for path in stored]
        with self._lock:
            self.uploads |= {str(path): path.stat().st_size for path in paths}
            others = [path for path in self.uploads if path != str(self.film_upload)]
            while others and (
                len(self.uploads) > _MAX_UPLOADS or sum(self.uploads.values()) > self._max_upload_bytes
            ):
                self._remove_upload(others.pop(0))
        return [str(path) for path in paths]

    def release_upload(self, path: pathlib.Path) -> None:
        """Removes an upload that is not needed any more."""
        with self._lock:
            self._remove_upload(str(path))

    def _remove_upload(self, path: str) -> None:
        if self.uploads.pop(path, None) is not None:
            pathlib.Path(path).unlink(missing_ok=True)

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
        for folder in (self.folder, self._inbox):
            shutil.rmtree(folder, ignore_errors=True)


class Sessions:
    """All visitors, by the secret in their cookie."""

    def __init__(self, root: pathlib.Path, keep_s: float, max_upload_bytes: int) -> None:
        """Makes the folders.

        Args:
            root: a new folder that nobody else can read.
            keep_s: a visitor who has not been seen for so long is forgotten.
            max_upload_bytes: limit of one file; a visitor's uploads are kept up to a few times that.
        """
        self.root = root
        self.uploads = Uploads(root / "uploads")
        self._folders = root / "sessions"
        self._folders.mkdir(mode=0o700)
        self._keep_s, self._max_upload_bytes = keep_s, max_upload_bytes
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
            session = self._sessions[secret] = Session(
                folder, self.uploads, _UPLOADS_PER_SESSION * self._max_upload_bytes
            )
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
            session.close()
        self.uploads.sweep()

    def close(self) -> None:
        """Forgets everybody and removes everything."""
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            session.close()
        shutil.rmtree(self.root, ignore_errors=True)

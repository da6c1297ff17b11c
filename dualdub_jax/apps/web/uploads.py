"""Where uploads are stored: Gradio's store, where equal files are one, and an inbox for each visitor."""

import contextlib
import pathlib
import secrets
import shutil
import time
from collections.abc import Iterator

_UNFINISHED_S = 600.0  # an upload of which nothing was received for so long has been given up
_FREE_BYTES = 500_000_000  # that uploads leave on the disk


class Uploads:
    """The folder of all uploads.

    Gradio stores a file under the digest of its content and its name, so visitors who upload the same film
    at the same time share a path. Each gets a link of its own, and Gradio's files are removed when nothing
    is being received: before, one of them may be another visitor's as well.

    Attributes:
        root: for Gradio to store uploads in.
    """

    def __init__(self, root: pathlib.Path) -> None:
        """Makes the folders; nobody else can read them."""
        self.root = root
        # Inside the store: files elsewhere are copied into it when a control has them as its value.
        self._inboxes = root / "visitors"
        for folder in (self.root, self._inboxes):
            folder.mkdir(mode=0o700)
        self._expected: list[int] = []

    def make_inbox(self) -> pathlib.Path:
        """A folder for the uploads of one visitor."""
        inbox = self._inboxes / secrets.token_hex(16)
        inbox.mkdir(mode=0o700)
        return inbox

    @contextlib.contextmanager
    def receiving(self, num_bytes: int) -> Iterator[None]:
        """To be entered while an upload is received, in the thread of the server's event loop."""
        self._expected.append(num_bytes)
        try:
            yield
        finally:
            self._expected.remove(num_bytes)
            if not self._expected:
                self._remove(0.0)

    def has_space(self, num_bytes: int) -> bool:
        """Whether the disk holds another upload of that size beside those that are being received."""
        return shutil.disk_usage(self.root).free >= sum(self._expected) + num_bytes + _FREE_BYTES

    def hand_over(self, stored: pathlib.Path, inbox: pathlib.Path) -> pathlib.Path:
        """Links a file of Gradio's into an inbox; returns the link, which has the same name."""
        folder = inbox / secrets.token_hex(8)
        folder.mkdir()
        path = folder / stored.name
        path.hardlink_to(stored)
        return path

    def sweep(self) -> None:
        """Removes what uploads that were given up have left."""
        self._remove(_UNFINISHED_S)

    def _remove(self, least_age_s: float) -> None:
        now_s = time.time()
        for path in self.root.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path == self._inboxes or now_s - path.stat().st_mtime < least_age_s:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

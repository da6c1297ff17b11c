"""Finds a list's media in the user's folder: by file name, case-insensitively, in nested folders.

The background and speech stems of a clip often share a file name and differ in their folder only, as in the
authors' list. The folder names disambiguate them. A remaining ambiguity is an error, since swapped stems
would be scored silently.
"""

import collections
import pathlib
from typing import Literal

from dualdub_jax.errors import UserError

Kind = Literal["video", "speech", "background"]

# Substrings of folder names. Background takes precedence: "…_background/speech/" is in use.
_BACKGROUND_WORDS = ("background", "accompaniment", "instrumental", "no_vocals", "novocals")
_SPEECH_WORDS = ("vocal", "speech", "voice")


class MediaFolder:
    """An index of all files below a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Indexes the folder.

        Args:
            folder: with the media at any depth.

        Raises:
            UserError: there is no such folder.
        """
        if not folder.is_dir():
            raise UserError(f"--media {folder}: no such folder; give the folder with the clips' files")
        self._folder = folder
        self._files: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._files[path.name.lower()].append(path)

    def find(self, listed: str, kind: Kind) -> pathlib.Path | None:
        """Finds the file for a path of the list.

        Args:
            listed: a path of another machine; its last component is matched, and its folders where several
                files have that name.
            kind: of the file.

        Returns:
            The file, or None if there is none of this kind.

        Raises:
            UserError: several files match.
        """
        parts = [part.lower() for part in listed.replace("\\", "/").split("/") if part]
        found = self._files.get(parts[-1], []) if parts else []
        if kind != "video":
            classes = {path: self._class(path) for path in found}
            found = [path for path in found if classes[path] in (kind, None)]
            found = [path for path in found if classes[path] == kind] or found
        if len(found) < 2:
            return found[0] if found else None
        depth = {path: self._shared_depth(path, parts) for path in found}
        best = [path for path in found if depth[path] == max(depth.values())]
        if len(best) > 1:
            raise UserError(
                f"{best[0]} and {best[1]}: both match the {kind} {parts[-1]} of the list; keep one of them, "
                "or put background stems in a folder named background and speech stems in one named vocal"
            )
        return best[0]

    def _class(self, path: pathlib.Path) -> Kind | None:
        folders = "/".join(path.relative_to(self._folder).parts[:-1]).lower()
        if any(word in folders for word in _BACKGROUND_WORDS):
            return "background"
        return "speech" if any(word in folders for word in _SPEECH_WORDS) else None

    def _shared_depth(self, path: pathlib.Path, listed: list[str]) -> int:
        """Number of trailing path components shared with the list."""
        own = [part.lower() for part in path.relative_to(self._folder).parts]
        depth = 0
        while depth < min(len(own), len(listed)) and own[-1 - depth] == listed[-1 - depth]:
            depth += 1
        return depth

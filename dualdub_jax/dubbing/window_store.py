"""The finished windows of a take that is being generated, each in a file of its own.

A window is on the disk before the next one begins, so that a project resumes behind the last of them.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.project_folder import ProjectFolder, load_arrays, reading, save_arrays
from dualdub_jax.dubbing.window import Window


@dataclasses.dataclass(frozen=True)
class KeptWindow:
    """What a window has made.

    Attributes:
        tokens: of its new frames, int32[num_new, Q] by stream.
        acoustics: that it is conditioned on.
        seconds: that the take had been generated for when it was done.
    """

    tokens: Mapping[Stream, np.ndarray]
    acoustics: Acoustics | None
    seconds: float


class WindowStore:
    """The windows of one take."""

    def __init__(self, folder: ProjectFolder, take: int) -> None:
        self._folder, self._take = folder, take

    def save(self, index: int, window: KeptWindow) -> None:
        """Keeps a window.

        Raises:
            UserError: its file cannot be written.
        """
        settings = {
            "acoustics": window.acoustics and window.acoustics._asdict(),
            "seconds": window.seconds,
        }
        save_arrays(self._folder.window(self._take, index), settings, window.tokens)

    def load(self, windows: Sequence[Window], used: Sequence[Stream]) -> list[KeptWindow]:
        """The windows that are done, without gaps from the first one on.

        Args:
            windows: the plan.
            used: streams that are generated.

        Raises:
            UserError: a file is damaged.
        """
        kept = []
        for index, window in enumerate(windows):
            path = self._folder.window(self._take, index)
            if not path.exists():
                break
            settings, tokens = load_arrays(path)
            with reading(path):
                lengths = {name: len(track) for name, track in tokens.items()}
                if lengths != dict.fromkeys(used, window.num_new):
                    raise ValueError("the tokens are not those of this window")
                acoustics = settings["acoustics"]
                found = None if acoustics is None else Acoustics(**acoustics)
                kept.append(KeptWindow(tokens, found, float(settings["seconds"])))
        return kept

    def clear(self) -> None:
        """Removes all files, once the take has one of its own."""
        shutil.rmtree(self._folder.window(self._take, 0).parent, ignore_errors=True)

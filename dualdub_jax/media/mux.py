"""Muxing a soundtrack: the film with new tracks in place of its sound, checked before and after writing.

See `rehearsal` for what is checked before. Source: our choice.
"""

import pathlib
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from dualdub_jax.errors import UserError
from dualdub_jax.media.copy_plan import CopyPlan
from dualdub_jax.media.film import Film
from dualdub_jax.media.film_writer import write_film
from dualdub_jax.media.new_tracks import NewTracks
from dualdub_jax.media.rehearsal import check_container, list_losses
from dualdub_jax.media.timing import scan_times

_ROUNDING_S = Fraction(1, 1000)  # Matroska counts milliseconds


def mux_soundtrack(
    film: Film, new: NewTracks, out: pathlib.Path, file: BinaryIO, num_kept: int = 0
) -> list[str]:
    """Writes the film with new tracks in place of its sound, reads it again and compares.

    Args:
        film: the film; its packets are read from `film.path`.
        new: the tracks.
        out: the name that chooses the container; nothing is written there.
        file: where the bytes go; opened for reading and writing, seekable.
        num_kept: streams of the film's own sound that the new tracks contain.

    Returns:
        What the file does not keep of the film, one sentence each.

    Raises:
        UserError: the film cannot be read, or `out` cannot hold its video: see `check_container`; or the
            times of its pictures did not survive.
        OSError: `file` cannot be written.
    """
    plan = check_container(film, out).plan
    guarded = _Guarded(file)
    try:
        write_film(film, plan, new, out.suffix.lower(), guarded)
    except Exception:  # whatever libav made of it: the file's own error names the cause
        if guarded.error is not None:
            raise guarded.error from None
        raise
    _verify_times(film, plan, out, file)
    return list_losses(film, file, out, new, num_kept)


class _Guarded:
    """A file that keeps the first error of writing: libav raises another one that does not name the cause."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self.seek, self.tell, self.read = file.seek, file.tell, file.read
        self._write = file.write

    def write(self, data: bytes) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def _verify_times(film: Film, plan: CopyPlan, out: pathlib.Path, file: BinaryIO) -> None:
    """Compares the times of all pictures, and when the last one goes away, with the film's.

    Raises:
        UserError: they differ.
    """
    file.seek(0)
    with av.open(file, "r") as copy:
        stream = copy.streams.video[0]
        timing, times = scan_times(copy, stream)
        tolerance_s = max(_ROUNDING_S, stream.time_base, film.time_base)
        copied_s = times * float(stream.time_base)
    shown_s = np.sort(plan.shown_pts - film.start_pts) * float(film.time_base)
    if len(copied_s) != len(shown_s):
        raise UserError(_describe(film, out, f"would show {len(copied_s)} pictures and not {len(shown_s)}"))
    late_s = np.abs(copied_s - shown_s).max()
    if late_s > float(tolerance_s):
        raise UserError(_describe(film, out, f"would show pictures up to {late_s:.3f} s early or late"))
    if abs(timing.end_s - film.duration_s) > 2 * tolerance_s:
        end_s, wanted_s = float(timing.end_s), float(film.duration_s)
        raise UserError(_describe(film, out, f"would end after {end_s:.3f} s and not {wanted_s:.3f} s"))


def _describe(film: Film, out: pathlib.Path, fault: str) -> str:
    return (
        f"{out}: a copy of {film.path} {fault}; give the name of another kind of file, or convert the video"
    )

"""Standard streams of any kind: closed, of a poor encoding, full, or a pipe that nobody reads."""

import io
import os
import sys

from dualdub_jax.errors import UserError


def prepare_streams() -> None:
    """Makes standard output and error safe to print to; called once, before anything is opened.

    - A closed stream is opened on the null device; otherwise the next file takes its number and receives
      what is printed.
    - Characters that the encoding lacks, and bytes of file names that are not text, are escaped.
    - A reader that closes the pipe (`dualdub … | head`) has seen enough: the job goes on without it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # takes the lowest free number
        stream = getattr(sys, name)
        if number and (stream is None or isinstance(stream, io.TextIOWrapper)):
            setattr(sys, name, _forgiving(stream, number))


def _forgiving(stream: io.TextIOWrapper | None, number: int) -> io.TextIOWrapper:
    sink = _Sink(number, "w", closefd=False)
    if stream is None:
        return io.TextIOWrapper(sink, errors="backslashreplace", write_through=True)
    stream.flush()
    return io.TextIOWrapper(
        sink if stream.write_through else io.BufferedWriter(sink),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Sink(io.FileIO):
    """A standard stream that reports once that it cannot be written."""

    _is_lost = False

    def write(self, data: bytes) -> int:
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                self._is_lost = True
                if self.fileno() == 1 and not isinstance(error, BrokenPipeError):
                    raise UserError(
                        f"standard output: cannot be written ({error.strerror}); redirect it elsewhere"
                    ) from error
        return len(data)

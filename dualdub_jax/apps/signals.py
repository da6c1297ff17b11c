"""SIGINT, SIGTERM and SIGHUP end a command within two seconds and leave nothing half-written.

The handler raises `Interrupted` in the main thread, so that temporary files are removed on the way out. That
alone is not reliable: Python discards exceptions in destructors and in callbacks of C code, libraries catch
them, and a long call into C, such as the compiler's, delays the handler. Therefore a thread learns of each
signal at once (`signal.set_wakeup_fd`). It raises the exception again where it was discarded, and if the main
thread has not unwound in time, or at a second signal, it removes the registered temporary files and ends the
process. Source: our choice.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from dualdub_jax.media import leftovers

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_S = 1.5  # for unwinding
_POLL_S = 0.05
_SHOW_CURSOR = b"\x1b[?25h"  # progress bars hide it


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by a signal."""


class SignalWatch:
    """Handles the signals of a process that runs one command.

    A handler that is installed later takes the first signal for itself: the training loop stops after its
    step. A second SIGINT ends the process at once all the same.

    Attributes:
        number: the signal that ends this process; None: none so far.
        advice: text of the message behind "interrupted"; called when temporary files are removed.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.advice: Callable[[], str] = str
        self._raised: weakref.ref[Interrupted] | None = None
        self._is_unwound = False
        self._num_own = 0  # signals that the thread has sent to the main thread
        self._is_told = False

    @property
    def status(self) -> int:
        """Exit status of an interrupted process: 128 + the number of the signal."""
        return 128 + (self.number or signal.SIGINT)

    def run(self, command: Callable[[], int]) -> int:
        """Runs a command in the main thread; to be called once, before any heavy import.

        Returns:
            The command's exit status.

        Raises:
            Interrupted: a signal came; also if the command reports something else that the signal caused.
        """
        try:
            self._install()
            status = command()
        except BaseException:
            if self.number is None:
                raise
        finally:
            self._is_unwound = True
        if self.number is not None:
            raise Interrupted
        return status

    def _install(self) -> None:
        self._stderr, self._null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            # `nohup` ignores SIGHUP for good; shells ignore SIGINT for every command in the background.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._raise)
        os.register_at_fork(after_in_child=_restore_defaults)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()

    def _raise(self, number: int, frame: Any) -> NoReturn:
        self.number = self.number or number
        if _is_importing(frame):  # an exception in the initialisation of a C extension may crash it
            self.leave()
        os.dup2(self._null, 2)  # libraries report what the exception does to their callbacks and threads
        error = Interrupted()
        self._raised = weakref.ref(error)
        raise error

    def _watch(self, reader: int) -> None:
        number, is_repeated = self._first_of_ours(reader)
        self.number = self.number or number
        started = raised_again = time.monotonic()
        while not is_repeated and (now := time.monotonic()) < started + _GRACE_S:
            if select.select([reader], [], [], _POLL_S)[0]:
                is_repeated = self._is_from_outside(os.read(reader, 1)[0])
            # While it unwinds, the exception is alive; one that nobody refers to any more was discarded.
            is_discarded = self._raised is None or self._raised() is None
            if is_discarded and not self._is_unwound and now > raised_again + 2 * _POLL_S:
                raised_again = now
                self._raise_again()
        self.leave()

    def _first_of_ours(self, reader: int) -> tuple[int, bool]:
        """The signal, and whether it is a second SIGINT while another handler still acts on the first."""
        is_repeated = False
        while True:
            number = os.read(reader, 1)[0]
            if number not in _SIGNALS:
                continue
            if signal.getsignal(number) == self._raise:
                return number, False
            if is_repeated and number == signal.SIGINT:
                return number, True
            is_repeated = is_repeated or number == signal.SIGINT

    def _is_from_outside(self, number: int) -> bool:
        if number == self.number and self._num_own:
            self._num_own -= 1
            return False
        return number in _SIGNALS

    def _raise_again(self) -> None:
        self._num_own += 1
        self._raised = None
        # To the main thread itself: another one may have taken the signal while it waits in a system call.
        signal.pthread_kill(threading.main_thread().ident, self.number)

    def _tell(self) -> None:
        """Reports the interruption, once; standard error itself is muted by then."""
        if not self._is_told:
            self._is_told = True
            with contextlib.suppress(OSError):
                line = " ".join(f"dualdub: interrupted{self.advice()}".split())
                os.write(self._stderr, line.encode(errors="surrogateescape") + b"\n")

    def leave(self) -> NoReturn:
        """Ends the process at once: threads of XLA may crash in exit functions and destructors."""
        try:
            leftovers.remove_all()
            if multiprocessing := sys.modules.get("multiprocessing"):  # an import could wait for a lock
                for child in multiprocessing.active_children():
                    child.kill()
            self._tell()
            for stream in (1, self._stderr):
                if os.isatty(stream):
                    os.write(stream, _SHOW_CURSOR)
        finally:
            os._exit(self.status)


def _is_importing(frame: types.FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _restore_defaults() -> None:
    """In a forked child, whose pipe is the parent's and which has no watching thread."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

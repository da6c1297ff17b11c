"""The one exception type that means "the user can correct this"."""

from collections.abc import Iterable


class UserError(Exception):
    """Bad input or bad usage: the command line prints its text on one line and exits with status 2.

    The text names the input, what was expected, what was found, and the remedy, for example
    `film.mp4: no video stream; give a file that has one`. A fault of ours is any other exception.
    """


class UserErrors(UserError):
    """Several mistakes that were found together; the command line prints a line for each.

    Attributes:
        messages: their texts, in order, each once.
    """

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(dict.fromkeys(messages))
        super().__init__("\n".join(self.messages))

"""The one exception type that means "the user can correct this"."""


class UserError(Exception):
    """Bad input or bad usage: the command line prints its text on one line and exits with status 2.

    The text names the input, what was expected, what was found, and the remedy, for example
    `film.mp4: no video stream; give a file that has one`. A fault of ours is any other exception.
    """

"""Who speaks in a script, before its film is known."""

import pathlib
from fractions import Fraction

from dualdub_jax.text.script import read_script
from dualdub_jax.text.speakers import distinct_names

_ANY_LENGTH_S = Fraction(10**6)
_ANY_RATE_HZ = 25.0  # of subtitles whose times are frames; only the names are used


def find_speakers(script: pathlib.Path) -> tuple[str, ...]:
    """The names in a script file, in order.

    Raises:
        UserError: it is malformed, or nothing in it can be spoken.
    """
    words = read_script(str(script), _ANY_LENGTH_S, rate_hz=_ANY_RATE_HZ).words
    return distinct_names(word.speaker for word in words)

"""The two streams of a soundtrack."""

from typing import Literal

Stream = Literal["speech", "background"]

# The order shows in logs only: streams are always addressed by name.
STREAMS: tuple[Stream, Stream] = ("speech", "background")

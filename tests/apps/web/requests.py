"""Values of the page's controls, in the order in which the button sends them."""

from typing import Any

from dualdub_jax.apps.web.settings import MAX_SPEAKERS, Settings


def request(script: str = "lay blue", voice: Any = None, voices: Any = (), **settings: Any) -> list[Any]:
    """The values; what is not given is as on a fresh page."""
    empty = [None] * (MAX_SPEAKERS - len(voices))
    return [script, voice, *voices, *empty, *vars(Settings(**settings)).values()]

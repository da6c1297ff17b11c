"""Whether a stem is silent although something is due in it.

Such a clip has the worst value of a figure; left out of the mean, a system would gain by silence.
"""

from dualdub_jax.config.streams import Stream
from dualdub_jax.evaluation.analysis.audible import as_sound, is_silent
from dualdub_jax.evaluation.contracts.clips import Clip


def is_wrongly_silent(clip: Clip, stream: Stream) -> bool:
    """Whether the stem is silent, and the truth is audible or, for speech, the script has words.

    Args:
        clip: with a system's soundtrack; a stem that it does not have is not silent.
        stream: which stem.
    """
    track, true = getattr(clip, stream), getattr(clip, f"true_{stream}")
    if track is None or not is_silent(as_sound(track)):
        return False
    if true is not None:
        return not is_silent(as_sound(true))
    return stream == "speech" and bool((clip.text or "").strip())

"""A reference recording for each clip: another utterance of the same speaker."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from dualdub_jax.data_pipeline.builders.base import Dropped
from dualdub_jax.data_pipeline.builders.clips.source_clip import SourceClip


def with_voices(
    clips: Iterable[SourceClip | Dropped], media: Sequence[str], val_share: float
) -> list[SourceClip | Dropped]:
    """Clips of known speakers without a voice get the next clip of the same speaker and split as theirs.

    Args:
        clips: of a source, in an order that does not change.
        media: that contain the speaker's voice, the first that a clip has; empty: none.
        val_share: see `SourceClip.split_of`.
    """
    clips = list(clips)
    spoken: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for place, clip in enumerate(clips):
        if not isinstance(clip, Dropped) and clip.speaker and clip.text and _heard(clip, media):
            spoken[clip.speaker, clip.split_of(val_share)].append(place)
    found = list(clips)
    for places in spoken.values():
        for place, following in zip(places, [*places[1:], places[0]], strict=True):
            clip, other = clips[place], clips[following]
            if place == following or "voice" in clip.media:
                continue
            heard = _heard(other, media)
            found[place] = dataclasses.replace(
                clip,
                media={**clip.media, "voice": other.media[heard]},
                voice_span_s=(other.start_s, other.end_s),
                lent_voice="speech" if heard == "speech" else "mix",
            )
    return found


def _heard(clip: SourceClip, media: Sequence[str]) -> str | None:
    return next((name for name in media if name in clip.media), None)

"""What a source has of one clip: media files and what is known of them; every media builder yields these."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

from dualdub_jax.data_pipeline.builders.clips.media_file import MediaFile

Medium = Literal["video", "audio", "speech", "background", "voice"]
MEDIA: tuple[Medium, ...] = ("video", "audio", "speech", "background", "voice")

Word = tuple[str, float, float]  # text, start and end in seconds

_SPLITS = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation",
           "testing": "test", "eval": "test"}  # fmt: skip
_SPLIT_NAME = re.compile(r"[\w-]{1,64}")


@dataclasses.dataclass(frozen=True)
class SourceClip:
    """A clip or a whole film, before it is cut.

    A `ValueError` if `split` cannot name one.

    All media but the voice start at the same time. Times are seconds from the film's first picture, or from
    the beginning of its sound without a film.

    Attributes:
        id: unique in the source.
        media: "video" (with or without sound), "audio" (the mix, if it is not the video's own sound),
            "speech", "background" (stems), "voice" (the same speaker in another utterance).
        text: the words spoken; "" is no speech, None is unknown.
        words: their times, in order; empty: unknown.
        speaker: who speaks; "" is unknown.
        language: of the text, such as "en"; "" is unknown.
        licence: "" is unknown.
        split: name of its split; "" leaves it to a hash of `group`.
        group: what must not be divided between splits, such as a film or a speaker; "" is the id.
        start_s: the part of the media that is the clip begins here.
        end_s: and ends here; None is their end.
        voice_span_s: the part of the voice's file that is the reference; None is all of it.
        lent_voice: the voice is another clip's "speech" stem, or "mix", which is separated if the clip's own
            is; such a clip is kept without a voice that cannot be read. "": the source names the voice.
        notes: kept in the record's events.
    """

    id: str
    media: Mapping[Medium, MediaFile]
    text: str | None = None
    words: tuple[Word, ...] = ()
    speaker: str = ""
    language: str = ""
    licence: str = ""
    split: str = ""
    group: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    voice_span_s: tuple[float, float | None] | None = None
    lent_voice: Literal["", "speech", "mix"] = ""
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        plain_split(self.split)

    def split_of(self, val_share: float) -> str:
        """Its split: the named one, or "validation" for a share of the groups, by a hash of their name."""
        if self.split:
            return plain_split(self.split)
        name = (self.group or self.id).encode("utf-8", "surrogateescape")
        draw = int.from_bytes(hashlib.sha256(name).digest()[:4], "big") / 2**32
        return "validation" if draw < val_share else "train"


def plain_split(name: str) -> str:
    """The name of a split as a dataset's files have it: "Train Set" is "train_set", "dev" is "validation".

    Raises:
        ValueError: it cannot be part of a file's name, or is "all", which TFDS keeps for itself.
    """
    plain = "_".join(name.lower().split())
    if plain == "all" or (plain and not _SPLIT_NAME.fullmatch(plain)):
        raise ValueError(
            f"its split is {name[:60]!r}, expected train, validation, test or another plain name"
        )
    return _SPLITS.get(plain, plain)

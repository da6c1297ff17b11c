"""How source clips become records: what the options of `dualdub data build` decide for each clip."""

import dataclasses
import pathlib
from typing import Literal

from dualdub_jax.data_pipeline.builders.clips.cutting import Cut


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """How source clips become records.

    Attributes:
        clip_s: longest clip, seconds.
        cut: how longer ones are cut, see `cutting.Cutter`.
        short_side: shorter side of the stored pictures, pixels; smaller pictures keep their size.
        without_sound: "keep" clips without any sound with their video alone, or "drop" them.
        mix_as: which stem sound becomes that is not separated: "speech", "background", or "auto": speech
            if the clip has words, or else background.
        separate: "" (not at all), "gate" or "audio-separator".
        separator_model: a checkpoint's file for "audio-separator".
        min_stem_db: clips with both stems are dropped if either is below this level, dBFS; None: none is.
        align_words: find the times of words where they are unknown.
        licence_allow: only clips with one of these licences; empty: all.
    """

    clip_s: float = 4.0
    cut: Cut = "quiet"
    short_side: int = 224
    without_sound: Literal["keep", "drop"] = "keep"
    mix_as: Literal["auto", "speech", "background"] = "auto"
    separate: str = ""
    separator_model: pathlib.Path | None = None
    min_stem_db: float | None = None
    align_words: bool = False
    licence_allow: tuple[str, ...] = ()

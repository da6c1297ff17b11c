"""Puppet Stage as a builder: one config for each curriculum stage."""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from dualdub_jax.data_pipeline.builders.base import Builder
from dualdub_jax.data_pipeline.builders.puppet_stage import clip, voices
from dualdub_jax.data_pipeline.record import Record
from dualdub_jax.errors import UserError

# Config -> split -> number of clips, by default.
_NUM_CLIPS = {
    "text_speech": {"train": 9000, "validation": 64},
    "video_audio": {"train": 2500, "validation": 64},
    "soundtrack": {"train": 10_000, "validation": 64, "test_seen": 128, "test_unseen": 128},
}


@dataclasses.dataclass(frozen=True)
class PuppetStage(Builder):
    """Short rendered films of a talking puppet among sounding objects, with true stems.

    Attributes:
        seed: of the world; the same seed gives the same bytes.
        num_clips: n is n training clips a config and at most n in each other split; a mapping has keys such
            as "train" (all configs) or "soundtrack/train" (one); None is the default of each split.
        voice_bank: the synthesiser, see `voices.bank`.
    """

    seed: int = 0
    num_clips: int | Mapping[str, int] | None = None
    voice_bank: str = "hibari"

    name: ClassVar[str] = "puppet_stage"
    version: ClassVar[str] = "2.0.0"  # 2: records in seconds; the same films and sounds as 1
    description: ClassVar[str] = "Rendered films of a talking puppet among sounding objects, with true stems."
    configs: ClassVar[Mapping[str, str]] = {
        "text_speech": "Script, voice and speech stem; no video.",
        "video_audio": "Video and background stem; no speech.",
        "soundtrack": "Video, script, voice and both stems; one clip in eight has an empty script.",
    }
    unit: ClassVar[str] = "clips"
    example: ClassVar[str] = "--clips 2000 --processes 4"

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        add = parser.add_argument
        add("--clips", dest="num_clips", type=int, metavar="N",
            help="training clips of each config (default: 9000, 2500, 10000)")  # fmt: skip
        add("--seed", type=int, default=0, metavar="N", help="of the world (default: 0)")
        add("--voice-bank", default="hibari", choices=("hibari", "tone"),
            help="the synthesiser; tone is for tests (default: hibari)")  # fmt: skip

    def check(self) -> None:
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: expected 0 or more")
        if isinstance(self.num_clips, int) and self.num_clips < 1:
            raise UserError(f"--clips {self.num_clips}: expected 1 or more")
        for key in self.num_clips if isinstance(self.num_clips, Mapping) else ():
            if not any(
                key in (split, f"{c}/{split}") for c, splits in _NUM_CLIPS.items() for split in splits
            ):
                raise UserError(
                    f"num_clips {key!r}: no such split; use a split such as train or soundtrack/train"
                )
        voices.bank(self.voice_bank)

    def recipe(self, config: str) -> Mapping[str, Any]:
        return {"seed": self.seed, "voice_bank": self.voice_bank, "num_clips": self._sizes(config)}

    def splits(self, config: str) -> Mapping[str, Sequence[tuple[str, int]]]:
        return {split: [(split, i) for i in range(n)] for split, n in self._sizes(config).items()}

    def make_records(self, config: str, item: tuple[str, int]) -> Iterator[Record]:
        yield clip.to_record(clip.make_clip(self.voice_bank, config, self.seed, *item))

    def _sizes(self, config: str) -> dict[str, int]:
        """Split -> number of clips; no split is empty."""
        wanted, defaults = self.num_clips, _NUM_CLIPS[config]
        if wanted is None:
            sizes = defaults
        elif isinstance(wanted, int):
            sizes = {split: wanted if split == "train" else min(n, wanted) for split, n in defaults.items()}
        else:
            sizes = {s: wanted.get(f"{config}/{s}", wanted.get(s, n)) for s, n in defaults.items()}
        return {split: n for split, n in sizes.items() if n > 0}

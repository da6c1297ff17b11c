"""A corpus of one's own, as docs/data.md shows it: all that it takes is this file."""

import dataclasses
import os
import pathlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.builders.base import Builder, Dropped
from tests.tiny_dataset import film_bytes


@dataclasses.dataclass(frozen=True)
class Beeps(Builder):
    """Sines with films of the same length, at 22.05 kHz; every third one is dropped."""

    num_beeps: int = 9
    fails_on: int = -1

    name: ClassVar[str] = "beeps"
    version: ClassVar[str] = "0.3.0"
    configs: ClassVar[Mapping[str, str]] = {"loud": "At half of full scale.", "soft": "Forty decibels lower."}

    @classmethod
    def add_arguments(cls, parser: Any) -> None:
        parser.add_argument("--beeps", dest="num_beeps", type=int, default=9, metavar="N", help="how many")

    def recipe(self, config: str) -> Mapping[str, Any]:
        return {"beeps": self.num_beeps}

    def splits(self, config: str) -> Mapping[str, Sequence[int]]:
        return {"train": range(self.num_beeps), "validation": [2, 5]}  # all of validation is dropped

    def make_records(self, config: str, item: int) -> Iterator[record.Record | Dropped]:
        if item == self.fails_on:
            raise RuntimeError(f"beep {item} is broken")
        if item % 3 == 2:
            yield Dropped(f"beep {item}", "every third one")
            return
        level = {"loud": 0.5, "soft": 0.005}[config]
        sine = level * np.sin(np.arange(round(0.4 * 22_050)) * (0.05 + 0.01 * item))
        yield record.make(
            id=f"beep_{item}",
            duration_s=0.4,
            video=film_bytes(10),
            background=record.encode_flac(sine, 22_050),
            licence="CC0-1.0",
        )


class Killed(Beeps):
    """Its process dies, as the kernel kills one for want of memory."""

    def make_records(self, config: str, item: int) -> Iterator[record.Record | Dropped]:
        os._exit(137)


def die_once() -> None:
    """Kills this process, unless the file that KILLED_ONCE names says that one was killed already."""
    mark = pathlib.Path(os.environ["KILLED_ONCE"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class KilledOnce(Beeps):
    """One of its processes is killed, the first time."""

    def make_records(self, config: str, item: int) -> Iterator[record.Record | Dropped]:
        if item == 4:
            die_once()
        yield from super().make_records(config, item)


class Unfinished(Builder):
    """Lacks everything but a recipe."""

    def recipe(self, config: str) -> Mapping[str, Any]:
        return {}

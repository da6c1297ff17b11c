"""A take: one generation of a film's tokens, with all settings that they were sampled with."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.config import SamplingConfig
from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.dubbing.mixdown import Loudness
from dualdub_jax.dubbing.project_folder import load_arrays, reading, save_arrays
from dualdub_jax.dubbing.speech_check import HIDING_DBFS, SpokenUtterance
from dualdub_jax.stores.path import StorePath, as_path

Region = tuple[float, float]  # start and end, seconds from the first frame


@dataclasses.dataclass(frozen=True)
class Take:
    """Tokens of a whole film.

    Attributes:
        tokens: int32[T, Q] by stream in use.
        seed: of the sampler.
        sampling: its settings.
        acoustics: that both tracks are conditioned on, by scene; None: the model has no such condition.
        checkpoint: folder of the model.
        parent: number of the take of which this one repeats a region; None: of none.
        region_s: the repeated region; None: the whole film.
    """

    tokens: Mapping[Stream, np.ndarray]
    seed: int
    sampling: SamplingConfig
    acoustics: tuple[Acoustics | None, ...]
    checkpoint: StorePath
    parent: int | None = None
    region_s: Region | None = None

    def settings(self) -> dict[str, Any]:
        """Everything but the tokens, as plain JSON values."""
        return {
            "seed": self.seed,
            "sampling": dataclasses.asdict(self.sampling),
            "acoustics": [scene and scene._asdict() for scene in self.acoustics],
            "checkpoint": str(self.checkpoint),
            "parent": self.parent,
            "region_s": self.region_s and list(self.region_s),
        }

    def save(self, path: pathlib.Path) -> None:
        """Writes an `.npz` file; `load` reads it.

        Raises:
            UserError: it cannot be written.
        """
        save_arrays(path, self.settings(), self.tokens)

    @classmethod
    def load(cls, path: pathlib.Path) -> "Take":
        """Reads what `save` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        settings, tokens = load_arrays(path)
        with reading(path):
            region_s = settings["region_s"]
            return cls(
                tokens=tokens,
                seed=settings["seed"],
                sampling=SamplingConfig(**settings["sampling"]),
                acoustics=tuple(scene and Acoustics(**scene) for scene in settings["acoustics"]),
                checkpoint=as_path(settings["checkpoint"]),
                parent=settings["parent"],
                region_s=None if region_s is None else tuple(region_s),
            )


@dataclasses.dataclass(frozen=True)
class FinishedTake:
    """What is known of a take whose tracks are done, without its tokens.

    Attributes:
        seed, parent, region_s: as of `Take`.
        mixdown: the gains of its tracks, as `Mixdown.describe` has them.
        spoken: the utterances, and when each is audible.
        threshold_dbfs: the highest level from which on its track was taken for speech; None: no speech.
        warnings: of its sound, one sentence each.
        sha256: digests of the file of its tokens, as "tokens", and of its tracks, by name.
        scores: by which it was ranked among others; None: cannot be had of this film.
    """

    seed: int
    mixdown: Mapping[str, Any]
    spoken: tuple[SpokenUtterance, ...] = ()
    threshold_dbfs: float | None = None
    parent: int | None = None
    region_s: Region | None = None
    warnings: tuple[str, ...] = ()
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    @property
    def loudness(self) -> Loudness | None:
        """What was measured of its mix; None: nothing was asked for."""
        measured = self.mixdown["loudness"]
        return None if measured is None else Loudness(**measured)

    @property
    def is_inaudible(self) -> bool:
        """Whether nothing of the script is audible, in a room quiet enough to tell."""
        is_silent = bool(self.spoken) and all(spoken.span_s is None for spoken in self.spoken)
        return is_silent and self.threshold_dbfs < HIDING_DBFS

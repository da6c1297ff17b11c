"""A take: the tokens of one generation, with all settings that they were sampled with."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualdub_jax.config import SamplingConfig
from dualdub_jax.config.streams import Stream
from dualdub_jax.dsp.acoustics import Acoustics
from dualdub_jax.stores.path import StorePath, as_path


@dataclasses.dataclass(frozen=True)
class Take:
    """Tokens of a whole film.

    Attributes:
        tokens: int32[T, Q] by stream in use.
        seed: of the sampler.
        sampling: its settings.
        acoustics: that both tracks are conditioned on, by scene; None: the model has no such condition.
        checkpoint: folder of the model.
    """

    tokens: Mapping[Stream, np.ndarray]
    seed: int
    sampling: SamplingConfig
    acoustics: tuple[Acoustics | None, ...]
    checkpoint: StorePath

    def settings(self) -> dict[str, Any]:
        """Everything but the tokens, as plain JSON values."""
        return {
            "seed": self.seed,
            "sampling": dataclasses.asdict(self.sampling),
            "acoustics": [scene and scene._asdict() for scene in self.acoustics],
            "checkpoint": str(self.checkpoint),
        }

    def save(self, path: os.PathLike[str]) -> None:
        """Writes an `.npz` file; `load` reads it.

        Raises:
            OSError: it cannot be written.
        """
        np.savez_compressed(path, settings=json.dumps(self.settings()), **self.tokens)

    @classmethod
    def load(cls, path: os.PathLike[str]) -> "Take":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            settings = json.loads(str(file["settings"]))
            tokens = {name: file[name] for name in file.files if name != "settings"}
        return cls(
            tokens=tokens,
            seed=settings["seed"],
            sampling=SamplingConfig(**settings["sampling"]),
            acoustics=tuple(scene and Acoustics(**scene) for scene in settings["acoustics"]),
            checkpoint=as_path(settings["checkpoint"]),
        )

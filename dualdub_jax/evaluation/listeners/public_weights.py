"""Metric models whose weights the user names: one folder a model under `--weights DIR`."""

import dataclasses
import json
import pathlib

from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS


@dataclasses.dataclass(frozen=True)
class Weights:
    """The converted weights of a public model; stands among a metric's requirements.

    Attributes:
        kind: key of `PUBLIC_MODELS`.
        root: the folder of `--weights`; None: not given.
    """

    kind: str
    root: pathlib.Path | None

    @property
    def path(self) -> pathlib.Path:
        """The model's folder."""
        return pathlib.Path(self.root or "", self.kind)

    @property
    def distribution(self) -> str:
        """Its name in reports."""
        return f"weights of {self.kind}"

    def missing(self) -> str | None:
        """What to bring, in one line; None if the folder is there."""
        if self.root is not None and (self.path / "config.json").is_file():
            return None
        model, root = PUBLIC_MODELS[self.kind], self.root or pathlib.Path("DIR")
        command = f"dualdub convert FILE {root / self.kind}"
        if self.root is None:
            command += f", then --weights {root}"
        return f"bring {model.title} ({model.licence}, {model.page}): {command}"

    def version(self) -> str:
        """Digest of the public file that was converted; "" without weights."""
        if self.missing():
            return ""
        return json.loads((self.path / "config.json").read_text(encoding="utf-8"))["sha256"]

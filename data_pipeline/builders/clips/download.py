"""Corpora that users download themselves: where each is, its licence, and its files."""

import dataclasses

from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath


@dataclasses.dataclass(frozen=True)
class Download:
    """A corpus that users download themselves.

    Attributes:
        corpus: its name.
        page: where it is.
        licence: of the corpus.
        layout: files that must be there, relative to the source.
    """

    corpus: str
    page: str
    licence: str
    layout: str

    def missing(self, source: StorePath) -> UserError:
        """The error of a source that is not this corpus."""
        return UserError(
            f"{source}: is no {self.corpus}; expected {self.layout} in it; download it from {self.page} "
            f"(licence: {self.licence}) and unpack it there"
        )

"""The contract of a builder: source items to records.

A corpus is one subclass of `Builder` in one file. `dualdub data build` finds it by name (`registry.py`) or by
import path, and one generic writer turns its records into an ArrayRecord dataset (`record_writer.py`). What
the writer demands of a builder is what this file documents.
"""

import abc
import argparse
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from dualdub_jax.data_pipeline.record import Record

# Whatever a builder makes records of: an index, a path, a stretch of a film. It is pickled.
Item = Any


@dataclasses.dataclass(frozen=True)
class Dropped:
    """A source item, or a part of one, that gave no record.

    Attributes:
        source: its name, such as a path.
        reason: why, in a few words; items are counted by it.
        detail: what else a user needs to mend it.
        stage: of the builder's work, such as "open" or "cut".
    """

    source: str
    reason: str
    detail: str = ""
    stage: str = ""


class Builder(abc.ABC):
    """Turns the items of one source into records.

    A builder is immutable and picklable: it is sent to worker processes. `make_records` is a pure function of
    the builder, the config and the item, so a dataset has the same bytes for any number of processes.

    Attributes:
        name: of the builder, on the command line and in the registry.
        version: of what it writes, "major.minor.patch"; raised when the same source gives other bytes.
        description: one sentence, kept with the dataset.
        configs: name -> description of each variant of the corpus, such as one for each curriculum stage.
            A corpus without variants leaves it empty; its only config is "".
        unit: what items are, in the plural, for the progress bar.
        example: options of a command that builds it, for its `--help`.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1.0.0"
    description: ClassVar[str] = ""
    configs: ClassVar[Mapping[str, str]] = {}
    unit: ClassVar[str] = "items"
    example: ClassVar[str] = ""

    @classmethod  # noqa: B027 (a builder may have no options)
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        """Adds the builder's own options to `dualdub data build NAME`.

        Each option's `dest` is a parameter of the constructor. `--out` and `--processes` are taken.
        """

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> Self:
        """The builder that the options of the command line describe."""
        names = inspect.signature(cls).parameters
        return cls(**{name: getattr(args, name) for name in names if hasattr(args, name)})

    @property
    def dataset_name(self) -> str:
        """Folder of the dataset, `DATA_DIR/dataset_name[/config]/version`; by default the builder's name."""
        return self.name

    def check(self) -> None:  # noqa: B027 (a builder may have nothing to check)
        """Fails before any work is done if the source cannot be read.

        Raises:
            UserError: a source, a package or an option that the user can mend.
        """

    @abc.abstractmethod
    def recipe(self, config: str) -> Mapping[str, Any]:
        """All that the bytes of a config depend on beside `version`, as JSON.

        A dataset that is already there is left as it is if it was built with an equal recipe, and refused
        otherwise.
        """

    @abc.abstractmethod
    def splits(self, config: str) -> Mapping[str, Sequence[Item]]:
        """Split -> its items. Splits in which no item gives a record are not written."""

    @abc.abstractmethod
    def make_records(self, config: str, item: Item) -> Iterator[Record | Dropped]:
        """Makes the records of one item, each with an id that is unique in the config.

        Called in a worker process, which writes each record to disk before it asks for the next. What the
        user can mend in one item (a damaged file) is a `Dropped`, not an error.
        """

"""The held-out sets of a mixture: one per dataset, of a split that training does not read."""

from collections.abc import Callable, Sequence

from dualdub_jax.config import SourceConfig
from dualdub_jax.data_pipeline.mixture import find_dataset
from dualdub_jax.errors import UserError
from dualdub_jax.training.held_out import HeldOutSet, HeldOutSets

SPLITS = ("validation", "val", "test")


def open_held_out(
    data_dir: str,
    mixture: Sequence[SourceConfig],
    make_batches: Callable[[SourceConfig, str], object],
) -> HeldOutSets:
    """Opens the held-out sets of a mixture.

    Args:
        data_dir: the folder that datasets are in.
        mixture: names, weights and splits.
        make_batches: `make_batches(source, split)`, a finite iterator over the batches of one dataset.

    Raises:
        UserError: a dataset that cannot be opened, or a split that is named and does not exist.
    """
    sets, missing = [], []
    for source in mixture:
        names = find_dataset(data_dir, source.name).splits
        if source.held_out_split and source.held_out_split not in names:
            raise UserError(
                f"{source.name}: held_out_split={source.held_out_split!r} of its entry in the mixture is not "
                f"there; it has {', '.join(sorted(names))}"
            )
        split = source.held_out_split or next((name for name in SPLITS if name in names), "")
        if split:
            sets.append(HeldOutSet(source.name, source.weight, make_batches(source, split)))
        else:
            missing.append(source.name)
    return HeldOutSets(sets, missing)

"""Records of every dataset of a run: a sample of each, with all transforms that its phases apply."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dualdub_jax.config import BadRecordConfig, Config
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.preflight.uses import Use
from dualdub_jax.data_pipeline.mixture import Source, open_mixture
from dualdub_jax.data_pipeline.prepared import with_features
from dualdub_jax.data_pipeline.record_check import Findings, check_records
from dualdub_jax.training.bad_records import allowed, too_many

_SAMPLE = 128  # records of a dataset
_LIMIT_S = 5.0  # for a dataset


def open_sources(config: Config, uses: Sequence[Use], problems: Problems) -> dict[str, Source]:
    """Opens the mixtures of all uses.

    Args:
        config: of the run.
        uses: of its data.
        problems: is added to.

    Returns:
        Dataset -> its source, with video features if a stage reads them; without those that cannot be opened.
    """
    opened: dict[str, Source] = {}
    for use in uses:
        with problems.noted():
            sources = open_mixture(config.data_dir, use.mixture, "train", use.where)
            if use.kind == "example":
                opened |= {source.name: source for source in with_features(config, sources)}
            else:
                opened = {source.name: source for source in sources} | opened
    return opened


def check_samples(
    config: Config, uses: Sequence[Use], opened: Mapping[str, Source], problems: Problems
) -> dict[str, Findings]:
    """Checks a random sample of each dataset, the same in every run, with the transforms of all uses.

    Args:
        config: of the run.
        uses: of its data.
        opened: datasets, see `open_sources`.
        problems: is added to.
    """
    found = {}
    for name, source in opened.items():
        reading = [use for use in uses if name in [other.name for other in use.mixture]]
        named = {(use.kind, use.dropped_of(name)): use for use in reading}
        made = [use.transform(name) for use in named.values()]
        indices = sample(len(source.records))
        found[name] = check_records(name, source.records, made, indices, limit_s=_LIMIT_S)
        check_findings(name, found[name], config.bad_records, problems)
    return found


def sample(num_records: int) -> Iterable[int]:
    """Indices of a random sample without replacement; all of a small dataset."""
    return np.random.default_rng(0).permutation(num_records)[:_SAMPLE].tolist()


def check_findings(name: str, findings: Findings, config: BadRecordConfig, problems: Problems) -> None:
    """Compares the bad records of a dataset with the accepted share.

    A sample can have more than the share by chance, so three standard deviations are added to it.
    """
    if not findings.bad:
        return
    limit = allowed(findings.num_records, config)
    mean = config.max_share * findings.num_checked
    if len(findings.bad) > limit or (
        config.max_share and len(findings.bad) > max(mean + 3 * math.sqrt(mean), 1)
    ):
        checked = "" if findings.num_checked == findings.num_records else f" ({findings.num_checked} checked)"
        problems.add(f"{name}{checked}: {too_many(findings.bad, limit, config)}")

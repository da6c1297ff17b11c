"""Labels that parts of a config learn from: a part whose labels are nowhere in the data is refused.

It would be trained with a loss of zero and then used: an acoustics renderer that saw no label distorts every
track, silently.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dualdub_jax.codecs.registry import codec_training
from dualdub_jax.config import Config
from dualdub_jax.curriculum.batches import no_batches
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.preflight.uses import Use
from dualdub_jax.curriculum.video_encoder import PHASE_NAME as VIDEO
from dualdub_jax.data_pipeline.record_check import Findings

_CONDITIONS = ("video", "script", "voice")
# Where records have a label.
_SOURCE = {
    "acoustics": "events.acoustics",
    "phonemes": "events.speech.phonemes",
    "word times": "events.speech.words",
    "voice": "a reference voice",
}


def check_labels(
    config: Config,
    uses: Sequence[Use],
    findings: Mapping[str, Findings],
    initial: Config | None,
    problems: Problems,
) -> list[str]:
    """Checks that the labels of each part are in the data that trains it.

    Args:
        config: of the run.
        uses: of its data that are still to be trained on.
        findings: by dataset; uses with a dataset that is not in it, or has no usable record, are left out.
        initial: the config of the bundle `model_from`, whose parts are trained already; None: none.
        problems: is added to.

    Returns:
        Notes on what the model will not learn.
    """
    usable = {name for name, found in findings.items() if found.num_checked > len(found.bad)}
    uses = [use for use in uses if use.mixture and all(source.name in usable for source in use.mixture)]
    for use in uses:
        if use.stream is not None:
            _check_codec(config, use, findings, problems)
    examples = [use for use in uses if use.kind == "example"]
    for use in examples:
        labels = _labels(use, findings)
        if not {"speech", "background"} & labels:
            problems.add(
                f"{use.where}: no example has a speech or background stem to predict; name another dataset"
                + (f", or drop less than {', '.join(use.dropped)}" if use.dropped else "")
            )
        if VIDEO in use.phases and not _has(labels, "video"):
            problems.add(f"{use.where}: no record has video; name another dataset, or set "
                         "--config.video_training.num_steps=0")  # fmt: skip
    stages = [use for use in examples if VIDEO not in use.phases]
    if config.task != "soundtrack" or not stages or len(stages) < len(config.stages):
        return []  # parts of the model may be trained by the other stages
    return _check_model(config, stages, findings, initial, problems)


def _check_codec(config: Config, use: Use, findings: Mapping[str, Findings], problems: Problems) -> None:
    training = codec_training(config, use.stream, no_batches)
    labels = _labels(use, findings)
    for label, key in getattr(training, "labels", {}).items():
        key = f"streams.{use.stream}.codec.{key}"
        # Phonemes and the reference voice are those of speech.
        if label not in labels or (use.stream != "speech" and label in ("phonemes", "voice")):
            problems.add(_missing(label, key, [use], findings, f"--config.{key}=0"))


class _Part(NamedTuple):
    """A part of the model: the label that it learns from, its key, and how it is switched off."""

    label: str
    key: str
    switch_off: str
    is_used: bool
    is_initialised: bool  # from a bundle in which it is trained


def _model_parts(config: Config, initial: Config | None) -> list[_Part]:
    model, loss = config.model, config.loss
    num_bins, has_bundle = model.num_acoustics_bins, initial is not None
    weights = {"speech": loss.speech_weight, "background": loss.background_weight}
    return [
        *(
            _Part(stream, f"loss.{stream}_weight", f"--config.loss.{stream}_weight=0", weight > 0, has_bundle)
            for stream, weight in weights.items()
        ),
        _Part(
            "acoustics",
            "model.num_acoustics_bins",
            "--config.model.num_acoustics_bins=0",
            num_bins > 0,
            has_bundle and initial.model.num_acoustics_bins == num_bins,
        ),
        _Part(
            "word times",
            "model.aligner.use_script",
            "--config.model.aligner.use_script=false, or --config.loss.alignment_weight=0 to go without",
            model.aligner.use_script and loss.alignment_weight > 0,
            has_bundle and initial.model.aligner.use_script,
        ),
    ]


def _check_model(
    config: Config,
    stages: Sequence[Use],
    findings: Mapping[str, Findings],
    initial: Config | None,
    problems: Problems,
) -> list[str]:
    labels = set().union(*(_labels(use, findings) for use in stages))
    if config.model.voice_source == "target" and "speech" in labels:
        labels.add("voice")
    notes = []
    for part in _model_parts(config, initial):
        if part.label in labels or not part.is_used:
            continue
        if part.is_initialised:
            notes.append(f"no stage has {part.label}: what {part.key} trains stays as in model_from")
        else:
            problems.add(_missing(part.label, part.key, stages, findings, part.switch_off))
    if absent := [part for part in _CONDITIONS if not _has(labels, part)]:
        notes.append(f"no stage has {', '.join(absent)}: the model does not learn to follow it")
    return notes


def _labels(use: Use, findings: Mapping[str, Findings]) -> set[str]:
    """Labels that at least one checked record of a mixture has, after dropping."""
    return {label for source in use.mixture for label in _labels_of(use, source.name, findings)}


def _labels_of(use: Use, name: str, findings: Mapping[str, Findings]) -> set[str]:
    dropped = set(use.dropped_of(name))
    found = set(findings[name].labels) - dropped
    if "video" in dropped:
        found -= {"video_features"}
    if {"script", "speech"} & dropped:
        found -= {"word times"}
    return found


def _has(labels: set[str], part: str) -> bool:
    return part in labels or (part == "video" and "video_features" in labels)


def _missing(label: str, key: str, uses: Sequence[Use], findings: Mapping[str, Findings], mend: str) -> str:
    names = {source.name for use in uses for source in use.mixture}
    checked = sum(findings[name].num_checked for name in names)
    what = _SOURCE.get(label, f"a {label} stem")
    return (
        f"{key}: none of the {checked} records checked of {', '.join(sorted(names))} has {what}, which it is "
        f"trained on; add such labels, or switch it off: {mend}"
    )

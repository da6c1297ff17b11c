"""Labels that parts of a config learn from: a part whose labels are nowhere in the data is refused.

It would be trained with a loss of zero and then used: an acoustics renderer that saw no label distorts every
track, silently.
"""

from collections.abc import Mapping, Sequence

from dualdub_jax.codecs.registry import codec_training
from dualdub_jax.config import Config
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.preflight.uses import Use
from dualdub_jax.curriculum.video_encoder import PHASE_NAME as VIDEO
from dualdub_jax.data_pipeline.record_check import Findings
from dualdub_jax.types import STREAMS

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
        findings: by dataset; uses with a dataset that is not in it are left out.
        initial: the config of the bundle `model_from`, whose parts are trained already; None: none.
        problems: is added to.

    Returns:
        Notes on what the model will not learn.
    """
    uses = [use for use in uses if use.mixture and all(source.name in findings for source in use.mixture)]
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
    training = codec_training(config, use.stream, lambda *_: None)
    labels = _labels(use, findings)
    for label, key in getattr(training, "labels", {}).items():
        key = f"streams.{use.stream}.codec.{key}"
        # Phonemes and the reference voice are those of speech.
        if label not in labels or (use.stream != "speech" and label in ("phonemes", "voice")):
            problems.add(_missing(label, use.where, use, findings, f"--config.{key}=0"))


def _check_model(
    config: Config,
    stages: Sequence[Use],
    findings: Mapping[str, Findings],
    initial: Config | None,
    problems: Problems,
) -> list[str]:
    labels = set().union(*(_labels(use, findings) for use in stages))
    needed = [
        (stream, f"loss.{stream}_weight", f"--config.loss.{stream}_weight=0", True) for stream in STREAMS
    ]
    model = config.model
    needed.append(
        ("acoustics", "model.num_acoustics_bins", "--config.model.num_acoustics_bins=0",
         initial is not None and initial.model.num_acoustics_bins == model.num_acoustics_bins)
    )  # fmt: skip
    needed.append(
        ("word times", "model.aligner.use_script", "--config.model.aligner.use_script=false, or "
         "--config.loss.alignment_weight=0 to train it without them",
         initial is not None and initial.model.aligner.use_script)
    )  # fmt: skip
    is_used = {
        "speech": config.loss.speech_weight,
        "background": config.loss.background_weight,
        "acoustics": model.num_acoustics_bins,
        "word times": model.aligner.use_script and config.loss.alignment_weight,
    }
    notes = []
    for label, key, mend, is_trained in needed:
        if label in labels or not is_used[label]:
            continue
        if initial is not None and is_trained:
            notes.append(f"no stage has {label}: what {key} trains stays as it is in model_from")
        else:
            problems.add(_missing(label, key, stages, findings, mend))
    if absent := [part for part in _CONDITIONS if not _has(labels, part)]:
        notes.append(f"no stage has {', '.join(absent)}: the model does not learn to follow it")
    return notes


def _labels(use: Use, findings: Mapping[str, Findings]) -> set[str]:
    """Labels that at least one checked record of a mixture has, after dropping."""
    found = {label for source in use.mixture for label in findings[source.name].labels}
    found -= set(use.dropped)
    if "video" in use.dropped:
        found -= {"video_features"}
    if {"script", "speech"} & set(use.dropped):
        found -= {"word times"}
    return found


def _has(labels: set[str], part: str) -> bool:
    return part in labels or (part == "video" and "video_features" in labels)


def _missing(
    label: str, key: str, uses: Use | Sequence[Use], findings: Mapping[str, Findings], mend: str
) -> str:
    names = {source.name for use in ([uses] if isinstance(uses, Use) else uses) for source in use.mixture}
    checked = sum(findings[name].num_checked for name in names)
    what = _SOURCE.get(label, f"a {label} stem")
    return (
        f"{key}: none of the {checked} records checked of {', '.join(sorted(names))} has {what}, which it is "
        f"trained on; add such labels, or switch it off: {mend}"
    )

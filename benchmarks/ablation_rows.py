"""The rows of `ablations.py`: the removed component and the training config of each."""

import dataclasses
from collections.abc import Mapping

from dualdub_jax.config import Config, SourceConfig
from dualdub_jax.curriculum.video_encoder import PHASE_NAME as VIDEO_ENCODER
from dualdub_jax.dubbing.window_batch import Condition

# Fractions of the steps of a run from random initialisation, close to those of the default's phases.
_CURRICULUM = {"video_encoder": 0.18, "text_speech": 0.32, "video_audio": 0.06, "soundtrack": 0.44}
# The paper's order of the first two stages, with the mixture of each.
_PAPER_ORDER = {
    "video_audio": {"video_audio": 1.0},
    "text_speech": {"video_audio": 0.5, "text_speech": 0.5},
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One model of a row.

    Attributes:
        sources: mixture weights of the Puppet Stage datasets in the last stage.
        drop: conditions and tracks removed from its clips, see `StageConfig.drop`.
    """

    sources: Mapping[str, float]
    drop: tuple[str, ...] = ()


_WHOLE = Part({"soundtrack": 0.7, "text_speech": 0.15, "video_audio": 0.15})


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        about: description.
        aligner: switches of the branches: non-causal, causal and script.
        kind: of the aligner; "": the base's.
        parts: models by name; with two, each generates one track.
        absent: conditions removed in training and generation.
        from_nothing: "" to start from the bundle's model; "curriculum", "paper_order" or "alone" (the last
            stage) to start from random initialisation.
    """

    about: str
    aligner: tuple[bool, bool, bool] = (True, True, True)
    kind: str = ""
    parts: Mapping[str, Part] = dataclasses.field(default_factory=lambda: {"": _WHOLE})
    absent: tuple[Condition, ...] = ()
    from_nothing: str = ""


ROWS = {
    "all": Row("aligner: non-causal, causal and script (the default)"),
    "no_causal": Row("aligner without its causal branch", aligner=(True, False, True)),
    "no_noncausal": Row("aligner without its non-causal branch", aligner=(False, True, True)),
    "no_script": Row("aligner without its script branch", aligner=(True, True, False)),
    "none": Row("aligner: none", aligner=(False, False, False)),
    "paper": Row("the paper's aligner, and script", kind="paper"),
    "paper_no_script": Row("the paper's aligner", (True, True, False), kind="paper"),
    "paper_no_causal": Row(
        "the paper's aligner, and script, without its causal attentions", (True, False, True), kind="paper"
    ),
    "no_room": Row("no acoustic condition", absent=("acoustics",)),
    "no_room_no_causal": Row(
        "no acoustic condition, aligner without its causal branch",
        aligner=(True, False, True),
        absent=("acoustics",),
    ),
    "cascade": Row(
        "cascade: two independent models, one per track, no acoustic condition",
        absent=("acoustics",),
        parts={
            "background": Part({"soundtrack": 0.7, "video_audio": 0.15}, ("script", "voice", "speech")),
            "speech": Part({"soundtrack": 0.7, "text_speech": 0.15}, ("background",)),
        },
    ),
    "no_video": Row("no video", absent=("video",)),
    "no_voice": Row("no voice", absent=("voice",)),
    "curriculum": Row("random initialisation, curriculum", from_nothing="curriculum"),
    "paper_order": Row("random initialisation, curriculum in the paper's order", from_nothing="paper_order"),
    "soundtrack_alone": Row("random initialisation, last stage only", from_nothing="alone"),
    "paper_alone": Row(
        "random initialisation, last stage only, the paper's aligner, and script",
        kind="paper",
        from_nothing="alone",
    ),
}


def row_config(base: Config, name: str, part: str, seed: int, num_steps: int) -> Config:
    """Derives the training config of one model of a row.

    Args:
        base: config of the curriculum and the model, which names the initial bundle.
        name: of the row.
        part: of the model in it.
        seed: of the training.
        num_steps: of the last stage; of all phases together for random initialisation.
    """
    row, of_part = ROWS[name], ROWS[name].parts[part]
    shares = _CURRICULUM if row.from_nothing in ("curriculum", "paper_order") else {"soundtrack": 1.0}
    steps = {phase: round(share * num_steps) for phase, share in shares.items()}
    stages = []
    for stage in base.stages:
        if stage.name in steps:
            optimizer = dataclasses.replace(
                stage.optimizer, warmup_steps=min(stage.optimizer.warmup_steps, steps[stage.name] // 5)
            )
            stage = dataclasses.replace(
                stage, num_steps=steps[stage.name], drop=(*of_part.drop, *row.absent), optimizer=optimizer
            )
            sources = _PAPER_ORDER.get(stage.name) if row.from_nothing == "paper_order" else None
            if stage.name == "soundtrack":
                sources = of_part.sources
            if sources is not None:
                mixture = [SourceConfig(f"puppet_stage/{each}", w) for each, w in sources.items()]
                stage = dataclasses.replace(stage, mixture=tuple(mixture))
            stages.append(stage)
    if row.from_nothing == "paper_order":
        stages.sort(key=lambda stage: [*_PAPER_ORDER, "soundtrack"].index(stage.name))
    films = base.video_training
    warmup = min(films.optimizer.warmup_steps, steps.get(VIDEO_ENCODER, 0) // 5)
    films = dataclasses.replace(
        films,
        num_steps=steps.get(VIDEO_ENCODER, 0),
        optimizer=dataclasses.replace(films.optimizer, warmup_steps=warmup),
    )
    switches = zip(("use_noncausal", "use_causal", "use_script"), row.aligner, strict=True)
    kind = row.kind or base.model.aligner.kind
    aligner = dataclasses.replace(base.model.aligner, kind=kind, **dict(switches))
    return dataclasses.replace(
        base,
        name=f"ablation_{name}",
        seed=seed,
        model=dataclasses.replace(base.model, aligner=aligner),
        model_from="" if row.from_nothing else base.model_from,
        video_training=films,
        stages=tuple(stages),
    )

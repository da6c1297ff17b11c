"""The phases of a run by name, and the phases that each builds on."""

from dualdub_jax.casp import training as casp
from dualdub_jax.codecs.registry import codec_training
from dualdub_jax.config import Config
from dualdub_jax.curriculum import start, video_encoder
from dualdub_jax.curriculum.batches import no_batches
from dualdub_jax.decoders.base import decoder_training, has_decoder


def phase_names(config: Config) -> list[str]:
    """Names of all phases, in order."""
    return list(prerequisites(config))


def prerequisites(config: Config) -> dict[str, list[str]]:
    """Phase -> the phases whose results it reads, in the order of the run.

    A stage reads the tokens of all codecs, the parameters of the stage before it, and perhaps the pre-trained
    video encoder.
    """
    if config.task == "casp":
        return {casp.PHASE_NAME: []}
    encoders: dict[str, list[str]] = {}
    decoders: dict[str, list[str]] = {}
    for stream in start.trained_streams(config):
        own: list[str] = []
        if (training := codec_training(config, stream, no_batches)) is not None:
            own = list(training.encoder_phases)
            encoders |= {name: own[:i] for i, name in enumerate(own)}
            decoders |= {name: own for name in training.decoder_phases}
        if has_decoder(config, stream):
            decoders |= {name: own for name in decoder_training(config, stream, no_batches).phases}
    found = encoders | decoders
    tokens = list(encoders)
    if config.video_training.num_steps:
        found[video_encoder.PHASE_NAME] = tokens
    before: list[str] = []
    for stage in config.stages:
        video = [video_encoder.PHASE_NAME] if stage.use_pretrained_video_encoder else []
        found[stage.name] = [*tokens, *video, *before]
        before = [*before, stage.name]
    return found


def dependents(config: Config, name: str) -> list[str]:
    """Names of the phases that start from the result of a phase, or of one that does, in order."""
    stale = {name}
    for other, needed in prerequisites(config).items():
        if stale & set(needed):
            stale.add(other)
    return [other for other in phase_names(config) if other in stale - {name}]

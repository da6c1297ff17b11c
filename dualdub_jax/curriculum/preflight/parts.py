"""Everything that a config names: classes by kind or import path, tokenizers, bundles, extractors."""

import dataclasses
import pathlib

from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS, how_to_get
from dualdub_jax.codecs.registry import codec_config, codec_training, grid_spec
from dualdub_jax.config import Config
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.batches import no_batches
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.run_config import FILE_NAME as RUN_CONFIG
from dualdub_jax.decoders.base import decoder_training, has_decoder
from dualdub_jax.encoders.base import SCRIPT_ENCODERS, SPEAKER_ENCODERS, VIDEO_ENCODERS, FeatureExtractor
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.models.aligners.base import ALIGNERS
from dualdub_jax.models.backbone import BACKBONES
from dualdub_jax.models.heads import HEADS
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.text.tokenizer import Tokenizer, make_tokenizer
from dualdub_jax.types import STREAMS, Stream


@dataclasses.dataclass(frozen=True)
class Parts:
    """What was found of a config's parts.

    Attributes:
        tokenizer: of the scripts; None: it cannot be made.
        extractor: of video features; None: none, or it cannot be made.
        initial: the config of the source `model_from`; None: none.
    """

    tokenizer: Tokenizer | None = None
    extractor: FeatureExtractor | None = None
    initial: Config | None = None


def check_parts(config: Config, problems: Problems) -> Parts:
    """Imports and opens the parts of a config; reads no arrays.

    Args:
        config: of the run.
        problems: is added to.
    """
    if config.task == "casp":
        if config.casp_training.audio_encoder:
            with problems.noted():
                start.check_audio_encoder(config)
        return Parts()
    model = config.model
    for slot, kind in (
        (SCRIPT_ENCODERS, model.script_encoder),
        (SPEAKER_ENCODERS, model.speaker_encoder),
        (VIDEO_ENCODERS, model.video.kind),
        (ALIGNERS, model.aligner.kind),
        (BACKBONES, model.backbone),
        *((HEADS, config.streams[stream].head) for stream in STREAMS),
    ):
        with problems.noted():
            slot.find(kind)
    for stream in STREAMS:
        with problems.noted():
            grid_spec(config, stream)
            if stream in start.trained_streams(config) and not codec_training(config, stream, no_batches):
                _check_public_weights(config, stream, problems)
        with problems.noted():
            if has_decoder(config, stream) and stream in start.trained_streams(config):
                decoder_training(config, stream, no_batches)
    tokenizer = extractor = initial = None
    with problems.noted():
        tokenizer = make_tokenizer(model)
        num_tokens = len(tokenizer.encode(model.background_prompt))
        if num_tokens > config.grid.num_script_tokens:
            problems.add(
                f"model.background_prompt: has {num_tokens} tokens with the markers, more than "
                f"grid.num_script_tokens={config.grid.num_script_tokens}; shorten it, or raise that"
            )
    with problems.noted():
        extractor = make_extractor(config)
    if problems.messages:  # a bundle is compared with parts that exist
        _check_folders(config, problems)
        return Parts(tokenizer, extractor)
    if config.codecs_from:
        with problems.noted():
            start.check_codecs(config, make_mesh(config.mesh))
    if config.model_from:
        with problems.noted():
            initial = start.check_model(config, make_mesh(config.mesh))
    return Parts(tokenizer, extractor, initial)


def _check_public_weights(config: Config, stream: Stream, problems: Problems) -> None:
    """Notes a folder that is missing; its content is read when the run begins."""
    codec = codec_config(config, stream)
    if codec.kind in PUBLIC_MODELS and not (codec.path and pathlib.Path(codec.path).is_dir()):
        where = codec.path or f"streams.{stream}.codec.path"
        problems.add(f"{where}: no such folder; {how_to_get(codec.kind)}")


def _check_folders(config: Config, problems: Problems) -> None:
    for key in ("codecs_from", "model_from"):
        path = getattr(config, key)
        if not path:
            continue
        with problems.noted():
            if not _is_source(reached(as_path(path, key))):
                problems.add(
                    f"{key}={path}: neither a bundle nor a run; give a bundle/ folder or a --workdir"
                )


def _is_source(path: StorePath) -> bool:
    """Whether a path looks like a bundle, a run, or a stage or checkpoint in one."""
    in_run = any((folder / RUN_CONFIG).is_file() for folder in (path, path.parent, path.parent.parent))
    return (path / "config.json").is_file() or (path.is_dir() and in_run)

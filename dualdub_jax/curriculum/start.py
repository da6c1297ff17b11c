"""What a run takes from a bundle or another run: codecs, parameters of the model, CASP's audio encoder.

`config.codecs_from` trains another language model on existing codecs, or trains those of the streams
`config.train_codecs` further. `config.model_from` fine-tunes an existing model on other data, with other
stages, or in a fork whose model has additional parts.
"""

import contextlib
import dataclasses
from typing import Any

from flax import traverse_util
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import part_names, sharded_params
from dualdub_jax.casp import bundle as casp_bundle
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.registry import codec_config
from dualdub_jax.config import Config, VideoFeaturesConfig
from dualdub_jax.curriculum.sources import Source, open_source
from dualdub_jax.decoders.flow_matching.config import DECODING_KEYS
from dualdub_jax.encoders.base import FEATURE_EXTRACTORS
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.parts.slot import with_sizes
from dualdub_jax.stores.path import absolute as absolute_path
from dualdub_jax.stores.path import as_path
from dualdub_jax.training.settings import differences, settings_of
from dualdub_jax.types import STREAMS, Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays

_MAX_NAMES = 3  # array names in a message
# Keys that affect a codec's training only.
_TRAINING_KEYS = ("training", "ema_decay", "num_unquantised_steps", "phonetic_dim")


def with_absolute_paths(config: Config) -> Config:
    """The config with absolute paths of its sources, so that a run can be exported from any folder.

    Likewise of the weights that a feature extractor reads, which bundles name and do not contain.

    Raises:
        UserError: `train_codecs` has no stream of that name, or no `codecs_from`.
    """
    for stream in config.train_codecs:
        if stream not in STREAMS:
            raise UserError(f"config.train_codecs: {stream!r} is none of the streams {', '.join(STREAMS)}")
    if config.train_codecs and not config.codecs_from:
        raise UserError(
            "config.train_codecs: only goes with config.codecs_from; without it, all codecs are trained"
        )
    paths = {key: getattr(config, key) for key in ("codecs_from", "model_from")}
    absolute: dict[str, Any] = {
        key: str(absolute_path(as_path(path, key))) for key, path in paths.items() if path
    }
    if backbone := config.init_from.backbone:
        backbone = str(absolute_path(as_path(backbone, "init_from.backbone")))
        absolute["init_from"] = dataclasses.replace(config.init_from, backbone=backbone)
    return dataclasses.replace(config, **absolute, video_features=_with_absolute_path(config.video_features))


def _with_absolute_path(features: VideoFeaturesConfig) -> VideoFeaturesConfig:
    sizes: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # what cannot be found is reported by the check of the run
        sizes = FEATURE_EXTRACTORS.find(features.extractor)[1]
    if not sizes.get("path"):
        return features
    place = str(absolute_path(as_path(sizes["path"], "config.video_features.extractor")))
    return dataclasses.replace(features, extractor=with_sizes(features.extractor, {**sizes, "path": place}))


def trained_streams(config: Config) -> tuple[Stream, ...]:
    """The streams whose codecs the run trains, from random values or from `config.codecs_from`."""
    return tuple(s for s in STREAMS if not config.codecs_from or s in config.train_codecs)


def read_codecs(config: Config, mesh: Mesh) -> dict[str, PyTree]:
    """Reads codecs and waveform decoders from `config.codecs_from`.

    Standard output lists what was taken.

    Args:
        config: of the run.
        mesh: on which the arrays are placed.

    Returns:
        By name, as in a bundle: "speech_codec", "background_codec", and "<stream>_decoder" if any. Those of
        streams that are not trained are complete. Of the others, they are the initial values, and None if
        the source has none.

    Raises:
        UserError: neither a bundle nor a run; frozen codecs that differ from the config's; no shared
            parameter; an array of another shape.
    """
    parts = {}
    for part, (source, target) in _codec_targets(config, mesh).items():
        parts[part] = None if target is None else _read(source, part, target)
        if part.partition("_")[0] in trained_streams(config):
            _report_initial(config, "codecs_from", source, part, mesh)
        else:
            _report(f"codecs_from {config.codecs_from}: {part}: {len(target)} arrays, frozen")
    return parts


def check_codecs(config: Config, mesh: Mesh) -> None:
    """Checks that `config.codecs_from` fits the config's codecs; reads no arrays of a bundle.

    Raises:
        UserError: as `read_codecs`.
    """
    _codec_targets(config, mesh)


def _codec_targets(config: Config, mesh: Mesh) -> dict[str, tuple[Source, dict[str, Any] | None]]:
    """By part, its source and the arrays to read; None: the source lacks a part that may be absent."""
    source = open_source(as_path(config.codecs_from, "codecs_from"), "codecs_from", mesh)
    targets = {}
    for part in part_names(config)[1:]:
        stream = part.partition("_")[0]
        if stream in trained_streams(config):
            # A fork may add a waveform decoder to existing codecs.
            is_absent = part.endswith("_decoder") and not source.shapes(part)
            targets[part] = source, None if is_absent else _shared(config, "codecs_from", source, part, mesh)
        else:
            _check_settings(config, source.config, stream)
            target = sharded_params(config, mesh, [part])
            shapes = {part: traverse_util.unflatten_dict(source.shapes(part), sep="/")}
            check_shapes(target, shapes, config.codecs_from)
            targets[part] = source, _flat(target[part])
    return targets


def _check_settings(config: Config, saved: Config, stream: Stream) -> None:
    """Checks that a frozen codec and its waveform decoder are those of the config."""
    kinds = [each.streams[stream].codec.kind for each in (saved, config)]
    found = [(f"streams.{stream}.codec.kind", *kinds)] if kinds[0] != kinds[1] else []
    if not found:
        saved_settings, settings = (
            settings_of(
                without=(*_TRAINING_KEYS, *DECODING_KEYS),
                codec=codec_config(each, stream),
                decoder=each.streams[stream].decoder,
            )
            for each in (saved, config)
        )
        found = [
            (f"streams.{stream}.{k}", *values) for k, *values in differences(saved_settings.values, settings)
        ]
    for key, saved_value, value in found:
        raise UserError(
            f"codecs_from={config.codecs_from}: its {key} is {saved_value}, but the config's is {value}; "
            f"pass --config.{key}={saved_value}, or train it further: --config.train_codecs='[\"{stream}\"]'"
        )


def read_model(config: Config, mesh: Mesh, *, is_whole: bool = False) -> PyTree:
    """Reads the parameters that `config.model_from` shares with this config's model.

    Parameters of the model that the source lacks are initialised at random; parameters of the source that the
    model lacks are ignored. Standard output lists both.

    Args:
        config: of the run.
        mesh: on which the arrays are placed.
        is_whole: the model is not trained, so that the source must have all of it.

    Returns:
        A part of the model's tree, float32 arrays.

    Raises:
        UserError: neither a bundle nor a run, no shared parameter, or an array of another shape.
    """
    source, target = _model_target(config, mesh, is_whole=is_whole)
    _report_initial(config, "model_from", source, "model", mesh)
    return _read(source, "model", target)


def check_model(config: Config, mesh: Mesh) -> Config:
    """Checks that `config.model_from` fits the config's model; reads no arrays of a bundle.

    Returns:
        The config of the source.

    Raises:
        UserError: as `read_model`.
    """
    return _model_target(config, mesh, is_whole=not config.stages)[0].config


def _model_target(config: Config, mesh: Mesh, *, is_whole: bool) -> tuple[Source, dict[str, Any]]:
    source = open_source(as_path(config.model_from, "model_from"), "model_from", mesh)
    if is_whole:
        target = sharded_params(config, mesh, ["model"])
        shapes = traverse_util.unflatten_dict(source.shapes("model"), sep="/")
        check_shapes(target, {"model": shapes}, config.model_from)
    return source, _shared(config, "model_from", source, "model", mesh)


def _shared(config: Config, key: str, source: Source, part: str, mesh: Mesh) -> dict[str, Any]:
    """The arrays of a part that the source and the config share, by path, with their shardings."""
    path, saved = getattr(config, key), source.shapes(part)
    expected = _flat(sharded_params(config, mesh, [part])[part])
    common = {name: expected[name] for name in saved if name in expected}
    if not common:
        raise UserError(
            f"{key}={path}: shares no parameter with the config's {part}; "
            "name a bundle or a run of the same architecture"
        )
    for name in common:
        if saved[name].shape != expected[name].shape:
            raise UserError(
                f"{key}={path}: of another model size: {part}/{name} is {saved[name].shape} in it and "
                f"{expected[name].shape} in the config; use the sizes of its config"
            )
    return common


def _report_initial(config: Config, key: str, source: Source, part: str, mesh: Mesh) -> None:
    """Prints what of a part is taken, initialised at random, and ignored."""
    what = f"{key} {getattr(config, key)}" + (f": {part}" if part != "model" else "")
    saved, expected = source.shapes(part), _flat(sharded_params(config, mesh, [part])[part])
    if not saved:
        _report(f"{what}: not in it, initialised at random")
        return
    _report(
        f"{what}: {sum(name in expected for name in saved)} arrays restored"
        + _listed("initialised at random", [name for name in expected if name not in saved])
        + _listed("of it ignored", [name for name in saved if name not in expected])
    )


def read_audio_encoder(config: Config) -> PyTree:
    """Reads the BEATs parameters that `config.casp_training.audio_encoder` names.

    Raises:
        UserError: no such weights, or weights of other sizes than `config.casp.encoder`.
    """
    check_audio_encoder(config)
    return casp_bundle.load(config.casp_training.audio_encoder, "beats")[1]


def check_audio_encoder(config: Config) -> None:
    """Checks the sizes of `config.casp_training.audio_encoder`; raises as `read_audio_encoder`."""
    path = config.casp_training.audio_encoder
    if casp_bundle.read_header(path, "beats")[0] != config.casp.encoder:
        raise UserError(
            f"casp_training.audio_encoder={path}: its sizes differ from casp.encoder; "
            "set casp.encoder to those in its config.json"
        )


def _read(source: Source, part: str, target: dict[str, Any]) -> PyTree:
    return traverse_util.unflatten_dict(source.read(part, target), sep="/")


def _flat(tree: PyTree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _report(line: str) -> None:
    if distributed.is_first():
        print(line, flush=True)


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > _MAX_NAMES else ""
    return f"; {len(names)} {what}: {', '.join(names[:_MAX_NAMES])}{more}"

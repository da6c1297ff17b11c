"""Initialisation from a bundle: codecs, parameters of the language model, and CASP's audio encoder.

`config.codecs_from` trains another language model on existing codecs. `config.model_from` fine-tunes an
existing model on other data, with other stages, or in a fork whose model has additional parts.
"""

from typing import Any

from flax import traverse_util
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_shapes
from dualdub_jax.casp import bundle as casp_bundle
from dualdub_jax.config import Config
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.training.settings import differences, settings_of
from dualdub_jax.types import STREAMS, Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays

_MAX_NAMES = 3  # array names in a message
# Keys that affect a codec's training only.
_TRAINING_KEYS = ("training", "ema_decay", "num_unquantised_steps", "phonetic_dim")


def read_codecs(config: Config, mesh: Mesh) -> dict[Stream, PyTree]:
    """Reads the variables of both codecs and of their waveform decoders from the bundle `config.codecs_from`.

    Args:
        config: of the run; its codecs must be those of the bundle.
        mesh: on which the arrays are placed.

    Returns:
        By name, as in a bundle: "speech_codec", "background_codec", and "<stream>_decoder" if any.

    Raises:
        UserError: not a bundle, or its codecs differ from the config's.
    """
    check_codecs(config)
    _, params = load_bundle(as_path(config.codecs_from, "codecs_from"), mesh=mesh)
    return {name: variables for name, variables in params.items() if name != "model"}


def check_codecs(config: Config) -> None:
    """Checks that `config.codecs_from` has the config's codecs; reads no arrays.

    Raises:
        UserError: as `read_codecs`.
    """
    directory = as_path(config.codecs_from, "codecs_from")
    saved, _ = read_bundle_shapes(directory)
    for stream in STREAMS:
        saved_settings, settings = (
            settings_of(
                without=_TRAINING_KEYS, codec=each.streams[stream].codec, decoder=each.streams[stream].decoder
            )
            for each in (saved, config)
        )
        for key, saved_value, value in differences(saved_settings.values, settings):
            key = f"streams.{stream}.{key}"
            raise UserError(
                f"codecs_from={directory}: its {key} is {saved_value}, but the config's is {value}; "
                f"pass --config.{key}={saved_value}"
            )


def read_model(config: Config, mesh: Mesh) -> PyTree:
    """Reads the parameters that the bundle `config.model_from` shares with this config's model.

    Parameters of the model that the bundle lacks are initialised at random; parameters of the bundle that the
    model lacks are ignored. Standard output lists both.

    Args:
        config: of the run.
        mesh: on which the arrays are placed.

    Returns:
        A part of the model's tree, float32 arrays.

    Raises:
        UserError: not a bundle, no shared parameter, or an array of another shape.
    """
    directory = as_path(config.model_from, "model_from")
    _, params = load_bundle(directory, mesh=mesh)
    saved = traverse_util.flatten_dict(params["model"], sep="/")
    expected = _expected_model(config)
    common = _shared(saved, expected, directory)
    if distributed.is_first():
        print(
            f"model_from {directory}: {len(common)} arrays restored"
            + _listed("initialised at random", [name for name in expected if name not in saved])
            + _listed("of the bundle ignored", [name for name in saved if name not in expected]),
            flush=True,
        )
    return traverse_util.unflatten_dict(common, sep="/")


def check_model(config: Config) -> Config:
    """Checks that `config.model_from` fits the config's model; reads no arrays.

    Returns:
        The config of the bundle.

    Raises:
        UserError: as `read_model`.
    """
    directory = as_path(config.model_from, "model_from")
    saved_config, shapes = read_bundle_shapes(directory)
    _shared(traverse_util.flatten_dict(shapes["model"], sep="/"), _expected_model(config), directory)
    return saved_config


def _expected_model(config: Config) -> dict[str, Any]:
    return traverse_util.flatten_dict(abstract_params(config)["model"], sep="/")


def _shared(saved: dict[str, Any], expected: dict[str, Any], directory: StorePath) -> dict[str, Any]:
    """Arrays, or shapes, of the bundle that the config's model has too, by path."""
    common = {name: array for name, array in saved.items() if name in expected}
    if not common:
        raise UserError(
            f"model_from={directory}: shares no parameter with the config's model; "
            "name a bundle of the same architecture"
        )
    for name, array in common.items():
        if array.shape != expected[name].shape:
            raise UserError(
                f"model_from={directory}: of another model size: {name} is {array.shape} in the bundle and "
                f"{expected[name].shape} in the config; use the sizes of its config.json"
            )
    return common


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


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > _MAX_NAMES else ""
    return f"; {len(names)} {what}: {', '.join(names[:_MAX_NAMES])}{more}"

"""What a run takes from a bundle instead of training it: the codecs, and the parameters it starts from.

`config.codecs_from` is for another language model on codecs that are there; `config.model_from` for going on
from one that is trained: other data, other stages, or a fork whose model has parts of its own.
"""

import pathlib
from typing import Any

from flax import traverse_util
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_header
from dualdub_jax.config import Config
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.training.settings import differences, settings_of
from dualdub_jax.types import STREAMS, Stream

PyTree = Any

_NAMED = 3  # arrays that a message names
# Keys of a codec's training, which do not matter to its use.
_OF_TRAINING = ("training", "ema_decay", "num_unquantised_steps", "phonetic_dim")


def read_codecs(config: Config, mesh: Mesh) -> dict[Stream, PyTree]:
    """Both codecs' variables, and those of their waveform decoders, out of the bundle `config.codecs_from`.

    Args:
        config: of the run; its codecs must be those of the bundle.
        mesh: where they go.

    Returns:
        By name, as in a bundle: "speech_codec", "background_codec", and "<stream>_decoder" where there is
        one.

    Raises:
        UserError: no bundle, or codecs of other sizes than the config's.
    """
    directory = pathlib.Path(config.codecs_from)
    saved = read_bundle_header(directory).config
    for stream in STREAMS:
        theirs, ours = (
            settings_of(
                without=_OF_TRAINING, codec=each.streams[stream].codec, decoder=each.streams[stream].decoder
            )
            for each in (saved, config)
        )
        for key, was, now in differences(theirs.values, ours):
            key = f"streams.{stream}.{key}"
            raise UserError(
                f"codecs_from={directory}: its {key} is {was}, and the config's {now}; "
                f"take --config.{key}={was}"
            )
    _, params = load_bundle(directory, mesh=mesh)
    return {name: variables for name, variables in params.items() if name != "model"}


def read_model(config: Config, mesh: Mesh) -> PyTree:
    """The parameters of the bundle `config.model_from` that this config's model has too.

    Args:
        config: of the run. What its model has and the bundle has not begins at random; what only the bundle
            has is left there. Both are named on standard output.
        mesh: where they go.

    Returns:
        A part of the model's tree, float32 arrays.

    Raises:
        UserError: no bundle, nothing in common, or an array of another shape.
    """
    directory = pathlib.Path(config.model_from)
    _, params = load_bundle(directory, mesh=mesh)
    theirs = traverse_util.flatten_dict(params["model"], sep="/")
    ours = traverse_util.flatten_dict(abstract_params(config)["model"], sep="/")
    common = {name: array for name, array in theirs.items() if name in ours}
    if not common:
        raise UserError(f"model_from={directory}: its model has nothing in common with the config's")
    for name, array in common.items():
        if array.shape != ours[name].shape:
            raise UserError(
                f"model_from={directory}: of another model size: {name} is {array.shape} there and "
                f"{ours[name].shape} in the config"
            )
    if distributed.is_first():
        print(
            f"model_from {directory}: {len(common)} arrays taken"
            + _listed("begin at random", [name for name in ours if name not in theirs])
            + _listed("are left there", [name for name in theirs if name not in ours]),
            flush=True,
        )
    return traverse_util.unflatten_dict(common, sep="/")


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > _NAMED else ""
    return f"; {len(names)} {what}: {', '.join(names[:_NAMED])}{more}"

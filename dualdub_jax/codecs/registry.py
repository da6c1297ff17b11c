"""The codec registry: each stream's class, config, spec, variables and instance by `kind`."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from dualdub_jax.codecs.base import Codec, CodecSpec, CodecTraining, MakeCrops, started_from
from dualdub_jax.codecs.folded import FoldedCodec, fold_of, folded_spec
from dualdub_jax.config import Config, Plugin, from_dict, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.parts.import_path import is_import_path, parse
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import STREAMS, Stream

PyTree = Any  # a codec's variables: nested arrays in the layout of its kind

CODECS = Slot(
    "config.streams.<stream>.codec.kind",
    Codec,
    ("config", "variables"),
    {
        "mel_rvq": "dualdub_jax.codecs.mel_rvq.codec:MelRVQCodec",
        "dac": "dualdub_jax.codecs.dac.codec:DacCodec",
        "mimi": "dualdub_jax.codecs.mimi.codec:MimiCodec",
        "wavtokenizer": "dualdub_jax.codecs.wavtokenizer.codec:WavTokenizerCodec",
    },
)


def codec_class(config: Config, stream: Stream) -> type[Codec]:
    """The class of a stream's codec.

    Raises:
        UserError: an unknown kind, an import path that cannot be resolved or has sizes, or a class that lacks
            the interface.
    """
    kind = config.streams[stream].codec.kind
    key = f"config.streams.{stream}.codec.kind"
    if is_import_path(kind) and (sizes := parse(kind, key).sizes):
        raise UserError(
            f"config.streams.{stream}.codec.kind={kind}: a codec's sizes are keys of its group: "
            f"--config.streams.{stream}.codec.{next(iter(sizes))}={next(iter(sizes.values()))}"
        )
    return CODECS.find(kind)[0]


def codec_config(config: Config, stream: Stream) -> Any:
    """The stream's codec group, as the `Config` of its class.

    Raises:
        UserError: as `codec_class`; a key that the class does not have.
    """
    group = config.streams[stream].codec
    if not isinstance(group, Plugin):
        return group
    values = {key: value for key, value in to_dict(group).items() if key != "kind"}
    return from_dict(values, codec_class(config, stream).Config, f"config.streams.{stream}.codec")


def codec_spec(config: Config, stream: Stream) -> CodecSpec:
    """The spec of a stream's codec at its own frame rate; allocates no variables."""
    return codec_class(config, stream).spec_of(codec_config(config, stream))


def grid_spec(config: Config, stream: Stream) -> CodecSpec:
    """The spec of a stream's codec on the time grid, the token format of the language model.

    Raises:
        UserError: a frame rate that is not a multiple of the grid's.
    """
    spec = codec_spec(config, stream)
    return folded_spec(spec, fold_of(spec, config.grid.frame_rate, f"config.streams.{stream}.codec"))


def make_codec(config: Config, stream: Stream, variables: PyTree) -> Codec:
    """A stream's codec on the time grid, bound to its variables.

    Args:
        config: of the run.
        stream: whose codec.
        variables: as `Codec.init` of its class lays them out.

    Raises:
        UserError: as `codec_config`; a frame rate that is not a multiple of the grid's.
    """
    codec = codec_class(config, stream)(codec_config(config, stream), variables)
    fold = fold_of(codec.spec, config.grid.frame_rate, f"config.streams.{stream}.codec")
    return codec if fold == 1 else FoldedCodec(codec, fold)


def make_codecs(config: Config, variables: Mapping[Stream, PyTree]) -> dict[Stream, Codec]:
    """Both streams' codecs; see `make_codec`."""
    return {stream: make_codec(config, stream, variables[stream]) for stream in STREAMS}


def abstract_codec(config: Config, stream: Stream) -> PyTree:
    """`jax.ShapeDtypeStruct`s of a codec's variables."""
    init = functools.partial(codec_class(config, stream).init, codec_config(config, stream))
    return jax.eval_shape(init, jax.random.key(0))


def codec_training(
    config: Config, stream: Stream, make_batches: MakeCrops, initial: PyTree | None = None
) -> CodecTraining | None:
    """The training phases of a stream's codec; None for a codec with public weights.

    Args:
        config: of the run.
        stream: whose codec.
        make_batches: see `Codec`.
        initial: variables, or some of them, from which training starts; None: random values.

    Raises:
        UserError: the class has neither `training` nor `pretrained`, or cannot start from given variables.
    """
    found = codec_class(config, stream)
    where = f"config.streams.{stream}.codec.kind={config.streams[stream].codec.kind}"
    if hasattr(found, "training"):
        start = started_from(found.training, initial, where, stream)
        return found.training(config, stream, make_batches, **start)
    if stream in config.train_codecs:
        raise UserError(
            f"config.train_codecs: {stream}: {where} has no `training`; leave it out, or add that method"
        )
    if not hasattr(found, "pretrained"):
        raise UserError(
            f"{where}: has neither `training` nor `pretrained`; initialise it from a bundle: "
            "--config.codecs_from=BUNDLE"
        )
    return None


def pretrained_codec(config: Config, stream: Stream) -> PyTree:
    """Variables of a codec with public weights."""
    return codec_class(config, stream).pretrained(codec_config(config, stream))

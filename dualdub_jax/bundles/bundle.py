"""Bundles: config, model and both codecs in one folder, sufficient for generation.

    DIR/config.json    format version, config, training metadata
    DIR/params/        orbax: {"model": …, "speech_codec": …, "background_codec": …}, and "<stream>_decoder"
                       where a waveform decoder replaces the codec's own
    DIR/tokenizer.json the vocabulary of the script tokenizer, if it has one; vocabulary.tiktoken for tiktoken

or, in place of params/, the same tree as safetensors (checkpoints/safetensors_tree.py). Nothing is pickled.
`dualdub train` and `dualdub export` write bundles, `dualdub dub --checkpoint DIR` reads them; orbax and
safetensors read their parameters without this package (docs/export.md).
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import Mesh, SingleDeviceSharding

from dualdub_jax import config as config_lib
from dualdub_jax.bundles.migration import parameter_renamer, upgrade_config
from dualdub_jax.checkpoints import orbax_tree, safetensors_tree
from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.checkpoints.tree_paths import check_shapes
from dualdub_jax.codecs.registry import abstract_codec
from dualdub_jax.config import Config
from dualdub_jax.decoders.base import abstract_decoder, has_decoder
from dualdub_jax.errors import UserError
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import state_sharding
from dualdub_jax.parts.import_path import check_trusted
from dualdub_jax.stores.commit import staged_folder
from dualdub_jax.stores.failures import reached, store_errors
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path, is_remote
from dualdub_jax.text.tokenizer import vocabulary_file, with_vocabulary_file
from dualdub_jax.types import STREAMS

PyTree = Any  # nested dictionaries of arrays, or of their shapes
FileFormat = Literal["orbax", "safetensors"]

FORMAT_VERSION = 2
_HEADER = "config.json"
_VOCABULARIES = {".tiktoken": "vocabulary.tiktoken"}  # by suffix; others are tokenizer.json
_INCOMPLETE = "the checkpoint is incomplete; copy it again"


def default_bundle_path() -> pathlib.Path:
    """The bundle that is part of the package."""
    return pathlib.Path(__file__).parents[1] / "assets" / "puppet"


def part_names(config: Config) -> list[str]:
    """Names of the parts of a bundle: the top level of its parameters."""
    decoders = [f"{stream}_decoder" for stream in STREAMS if has_decoder(config, stream)]
    return ["model", *(f"{stream}_codec" for stream in STREAMS), *decoders]


def abstract_params(config: Config) -> PyTree:
    """Shapes and dtypes of a bundle's parameters: nested dictionaries of `jax.ShapeDtypeStruct`."""
    return jax.eval_shape(nn.unbox, {part: _boxed_part(config, part) for part in part_names(config)})


def _boxed_part(config: Config, part: str) -> PyTree:
    """Shapes of one part; leaves are boxed with logical axis names where they have some."""
    if part == "model":
        return jax.eval_shape(
            lambda: make_model(config).init(jax.random.key(0), example_batch(config))["params"]
        )
    stream, _, kind = part.partition("_")
    return (abstract_codec if kind == "codec" else abstract_decoder)(config, stream)


def sharded_params(config: Config, mesh: Mesh | None, parts: Sequence[str] | None = None) -> PyTree:
    """As `abstract_params`, with the sharding of each array.

    Args:
        config: of the bundle.
        mesh: on which arrays are sharded; None: the first device.
        parts: names of `part_names`; None: all.
    """
    boxed = {part: _boxed_part(config, part) for part in (part_names(config) if parts is None else parts)}
    shapes = jax.eval_shape(nn.unbox, boxed)
    if mesh is None:
        first = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: first, shapes)
    else:
        shardings = state_sharding(boxed, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def save_bundle(
    directory: StorePath,
    config: Config,
    params: PyTree,
    training: dict[str, Any],
    dtype: str | None = "float32",
    file_format: FileFormat = "orbax",
) -> None:
    """Writes a bundle atomically; on an object store, it is complete once it has its `config.json`.

    Args:
        directory: created, or replaced if it is a bundle; local or on an object store.
        config: of the run.
        params: arrays, in the structure of `abstract_params`.
        training: training metadata, JSON.
        dtype: "float32" or "bfloat16" (half the size; read back as float32); None: unchanged.
        file_format: of the parameters; safetensors are written by one process only.
    """
    params = _as_dtype(params, dtype)
    vocabulary = vocabulary_file(config.model)
    if vocabulary:
        name = _VOCABULARIES.get(vocabulary.suffix, "tokenizer.json")
        config = _with_vocabulary(config, name)
    text = json.dumps(
        {"format_version": FORMAT_VERSION, "config": config_lib.to_dict(config), "training": training},
        indent=1,
    )
    with distributed.replaced_folder(directory, _HEADER) as temporary:
        if file_format == "safetensors":
            with staged_folder(temporary) as folder:
                safetensors_tree.write(folder, params)
        else:
            orbax_tree.write(temporary / "params", params)
        if distributed.is_first():
            if vocabulary:
                (temporary / name).write_bytes(vocabulary.read_bytes())
            (temporary / _HEADER).write_text(text + "\n", encoding="utf-8")


class BundleHeader(NamedTuple):
    """The content of a bundle's `config.json`: config, training metadata, format version."""

    config: Config
    training: dict[str, Any]
    version: int


def read_bundle_header(directory: StorePath | str) -> BundleHeader:
    """Reads config and training metadata of a bundle, without its parameters.

    Raises:
        UserError: no such folder, not a bundle, a bundle of which the upload is not complete, or a bundle of
            a newer version.
    """
    directory = reached(as_path(directory))
    with store_errors(directory):
        if not directory.is_dir():
            raise UserError(
                f"{directory}: no such checkpoint folder; give the bundle/ folder that `dualdub train` writes"
            )
        if is_remote(directory) and _is_half_written(directory):
            raise UserError(
                f"{directory}: this bundle is not complete, its config.json is written last; wait for its "
                "upload, or write it again"
            )
    try:
        header = json.loads((directory / _HEADER).read_text(encoding="utf-8"))
        version = header["format_version"]
        values = header["config"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{directory}: not a checkpoint: it needs config.json and params/, as in the bundle/ folder that "
            "`dualdub train` writes to its working directory; `dualdub export` writes one during training"
        ) from None
    if not (isinstance(version, int) and 1 <= version <= FORMAT_VERSION):
        raise UserError(
            f"{directory}: checkpoint format {version}, but this version reads {FORMAT_VERSION}; "
            "update dualdub-jax"
        )
    return BundleHeader(
        _with_files(config_lib.from_dict(upgrade_config(values, version, str(directory))), directory),
        header.get("training", {}),
        version,
    )


def _is_half_written(directory: StorePath) -> bool:
    has_params = (directory / "params").is_dir() or safetensors_tree.is_here(directory)
    return has_params and not (directory / _HEADER).is_file()


def _with_vocabulary(config: Config, path: str) -> Config:
    return dataclasses.replace(config, model=with_vocabulary_file(config.model, path))


def _with_files(config: Config, directory: StorePath) -> Config:
    """The config with the path of the bundle's vocabulary."""
    vocabulary = vocabulary_file(config.model)
    is_own = vocabulary is not None and str(vocabulary) in ("tokenizer.json", *_VOCABULARIES.values())
    if is_own and (directory / vocabulary.name).is_file():
        return _with_vocabulary(config, str(directory / vocabulary.name))
    return config


def load_bundle(
    directory: StorePath | str,
    config: Config | None = None,
    *,
    mesh: Mesh | None = None,
    dtype: str | None = "float32",
    allow_code: bool = False,
) -> tuple[Config, PyTree]:
    """Reads a bundle of either file format.

    Args:
        directory: of the bundle, local or on an object store.
        config: that the parameters must fit; default: the bundle's own.
        mesh: on which parameters are sharded by their logical axis names; each device reads its shard only.
            None: the first device.
        dtype: of floating parameters; None: as stored.
        allow_code: import classes that the config names from outside of this package, which executes code.

    Returns:
        The config, and the parameters in the structure of `abstract_params`.

    Raises:
        UserError: as `read_bundle_header`; unreadable parameters; another model size, naming the first
            parameter that differs and both shapes; a config that names code outside of this package.
    """
    directory = as_path(directory)
    if config is None:
        config = read_bundle_header(directory).config
        check_trusted(config, str(directory), allow_code)
    expected = sharded_params(config, mesh)
    check_shapes(expected, _unflatten(stored_shapes(directory)), str(directory))
    return config, read_arrays(directory, expected, dtype)


def stored_shapes(directory: StorePath) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a bundle's arrays by path, such as "model/backbone/…"; imports no class.

    Raises:
        UserError: as `read_bundle_header`; unreadable parameters.
    """
    directory = as_path(directory)
    return {names.current: shape for names, shape in _stored(directory).items()}


def read_arrays(directory: StorePath, target: PyTree, dtype: str | None = "float32") -> PyTree:
    """Reads some arrays of a bundle; imports no class.

    Args:
        directory: of the bundle.
        target: a part of its tree: nested dictionaries of shapes with shardings.
        dtype: of floating parameters; None: as stored.

    Raises:
        UserError: as `read_bundle_header`; unreadable parameters.
    """
    directory = as_path(directory)
    wanted = traverse_util.flatten_dict(target, sep="/")
    current, stored = {}, {}
    for names, shape in _stored(directory).items():
        if names.current in wanted:
            current[names.stored] = names.current
            sharding = wanted[names.current].sharding
            stored[names.stored] = jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
    with _damage_named(directory):
        if safetensors_tree.is_here(directory):
            params = safetensors_tree.read(_local_safetensors(directory), _unflatten(stored))
        else:
            params = orbax_tree.read_part(directory / "params", _unflatten(stored))
    params = traverse_util.flatten_dict(params, sep="/")
    return _as_dtype(_unflatten({current[name]: array for name, array in params.items()}), dtype)


class _Names(NamedTuple):
    """Path of an array in the file, and in the current version."""

    stored: str
    current: str


def _stored(directory: StorePath) -> dict[_Names, jax.ShapeDtypeStruct]:
    renamed = parameter_renamer(read_bundle_header(directory).version)
    with _damage_named(directory):
        if safetensors_tree.is_here(directory):
            shapes = safetensors_tree.read_shapes(_local_safetensors(directory))
        else:
            shapes = orbax_tree.read_shapes(directory / "params")
    shapes = traverse_util.flatten_dict(shapes, sep="/")
    return {_Names(name, renamed(name)): shape for name, shape in shapes.items()}


def _local_safetensors(directory: StorePath) -> pathlib.Path:
    """The library reads local files only."""
    return local_copy(directory, "safetensors")


@contextlib.contextmanager
def _damage_named(directory: StorePath) -> Iterator[None]:
    part = "safetensors" if safetensors_tree.is_here(directory) else "params/"
    with damage_named(f"{directory}: its {part}", _INCOMPLETE), store_errors(directory):
        yield


def _unflatten(flat: dict[str, Any]) -> PyTree:
    return traverse_util.unflatten_dict(flat, sep="/")


def _as_dtype(params: PyTree, dtype: str | None) -> PyTree:
    """Casts floating arrays to `dtype`; None: unchanged."""
    if dtype is None:
        return params
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)

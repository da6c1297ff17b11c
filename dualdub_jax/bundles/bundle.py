"""A bundle: everything that generation needs in one folder, config, model and both codecs.

    DIR/config.json    format version, the whole config, how it was trained
    DIR/params/        orbax: {"model": …, "speech_codec": …, "background_codec": …}, and "<stream>_decoder"
                       where a stream has a waveform decoder apart from its codec
    DIR/tokenizer.json the script tokenizer's vocabulary, where it has one

or, in place of params/, the same tree as safetensors (safetensors_tree.py). Nothing in it is pickled.
`dualdub train` ends with one, `dualdub export` makes one, `dualdub dub --checkpoint DIR` reads one; plain
orbax and safetensors read its parameters too (docs/export.md).
"""

import dataclasses
import json
import pathlib
import shutil
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.sharding import Mesh, SingleDeviceSharding

from dualdub_jax import config as config_lib
from dualdub_jax.bundles.migration import parameter_renamer, upgrade_config
from dualdub_jax.checkpoints import safetensors_tree
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
from dualdub_jax.text.tokenizer import vocabulary_file
from dualdub_jax.types import STREAMS

PyTree = Any  # nested dictionaries of arrays, or of their shapes
FileFormat = Literal["orbax", "safetensors"]

FORMAT_VERSION = 2
_TOKENIZER = "tokenizer.json"


def default_bundle_path() -> pathlib.Path:
    """The checkpoint that comes with the package."""
    return pathlib.Path(__file__).parents[1] / "assets" / "puppet"


def abstract_params(config: Config) -> PyTree:
    """Shapes of everything in a bundle's `params`, without memory."""
    return jax.eval_shape(nn.unbox, _boxed_params(config))


def _boxed_params(config: Config) -> PyTree:
    """As `abstract_params`; those of the model in boxes with their logical axis names."""
    boxed = {
        "model": jax.eval_shape(
            lambda: make_model(config).init(jax.random.key(0), example_batch(config))["params"]
        )
    }
    for stream in STREAMS:
        boxed[f"{stream}_codec"] = abstract_codec(config, stream)
        if has_decoder(config, stream):
            boxed[f"{stream}_decoder"] = abstract_decoder(config, stream)
    return boxed


def sharded_params(config: Config, mesh: Mesh | None) -> PyTree:
    """As `abstract_params`, with the sharding of each array on a mesh; None: all on the first device."""
    boxed = _boxed_params(config)
    shapes = jax.eval_shape(nn.unbox, boxed)
    if mesh is None:
        first = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: first, shapes)
    else:
        shardings = state_sharding(boxed, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def save_bundle(
    directory: pathlib.Path,
    config: Config,
    params: PyTree,
    training: dict[str, Any],
    dtype: str | None = "float32",
    file_format: FileFormat = "orbax",
) -> None:
    """Writes a bundle, whole or not at all.

    Args:
        directory: made; replaced if it is a bundle already.
        config: of the run.
        params: as `abstract_params`, arrays.
        training: JSON: what is to be known of how it was trained.
        dtype: "float32" or "bfloat16" (half the size; read back as float32); None: as they are.
        file_format: of the parameters; safetensors are written by one process only.
    """
    params = _as_dtype(params, dtype)
    vocabulary = vocabulary_file(config.model)
    if vocabulary:
        config = _with_tokenizer(config, _TOKENIZER)
    text = json.dumps(
        {"format_version": FORMAT_VERSION, "config": config_lib.to_dict(config), "training": training},
        indent=1,
    )
    with distributed.replaced_folder(directory) as temporary:
        if file_format == "safetensors":
            safetensors_tree.write(temporary, params)
        else:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(temporary / "params", params)
        if distributed.is_first():
            (temporary / "config.json").write_text(text + "\n", encoding="utf-8")
            if vocabulary:
                shutil.copyfile(vocabulary, temporary / _TOKENIZER)


class BundleHeader(NamedTuple):
    """What a bundle's `config.json` holds: the config, JSON about its training, the format's version."""

    config: Config
    training: dict[str, Any]
    version: int


def read_bundle_header(directory: pathlib.Path) -> BundleHeader:
    """Config and training notes of a bundle, without its parameters.

    Raises:
        UserError: no such folder, or not a bundle, or written by a newer version.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise UserError(
            f"{directory}: no such checkpoint folder; give the bundle/ folder that `dualdub train` made"
        )
    try:
        header = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        version = header["format_version"]
        values = header["config"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{directory}: not a checkpoint: it needs config.json and params/, as in the bundle/ folder that "
            "`dualdub train` leaves in its working directory; `dualdub export` makes one in mid-training"
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


def _with_tokenizer(config: Config, name: str) -> Config:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, script_tokenizer=name))


def _with_files(config: Config, directory: pathlib.Path) -> Config:
    """The config with the path of the vocabulary that lies in the bundle."""
    if config.model.script_tokenizer == _TOKENIZER and (directory / _TOKENIZER).is_file():
        return _with_tokenizer(config, str(directory / _TOKENIZER))
    return config


def load_bundle(
    directory: pathlib.Path,
    config: Config | None = None,
    *,
    mesh: Mesh | None = None,
    dtype: str | None = "float32",
    allow_code: bool = False,
) -> tuple[Config, PyTree]:
    """Reads a bundle, of either format.

    Args:
        directory: of the bundle.
        config: what it has to fit; default: the bundle's own.
        mesh: where the parameters go, by the logical axis names of the model: each device reads its own part
            and no host needs memory for all of them. None: all on the first device.
        dtype: of floating parameters; None: as they are stored.
        allow_code: import what the config names, also outside of this package: that runs it.

    Returns:
        The config and the parameters, as in `abstract_params`.

    Raises:
        UserError: as `read_bundle_header`; parameters that cannot be read; another model size, naming the
            first parameter that differs and both shapes; a config that names foreign code.
    """
    directory = pathlib.Path(directory)
    saved_config, _, version = read_bundle_header(directory)
    if config is None:
        check_trusted(saved_config, str(directory), allow_code)
        config = saved_config
    expected = sharded_params(config, mesh)
    part, read_shapes, read = (
        ("safetensors", safetensors_tree.read_shapes, safetensors_tree.read)
        if safetensors_tree.is_here(directory)
        else ("params/", _read_orbax_shapes, _read_orbax)
    )
    what, advice = f"{directory}: its {part}", "the checkpoint is incomplete, copy it again"
    with damage_named(what, advice):
        saved = read_shapes(directory)
    # Read under the names that the files have, checked and returned under those of today.
    renamed = parameter_renamer(version)
    saved = traverse_util.flatten_dict(saved, sep="/")
    names = {name: renamed(name) for name in saved}
    check_shapes(expected, _unflatten({names[name]: leaf for name, leaf in saved.items()}), str(directory))
    wanted = traverse_util.flatten_dict(expected, sep="/")
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=wanted[names[name]].sharding)
        for name, leaf in saved.items()
    }
    with damage_named(what, advice):
        params = traverse_util.flatten_dict(read(directory, _unflatten(target)), sep="/")
    params = _unflatten({names[name]: array for name, array in params.items()})
    return config, _as_dtype(params, dtype)


def _unflatten(flat: dict[str, Any]) -> PyTree:
    return traverse_util.unflatten_dict(flat, sep="/")


def _read_orbax_shapes(directory: pathlib.Path) -> PyTree:
    with ocp.StandardCheckpointer() as checkpointer:
        shapes = checkpointer.metadata((directory / "params").absolute()).item_metadata.tree
    if shapes is None:
        raise FileNotFoundError("no list of its arrays")
    return shapes


def _read_orbax(directory: pathlib.Path, target: PyTree) -> PyTree:
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore((directory / "params").absolute(), target)


def _as_dtype(params: PyTree, dtype: str | None) -> PyTree:
    """Floating arrays as `dtype`; None: as they are."""
    if dtype is None:
        return params
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)

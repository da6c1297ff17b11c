"""Weight folders of CASP, or of one BEATs encoder: config and parameters, without pickles.

    DIR/config.json    format version, kind ("casp" or "beats"), sizes, origin of the weights
    DIR/params/        orbax: the parameters of `Casp`, or of `Beats`

`dualdub train --config configs/casp.py` and `python -m dualdub_jax.casp.convert` (from the authors'
checkpoint) write such a folder; `dualdub evaluate --casp-weights DIR` reads it.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax import config as config_lib
from dualdub_jax.casp import model
from dualdub_jax.casp.beats import Beats
from dualdub_jax.checkpoints import orbax_tree
from dualdub_jax.checkpoints.damage import damage_named
from dualdub_jax.checkpoints.tree_paths import check_shapes, path_name
from dualdub_jax.config import BeatsConfig, CaspConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.stores.failures import reached, store_errors
from dualdub_jax.stores.path import StorePath, as_path

PyTree = Any  # parameters: nested dictionaries of arrays
Kind = Literal["casp", "beats"]

FORMAT_VERSION = 1
_HEADER = "config.json"
_CONFIGS = {"casp": CaspConfig, "beats": BeatsConfig}


def default_path() -> pathlib.Path:
    """Folder of the small CASP bundled with the package, trained on Puppet Stage."""
    return pathlib.Path(__file__).parents[1] / "assets" / "casp_puppet"


def abstract_params(config: CaspConfig | BeatsConfig) -> PyTree:
    """Shapes of the parameters for a config, without allocating them."""
    if isinstance(config, CaspConfig):
        return model.abstract_params(config)
    stem = jnp.zeros((1, model.least_num_samples(CaspConfig(encoder=config))))
    return jax.eval_shape(lambda: nn.unbox(Beats(config).init(jax.random.key(0), stem)["params"]))


def save(
    directory: StorePath,
    config: CaspConfig | BeatsConfig,
    params: PyTree,
    origin: Mapping[str, Any],
    dtype: str = "float32",
) -> None:
    """Writes a folder atomically.

    Args:
        directory: created, or replaced if it exists.
        config: sizes; its class determines the kind.
        params: arrays of the shapes of `abstract_params`.
        origin: provenance of the weights, JSON-serialisable.
        dtype: "float32" or "bfloat16" (half the size; restored as float32).
    """
    kind = next(kind for kind, cls in _CONFIGS.items() if isinstance(config, cls))
    header = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "config": config_lib.to_dict(config),
        "origin": dict(origin),
    }
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    with distributed.replaced_folder(reached(as_path(directory)), _HEADER) as temporary:
        orbax_tree.write(temporary / "params", params)
        if distributed.is_first():
            (temporary / _HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def read_header(directory: StorePath | str, kind: Kind) -> tuple[Any, dict[str, Any]]:
    """Reads the config and the origin of a folder.

    Raises:
        UserError: the folder is missing, of another kind, or written by a newer version.
    """
    directory = reached(as_path(directory))
    try:
        header = json.loads((directory / _HEADER).read_text(encoding="utf-8"))
        version, found, values = header["format_version"], header["kind"], header["config"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{directory}: no {kind.upper()} weights there: expected a folder with config.json and params/; "
            "make one with: python -m dualdub_jax.casp.convert --help"
        ) from None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{directory}: format {version}, but this version reads {FORMAT_VERSION}; update dualdub-jax"
        )
    if found != kind:
        raise UserError(f"{directory}: holds {found} weights, expected {kind} weights; give another folder")
    return config_lib.from_dict(values, _CONFIGS[kind], f"{directory}: config"), header.get("origin", {})


def load(directory: StorePath | str, kind: Kind) -> tuple[Any, PyTree]:
    """Reads a folder.

    Returns:
        Its `CaspConfig` or `BeatsConfig`, and float32 parameters.

    Raises:
        UserError: as `read_header`; or the parameters cannot be read or do not match the config.
    """
    directory = as_path(directory)
    config, _ = read_header(directory, kind)
    expected = abstract_params(config)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    what, advice = f"{directory}: its params/", "the folder is incomplete; copy it again"
    with damage_named(what, advice), store_errors(directory):
        saved = orbax_tree.read_shapes(directory / "params")
    check_shapes(expected, saved, str(directory))
    target = jax.tree.map(
        lambda want, have: jax.ShapeDtypeStruct(want.shape, have.dtype, sharding=device), expected, saved
    )
    with damage_named(what, advice), store_errors(directory):
        params = orbax_tree.read(directory / "params", target)
    return config, jax.tree.map(lambda x: x.astype(jnp.float32), params)


def params_sha256(params: PyTree) -> str:
    """Hex digest of names, shapes and float32 values, independent of the storage format."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree.leaves_with_path(params), key=lambda item: path_name(item[0])):
        digest.update(f"{path_name(path)} {leaf.shape}\n".encode())
        digest.update(np.asarray(leaf, "<f4").tobytes())
    return digest.hexdigest()

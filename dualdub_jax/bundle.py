"""A bundle: everything that generation needs in one folder, config, model and both codecs.

    DIR/config.json    format version, the whole config, how it was trained
    DIR/params/        orbax: {"model": …, "speech_codec": …, "background_codec": …}

Nothing in it is pickled. `dualdub train` ends with one, `dualdub dub --checkpoint DIR` reads one.
"""

import json
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from dualdub_jax import config as config_lib
from dualdub_jax.codecs.mel_rvq import abstract_codec_variables
from dualdub_jax.config import Config
from dualdub_jax.errors import UserError
from dualdub_jax.models.dualdub import example_batch, make_model
from dualdub_jax.parallel import distributed
from dualdub_jax.tree_paths import check_shapes

PyTree = Any

FORMAT_VERSION = 1


def default_bundle_path() -> pathlib.Path:
    """The checkpoint that comes with the package."""
    return pathlib.Path(__file__).parent / "assets" / "puppet"


def abstract_params(config: Config) -> PyTree:
    """Shapes of everything in a bundle's `params`, without memory."""
    model = jax.eval_shape(
        lambda: nn.unbox(make_model(config).init(jax.random.key(0), example_batch(config))["params"])
    )
    return {
        "model": model,
        "speech_codec": abstract_codec_variables(config.speech_codec, config.grid),
        "background_codec": abstract_codec_variables(config.background_codec, config.grid),
    }


def save_bundle(
    directory: pathlib.Path, config: Config, params: PyTree, training: dict[str, Any], dtype: str = "float32"
) -> None:
    """Writes a bundle, whole or not at all.

    Args:
        directory: made; replaced if it is a bundle already.
        config: of the run.
        params: as `abstract_params`, arrays.
        training: JSON: what is to be known of how it was trained.
        dtype: "float32" or "bfloat16" (half the size; read back as float32).
    """
    params = jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)
    text = json.dumps(
        {"format_version": FORMAT_VERSION, "config": config_lib.to_dict(config), "training": training},
        indent=1,
    )
    with distributed.replaced_folder(directory) as temporary:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(temporary / "params", params)
        if distributed.is_first():
            (temporary / "config.json").write_text(text + "\n", encoding="utf-8")


def read_bundle_header(directory: pathlib.Path) -> tuple[Config, dict[str, Any]]:
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
            "`dualdub train` leaves in its working directory"
        ) from None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{directory}: checkpoint format {version}, but this version reads {FORMAT_VERSION}; "
            "update dualdub-jax"
        )
    return config_lib.from_dict(values), header.get("training", {})


def load_bundle(directory: pathlib.Path, config: Config | None = None) -> tuple[Config, PyTree]:
    """Reads a bundle.

    Args:
        directory: of the bundle.
        config: what it has to fit; default: the bundle's own.

    Returns:
        The config and float32 parameters, as in `abstract_params`.

    Raises:
        UserError: as `read_bundle_header`; parameters that cannot be read; or another model size, naming
            the first parameter that differs and both shapes.
    """
    directory = pathlib.Path(directory)
    saved_config, _ = read_bundle_header(directory)
    config = saved_config if config is None else config
    expected = abstract_params(config)
    path = (directory / "params").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            saved = checkpointer.metadata(path).item_metadata.tree
        except (OSError, ValueError, AttributeError):
            raise UserError(
                f"{directory}: its params/ cannot be read; the checkpoint is incomplete"
            ) from None
        check_shapes(expected, saved, str(directory))
        target = jax.tree.map(
            lambda want, have: jax.ShapeDtypeStruct(
                want.shape, have.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
            ),
            expected,
            saved,
        )
        params = checkpointer.restore(path, target)
    return config, jax.tree.map(lambda x, want: x.astype(want.dtype), params, expected)

"""Public weights that initialise the model: `config.init_from.backbone`, a language model.

The first stage starts from them; a run that has a checkpoint of it does not read them again.
"""

import collections
import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from flax import traverse_util
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import sharded_params
from dualdub_jax.config import Config
from dualdub_jax.convert.language_model import (
    EMBEDDING,
    KEY,
    LanguageModel,
    backbone_tensors,
    check_fit,
    open_language_model,
)
from dualdub_jax.convert.onto_mesh import read_onto_mesh
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.stores.failures import reached, store_errors
from dualdub_jax.stores.local_copy import local_copy
from dualdub_jax.stores.path import StorePath, as_path, is_remote
from dualdub_jax.training.checkpoint import newest_step

PyTree = Any  # nested dictionaries of arrays

# Paths of parameters.
_BACKBONE, _TABLE = "backbone/", "script_encoder/embedding"


def is_read(config: Config, workdir: StorePath, phases: set[str]) -> bool:
    """Whether a run reads public weights: if it is to train the first stage and has no checkpoint of it."""
    stages = config.stages
    return (
        bool(config.init_from.backbone and stages)
        and stages[0].name in phases
        and newest_step(workdir / stages[0].name) is None
    )


def check_backbone(config: Config) -> list[str]:
    """Checks that `config.init_from.backbone` fits the config's backbone; reads headers only.

    Returns:
        What will be taken, and what not.

    Raises:
        UserError: not a language model of the family, a damaged one, or one that does not fit.
    """
    return list(_described(config, _opened(config)))


def read_backbone(config: Config, mesh: Mesh) -> PyTree:
    """Reads the parameters that `config.init_from.backbone` initialises, one public tensor at a time.

    Standard output lists what was taken, what not, and what is initialised at random.

    Args:
        config: of the run.
        mesh: on which the arrays are placed, sharded.

    Returns:
        A part of the model's tree, float32 arrays.

    Raises:
        UserError: as `check_backbone`.
    """
    public = _opened(config)
    targets = traverse_util.flatten_dict(sharded_params(config, mesh, ["model"])["model"], sep="/")
    sources = {
        path: backbone_tensors(public, path.removeprefix(_BACKBONE))
        for path in targets
        if path.startswith(_BACKBONE)
    }
    if _takes_table(config, public):
        sources[_TABLE] = [public.tensors[EMBEDDING]]
    if distributed.is_first():
        random = collections.Counter(path.partition("/")[0] for path in targets if path not in sources)
        of_parts = ", ".join(f"{part} ({count})" for part, count in random.items())
        lines = [*_described(config, public), f"{random.total()} arrays initialised at random: {of_parts}"]
        print(*(f"{KEY} {public.where}: {line}" for line in lines), sep="\n", flush=True)
    arrays = {
        path: read_onto_mesh(
            tensors,
            targets[path],
            is_transposed=path.endswith("/kernel"),
            is_stacked=path.startswith(f"{_BACKBONE}layers/"),
        )
        for path, tensors in sources.items()
    }
    return traverse_util.unflatten_dict(arrays, sep="/")


def _opened(config: Config) -> LanguageModel:
    where = config.init_from.backbone
    if config.model.backbone != "transformer":
        raise UserError(
            f"{KEY}={where}: initialises the backbone transformer, but config.model.backbone is "
            f"{config.model.backbone}; leave one of them out"
        )
    public = open_language_model(_local_folder(reached(as_path(where, KEY))), where)
    num_positions = config.grid.num_script_tokens + config.model.num_speaker_vectors + config.grid.num_frames
    check_fit(public, config.model, num_positions)
    return public


def _local_folder(folder: StorePath) -> pathlib.Path:
    """The folder, or a local copy of the files in it that are read."""
    if not is_remote(folder) or not folder.is_dir():
        return folder
    with store_errors(folder):
        has_safetensors = any(path.suffix == ".safetensors" for path in folder.iterdir())
    local_copy(folder, "config.json")
    return local_copy(folder, ".safetensors" if has_safetensors else ".bin")


def _takes_table(config: Config, public: LanguageModel) -> bool:
    """Whether the script embedding is the language model's."""
    shape = (config.model.script_vocab_size, config.model.width)
    is_table = config.model.script_encoder == "embedding"
    return is_table and EMBEDDING in public.tensors and public.tensors[EMBEDDING].shape == shape


def _described(config: Config, public: LanguageModel) -> Iterator[str]:
    """What is taken of a language model, and what is not."""
    num_layers = public.settings["num_layers"].value
    taken = [x for name, x in public.tensors.items() if name != EMBEDDING]
    num_bytes = sum(math.prod(x.shape) * x.dtype.itemsize for x in taken)
    yield (
        f"{public.family}, {num_layers} layers: {len(taken)} tensors initialise backbone, "
        f"{num_bytes / 1e9:.1f} GB"
    )
    if _takes_table(config, public):
        yield f"{public.named(EMBEDDING)} initialises {_TABLE}"
    elif EMBEDDING in public.tensors:
        size = public.tensors[EMBEDDING].shape[0]
        yield (
            f"{public.named(EMBEDDING)} not taken: script_encoder={config.model.script_encoder} has "
            f"{[config.model.script_vocab_size, config.model.width]}; with its tokenizer.json as "
            f"--config.model.script_tokenizer, pass --config.model.script_vocab_size={size}"
        )
    if public.unused:
        counts = collections.Counter(re.sub(r"\d+", "*", name) for name in public.unused)
        names = ", ".join(name if n == 1 else f"{name} ({n})" for name, n in counts.items())
        yield f"not used: {names}"

"""Builders by name, or by import path."""

import difflib

from dualdub_jax.data_pipeline.builders.base import Builder
from dualdub_jax.errors import UserError
from dualdub_jax.parts.import_path import import_class, is_import_path

# Imported on use: a builder may need packages that others do not.
BUILDERS = {
    "anim400k": "dualdub_jax.data_pipeline.builders.anim400k:Anim400K",
    "folder": "dualdub_jax.data_pipeline.builders.folder:Folder",
    "grid": "dualdub_jax.data_pipeline.builders.grid:Grid",
    "libritts": "dualdub_jax.data_pipeline.builders.libritts:LibriTTS",
    "ljspeech": "dualdub_jax.data_pipeline.builders.ljspeech:LJSpeech",
    "manifest": "dualdub_jax.data_pipeline.builders.manifest:Manifest",
    "parquet": "dualdub_jax.data_pipeline.builders.parquet:Parquet",
    "v2c_animation": "dualdub_jax.data_pipeline.builders.v2c_animation:V2CAnimation",
    "vggsound": "dualdub_jax.data_pipeline.builders.vggsound:VGGSound",
    "webdataset": "dualdub_jax.data_pipeline.builders.webdataset:WebDataset",
    "puppet_stage": "dualdub_jax.data_pipeline.builders.puppet_stage.builder:PuppetStage",
}


def find_builder(name: str) -> type[Builder]:
    """The builder class called `name`.

    Args:
        name: a key of `BUILDERS`, or an import path "package.module:Class".

    Raises:
        UserError: no such builder (the text names the known ones), or an import path that leads to none.
    """
    if name not in BUILDERS and not is_import_path(name):
        near = difflib.get_close_matches(name, BUILDERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"{name}: no such builder; {hint}choose one of {', '.join(BUILDERS)}, or give an import path "
            "such as package.module:Class"
        )
    found, _ = import_class(BUILDERS.get(name, name), "builder")
    if not issubclass(found, Builder):
        raise UserError(
            f"{name}: is no subclass of dualdub_jax.data_pipeline.builders.base.Builder; docs/data.md shows "
            "how to write one"
        )
    missing = sorted(found.__abstractmethods__) + ([] if hasattr(found, "name") else ["name"])
    if missing:
        raise UserError(f"{name}: lacks {', '.join(missing)}; docs/data.md shows how to write a builder")
    return found


def split_name(name: str) -> tuple[str, str]:
    """ "builder/config" -> ("builder", "config"); the config is "" where none is named."""
    builder, _, config = name.partition("/")
    return builder, config


def buildable() -> list[str]:
    """Names of the datasets that builders of a fixed name make, for messages."""
    datasets = []
    for name in BUILDERS:
        datasets += [f"{name}/{config}" for config in find_builder(name).configs]
    return datasets

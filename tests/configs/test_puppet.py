"""The default's config and the checkpoint that is bundled go together."""

import pathlib

import jax

from dualdub_jax.bundles.bundle import abstract_params, default_bundle_path, read_bundle_header
from dualdub_jax.config import MeshConfig, load_config
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.program import phase_names
from dualdub_jax.parallel.mesh import make_mesh

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "puppet.py"


def test_the_bundled_checkpoint_is_of_this_config():
    saved = read_bundle_header(default_bundle_path()).config
    config = load_config(str(CONFIG))
    assert (saved.model, saved.grid, saved.sampling) == (config.model, config.grid, config.sampling)
    assert saved.streams == config.streams


def test_finetune_goes_on_with_all_of_the_bundled_checkpoint():
    config = load_config(f"{CONFIG}:finetune")
    assert phase_names(config) == ["soundtrack"]
    mesh = make_mesh(MeshConfig())
    start.read_codecs(config, mesh)
    model = start.read_model(config, mesh)
    assert jax.tree.structure(model) == jax.tree.structure(abstract_params(config)["model"])

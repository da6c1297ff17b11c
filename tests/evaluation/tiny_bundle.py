"""A checkpoint that takes Puppet Stage's films and compiles in seconds; what it says is noise."""

import dataclasses
import pathlib

import jax
import numpy as np

from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from dualdub_jax.config import GridConfig, SamplingConfig
from tests.tiny import tiny_config


def write_tiny_bundle(folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """Writes random parameters on the grid of Puppet Stage; returns the folder.

    All of them are drawn, those of the codecs too: with a codebook of zeros, tokens would not matter.
    """
    config = dataclasses.replace(
        tiny_config(), grid=GridConfig(), sampling=SamplingConfig(speech_temperature=1.0)
    )
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda x: np.asarray(0.1 * rng.normal(size=x.shape), x.dtype), abstract_params(config)
    )
    save_bundle(folder, config, params, {})
    return folder

"""The real train step lowers for every platform, and its constraints are in the lowered program."""

import dataclasses
import re

import jax
import pytest

from dualdub_jax.config import MeshConfig, StageConfig
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.tools.aot import find_stage, lower_decode, lower_train_step
from tests.tiny import tiny_config

STAGE = StageConfig(name="soundtrack", batch_size=2)


def _config():
    config = tiny_config()
    model = dataclasses.replace(config.model, compute_dtype="bfloat16", remat_policy="full")
    return dataclasses.replace(config, model=model)


def _one_device_mesh():
    return make_mesh(MeshConfig(), jax.devices()[:1])


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_train_step_lowers(platform):
    text = lower_train_step(_config(), STAGE, _one_device_mesh(), (platform,)).as_text()
    assert "stablehlo.dot_general" in text
    # Forward, and again in the recomputed and transposed programs: none may get lost on the way.
    assert len(re.findall(r"sdy\.sharding_constraint|@Sharding", text)) >= 28
    # The state is donated: every one of its arrays may be written in place.
    assert len(re.findall(r"tf\.aliasing_output|jax\.buffer_donor", text)) > 200


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_decode_lowers(platform):
    text = lower_decode(_config(), _one_device_mesh(), 1, (platform,)).as_text()
    assert "stablehlo.while" in text


def test_stages_are_found_by_name():
    config = dataclasses.replace(_config(), stages=(STAGE, dataclasses.replace(STAGE, name="last")))
    assert find_stage(config, None).name == "last"
    assert find_stage(config, "soundtrack") is STAGE
    with pytest.raises(UserError, match="--stage middle: test has the stages soundtrack, last"):
        find_stage(config, "middle")

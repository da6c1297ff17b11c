"""The real train step lowers for every platform, and its constraints are in the lowered program."""

import dataclasses
import re
import types

import jax
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from dualdub_jax.config import MeshConfig, StageConfig
from dualdub_jax.errors import UserError
from dualdub_jax.layers import fused_attention
from dualdub_jax.parallel.mesh import AXES, make_mesh
from dualdub_jax.tools.aot import (
    decoder_step,
    find_decoder,
    find_stage,
    lower_decode,
    lower_step,
    lower_train_step,
)
from tests.decoders.flow_matching.tiny_flow import MEL, OOBLECK, flow_config
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


def _fusing_config():
    """Lengths that every kernel takes, and an error where one does not."""
    config = _config()
    model = dataclasses.replace(config.model, attention_implementation="fused", remat_policy="attention")
    grid = dataclasses.replace(config.grid, num_frames=128, num_script_tokens=126)
    return dataclasses.replace(config, grid=grid, model=model)


def test_the_train_step_lowers_with_the_tpu_kernels():
    mesh = AbstractMesh(
        (2, 1, 1, 1),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        abstract_device=AbstractDevice(device_kind="absent", num_cores=1, platform="tpu"),
    )
    text = lower_train_step(_fusing_config(), STAGE, mesh, ("tpu",)).as_text()
    # In the backbone and in the temporal stack; what the forward kernel made is kept by the policy.
    assert text.count('kernel_name = "attention_forward"') == 2
    assert text.count('kernel_name = "attention_backward"') == 2


def test_the_train_step_lowers_with_the_cuda_kernels(monkeypatch):
    # As on a machine with a GPU and cuDNN, of which lowering asks the version.
    monkeypatch.setattr(fused_attention, "platform", lambda: "cuda")
    installed = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "cuda_versions", installed)
    text = lower_train_step(_fusing_config(), STAGE, _one_device_mesh(), ("cuda",)).as_text()
    assert "@__cudnn$fmhaScaleBiasSoftmax(" in text
    assert "@__cudnn$fmhaScaleBiasSoftmaxBackward(" in text


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


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("keys", [MEL, OOBLECK], ids=["mel", "oobleck"])
def test_the_step_of_a_waveform_decoder_lowers(platform, keys):
    training = {"batch_size": 2, "crop_frames": 4}
    config = flow_config({**keys, "compute_dtype": "bfloat16", "remat_policy": "full", "training": training})
    step = decoder_step(config, find_decoder(config, "decoder_speech"))
    text = lower_step(step, _one_device_mesh(), (platform,)).as_text()
    assert "stablehlo.dot_general" in text
    assert len(re.findall(r"tf\.aliasing_output|jax\.buffer_donor", text)) > 60


def test_phases_of_waveform_decoders_are_found_by_name():
    config = flow_config(MEL)
    assert find_decoder(config, "decoder_speech") == "speech"
    with pytest.raises(UserError, match=r"--phase soundtrack: test has the phases decoder_speech of"):
        find_decoder(config, "soundtrack")
    with pytest.raises(UserError, match=r"has the phases \(none\)"):
        find_decoder(_config(), "decoder_speech")
    step = decoder_step(config, "speech")._replace(batch_size=3)
    mesh = AbstractMesh((2, 1, 1, 1), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    with pytest.raises(UserError, match=r"decoder_speech: 3 clips .*--config.streams.speech.decoder"):
        lower_step(step, mesh)

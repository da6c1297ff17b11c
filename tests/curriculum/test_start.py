"""What a run takes from a bundle: codecs, and the parameters it starts from."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from dualdub_jax.codecs.mel_rvq.training.tokens import tokens_phase
from dualdub_jax.codecs.mel_rvq.training.vocoder import vocoder_phase
from dualdub_jax.config import AlignerConfig, MeshConfig, OptimizerConfig, StageConfig
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.program import phase_names, train
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.checkpoint import newest_step
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from tests.tiny import tiny_config, with_codec, with_training


def _numbered(shapes):
    """Every array full of a number of its own."""
    flat = traverse_util.flatten_dict(shapes, sep="/")
    filled = {name: jax.numpy.full(x.shape, i, x.dtype) for i, (name, x) in enumerate(flat.items())}
    return traverse_util.unflatten_dict(filled, sep="/")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    config = tiny_config()
    directory = tmp_path_factory.mktemp("bundle") / "bundle"
    save_bundle(directory, config, _numbered(abstract_params(config)), {})
    return directory


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig())


def test_codecs_come_from_the_bundle_and_their_phases_are_gone(bundle, mesh):
    config = tiny_config(codecs_from=str(bundle))
    codecs = start.read_codecs(config, mesh)
    want = _numbered(abstract_params(config))["speech_codec"]
    jax.tree.map(np.testing.assert_array_equal, codecs["speech_codec"], want)
    assert set(codecs) == {"speech_codec", "background_codec"}
    assert not any(name.startswith("codec_") for name in phase_names(config))
    assert any(name.startswith("codec_") for name in phase_names(tiny_config()))


def test_codecs_of_another_size_are_named(bundle, mesh):
    config = tiny_config(codecs_from=str(bundle))
    wider = with_codec(config, "background", num_codebooks=5)
    with pytest.raises(
        UserError,
        match=r"its streams\.background\.codec\.num_codebooks is 2, but the config's is 5; "
        r"pass --config\.streams\.background\.codec\.num_codebooks=2",
    ):
        start.read_codecs(wider, mesh)


def test_how_the_codecs_were_trained_does_not_matter_to_their_use(bundle, mesh):
    config = with_training(tiny_config(codecs_from=str(bundle)), "speech", num_steps=7)
    start.read_codecs(with_codec(config, "background", num_unquantised_steps=9, ema_decay=0.5), mesh)


def test_a_decoder_that_the_bundle_does_not_have_is_named(bundle, mesh):
    config = tiny_config(codecs_from=str(bundle))
    speech = dataclasses.replace(config.streams.speech, decoder="fork.flow:Decoder")
    config = dataclasses.replace(config, streams=dataclasses.replace(config.streams, speech=speech))
    with pytest.raises(
        UserError, match=r"streams\.speech\.decoder is codec, but the config's is fork\.flow:"
    ):
        start.read_codecs(config, mesh)


def test_codecs_that_are_trained_further_start_from_the_bundle(bundle, mesh, capsys):
    config = tiny_config(codecs_from=str(bundle), train_codecs=("background",))
    config = with_codec(config, "background", acoustics_num_blocks=1)  # which the bundle's lack
    names = phase_names(config)
    assert "codec_tokens_background" in names and not any(name.endswith("_speech") for name in names)
    codecs = start.read_codecs(config, mesh)
    printed = capsys.readouterr().out
    assert f"codecs_from {bundle}: speech_codec: " in printed and "arrays, frozen\n" in printed
    assert "background_codec: " in printed and "initialised at random: acoustics_renderer/" in printed
    want = _numbered(abstract_params(tiny_config()))["background_codec"]
    jax.tree.map(np.testing.assert_array_equal, codecs["background_codec"], want)

    tokens = {name: x for name, x in codecs["background_codec"].items() if name != "vocoder"}
    phase = tokens_phase(config, "background", lambda: None, tokens)
    state = nn.unbox(jax.jit(phase.init)(jax.random.key(0), phase.initial))
    jax.tree.map(np.testing.assert_array_equal, phase.parameters(state), tokens)
    # Entries in even use, so that none is restarted.
    np.testing.assert_allclose(state.extra["rvq"].counts, 16 * 25 / 16)
    vocoder = vocoder_phase(config, "background", tokens, lambda: None, codecs["background_codec"]["vocoder"])
    params = nn.unbox(jax.jit(vocoder.init)(jax.random.key(0), vocoder.initial)).params
    jax.tree.map(np.testing.assert_array_equal, params, codecs["background_codec"]["vocoder"])


def test_a_trained_codec_of_another_shape_names_the_array_and_both_shapes(bundle, mesh):
    config = tiny_config(codecs_from=str(bundle), train_codecs=("speech",))
    wider = with_codec(config, "speech", codebook_size=32)
    with pytest.raises(
        UserError,
        match=r"model size: speech_codec/codebooks is \(3, 16, 64\) in it and \(3, 32, 64\) in the config",
    ):
        start.read_codecs(wider, mesh)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_codecs": ("voice",)}, "'voice' is none of the streams speech, background"),
        ({"train_codecs": ("speech",)}, "only goes with config.codecs_from"),
        ({"codecs_from": "gone", "train_codecs": ("speech",)}, "codecs_from=.*/gone: no such folder"),
    ],
)
def test_what_cannot_be_trained_further_is_refused(tmp_path, changes, message):
    config = tiny_config(stages=(StageConfig(name="stage", num_steps=1),), **changes)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path)


def test_a_kept_phase_of_no_steps_is_its_initial_values(bundle, mesh, tmp_path):
    config = with_training(
        tiny_config(codecs_from=str(bundle), train_codecs=("speech",)), "speech", vocoder_num_steps=0
    )
    initial = start.read_codecs(config, mesh)["speech_codec"]["vocoder"]
    phase = vocoder_phase(config, "speech", None, lambda: None, initial)
    for _ in range(2):  # trained, and restored
        result = run_phase(phase, config, mesh, tmp_path, MetricWriter(tmp_path))
        jax.tree.map(np.testing.assert_array_equal, result, initial)
    assert newest_step(tmp_path / phase.name) == 0


def test_a_stage_starts_with_the_parameters_of_the_bundle_and_what_is_new_at_random(bundle, mesh, capsys):
    config = tiny_config(model_from=str(bundle))
    without = dataclasses.replace(config.model.aligner, use_causal=False)
    smaller = dataclasses.replace(config, model=dataclasses.replace(config.model, aligner=without))
    initial = start.read_model(smaller, mesh)
    assert "of it ignored: aligner/causal/" in capsys.readouterr().out
    assert "causal" not in initial["aligner"]
    stage = StageConfig(name="stage", num_steps=1, batch_size=2, optimizer=OptimizerConfig())
    phase = stage_phase(config, stage, lambda: None, initial)
    state = jax.jit(phase.init)(jax.random.key(0), phase.initial)
    flat = traverse_util.flatten_dict(nn.unbox(state.params), sep="/")
    want = traverse_util.flatten_dict(_numbered(abstract_params(config))["model"], sep="/")
    for name, value in flat.items():
        if name.startswith("aligner/causal/") and name.endswith("kernel"):
            assert np.std(value) > 0, name
        elif not name.startswith("aligner/causal/"):
            np.testing.assert_array_equal(value, want[name], err_msg=name)


def test_arrays_of_another_shape_are_an_error(bundle, mesh):
    config = tiny_config(model_from=str(bundle))
    aligner = AlignerConfig(num_heads=1, head_dim=7)
    model = dataclasses.replace(config.model, aligner=aligner)
    with pytest.raises(UserError, match=r"of another model size: \S*aligner/\S+ is \("):
        start.read_model(dataclasses.replace(config, model=model), mesh)

"""`dualdub export`: from any checkpoint, in both formats, the same bits; and what it refuses."""

import ast
import dataclasses
import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, load_bundle, read_bundle_header, save_bundle
from dualdub_jax.checkpoints import safetensors_tree
from dualdub_jax.codecs.mel_rvq.training.tokens import tokens_phase
from dualdub_jax.codecs.mel_rvq.training.vocoder import vocoder_phase
from dualdub_jax.config import CheckpointConfig, MeshConfig, StageConfig
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.run_config import write_run_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.checkpoint import BestMark, PhaseCheckpoints
from dualdub_jax.types import STREAMS
from tests.tiny import tiny_config

STAGES = (StageConfig(name="text_speech", num_steps=4), StageConfig(name="soundtrack", num_steps=4))
CONFIG = tiny_config(stages=STAGES, checkpoint=CheckpointConfig(bundle_dtype="bfloat16"))
DOCS = pathlib.Path(__file__).parents[2] / "docs" / "export.md"


def _random(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), tree)


def _save(workdir, phase, step, seed, held_out_loss=None):
    """A checkpoint as the loop writes it, of a state that nobody trained."""
    state = _random(nn.unbox(jax.eval_shape(phase.init, jax.random.key(0), phase.initial)), seed)
    checkpoints = PhaseCheckpoints(workdir / phase.name, CheckpointConfig(use_async=False))
    mark = None if held_out_loss is None else BestMark(step, held_out_loss, "clips")
    checkpoints.save(step, state, {"settings": phase.settings.values}, mark)
    checkpoints.close()
    return state


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in the middle of its second stage; its folder, and the states by phase and step."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    workdir.mkdir()
    write_run_config(workdir, CONFIG)
    states = {}
    for stream in STREAMS:
        tokens = tokens_phase(CONFIG, stream, lambda: None)
        states[tokens.name] = _save(workdir, tokens, 5, seed=len(states))
        vocoder = vocoder_phase(CONFIG, stream, None, lambda: None)
        states[vocoder.name] = _save(workdir, vocoder, 3, seed=len(states))
    for stage, step, loss in ((STAGES[0], 4, None), (STAGES[1], 1, 3.5), (STAGES[1], 2, 3.6)):
        phase = stage_phase(CONFIG, stage, lambda: None)
        states[stage.name, step] = _save(workdir, phase, step, len(states), loss)
    return workdir, states


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of mixed dtypes: half of the arrays are bfloat16."""
    params = _random(abstract_params(CONFIG), 1)
    leaves, tree = jax.tree.flatten(params)
    leaves = [x.astype(jnp.bfloat16) if i % 2 else x for i, x in enumerate(leaves)]
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    save_bundle(folder, CONFIG, jax.tree.unflatten(tree, leaves), {"seed": 7}, dtype=None)
    return folder


def _equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=str(path))


@pytest.mark.parametrize("ways", [("safetensors",), ("orbax",), ("safetensors", "orbax", "safetensors")])
def test_a_bundle_comes_through_to_the_bit(tmp_path, bundle, ways, capsys):
    source = bundle
    for i, way in enumerate(ways):
        assert main(["export", str(source), str(tmp_path / str(i)), "--format", way]) == 0
        source = tmp_path / str(i)
    assert "bfloat16, float32" in capsys.readouterr().out
    config, params = load_bundle(source, dtype=None)
    assert config == CONFIG
    assert read_bundle_header(source).training == {"seed": 7}
    _equal(params, load_bundle(bundle, dtype=None)[1])
    _equal(load_bundle(source)[1], load_bundle(bundle)[1])


@pytest.mark.parametrize("file_format", ["orbax", "safetensors"])
def test_a_run_gives_its_average_and_its_codecs(tmp_path, trained, file_format):
    workdir, states = trained
    argv = ["export", str(workdir), str(tmp_path / "out"), "--format", file_format, "--dtype", "float32"]
    assert main(argv) == 0
    config, params = load_bundle(tmp_path / "out", dtype=None)
    assert config == CONFIG
    _equal(params["model"], states["soundtrack", 2].ema_params)
    for stream in STREAMS:
        tokens, vocoder = (states[f"codec_{part}_{stream}"] for part in ("tokens", "vocoder"))
        networks = {name: tokens.params[name] for name in ("encoder", "decoder")}
        codec = {**networks, "codebooks": tokens.extra["rvq"].codebooks, "vocoder": vocoder.ema_params}
        _equal(params[f"{stream}_codec"], codec)
    origin = read_bundle_header(tmp_path / "out").training["exported"]
    assert (origin["phase"], origin["step"], origin["parameters"]) == ("soundtrack", 2, "averaged")
    steps = {"codec_tokens_speech": 5, "codec_vocoder_speech": 3}
    steps |= {"codec_tokens_background": 5, "codec_vocoder_background": 3}
    assert origin["codec_steps"] == steps


@pytest.fixture
def on_its_codecs(tmp_path, trained):
    """A run on the codecs of a moved copy of `trained`, its background codec trained further; its states."""
    source, workdir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(trained[0], source)
    config = dataclasses.replace(CONFIG, codecs_from=str(source), train_codecs=("background",))
    workdir.mkdir()
    write_run_config(workdir, config)
    states = {}
    for make in (tokens_phase, lambda *args: vocoder_phase(*args[:2], None, args[2])):
        phase = make(config, "background", lambda: None)
        states[phase.name] = _save(workdir, phase, 2, seed=20 + len(states))
    states["text_speech"] = _save(workdir, stage_phase(config, STAGES[0], lambda: None), 1, seed=30)
    return workdir, source, states


def test_a_run_on_codecs_of_another_run(tmp_path, trained, on_its_codecs, monkeypatch, capsys):
    workdir, source, states = on_its_codecs
    monkeypatch.chdir("/")
    argv = ["export", str(workdir), str(tmp_path / "out"), "--dtype", "float32"]
    assert main(argv) == 0
    _, params = load_bundle(tmp_path / "out", dtype=None)
    _equal(params["model"], states["text_speech"].ema_params)
    _equal(params["background_codec"]["vocoder"], states["codec_vocoder_background"].ema_params)
    _equal(params["speech_codec"]["vocoder"], trained[1]["codec_vocoder_speech"].ema_params)
    _equal(params["speech_codec"]["encoder"], trained[1]["codec_tokens_speech"].params["encoder"])
    dualdub_jax.load(tmp_path / "out")

    moved = source.rename(tmp_path / "elsewhere")
    line = fails(capsys, "export", workdir, tmp_path / "again")
    assert f"run_config.json: codecs_from={source}: no such folder" in line and "--codecs-from DIR" in line
    assert main(["export", str(workdir), str(tmp_path / "again"), "--codecs-from", str(moved)]) == 0
    _, again = load_bundle(tmp_path / "again", dtype=None)
    _equal(again["speech_codec"], jax.tree.map(lambda x: x.astype(jnp.bfloat16), params["speech_codec"]))


def test_a_run_is_a_source_of_codecs_and_of_a_model(tmp_path, trained, on_its_codecs):
    workdir = on_its_codecs[0]
    mesh = make_mesh(MeshConfig(), jax.local_devices())
    config = dataclasses.replace(
        CONFIG, codecs_from=str(workdir), model_from=str(trained[0] / "soundtrack/1")
    )
    codecs = start.read_codecs(config, mesh)
    states = on_its_codecs[2]
    _equal(codecs["background_codec"]["vocoder"], states["codec_vocoder_background"].ema_params)
    _equal(codecs["speech_codec"]["vocoder"], trained[1]["codec_vocoder_speech"].ema_params)
    _equal(start.read_model(config, mesh), trained[1]["soundtrack", 1].ema_params)
    circular = dataclasses.replace(config, codecs_from=str(workdir))
    write_run_config(workdir, circular)
    with pytest.raises(UserError, match="is the run itself"):
        start.read_codecs(config, mesh)


@pytest.mark.parametrize(
    ("place", "flags", "key"),
    [
        ("text_speech", (), ("text_speech", 4)),
        ("soundtrack/1", (), ("soundtrack", 1)),
        ("soundtrack", ("--step", "1"), ("soundtrack", 1)),
        ("", ("--step", "best"), ("soundtrack", 1)),
    ],
)
def test_a_stage_or_a_step_of_a_run_and_raw_parameters(tmp_path, trained, place, flags, key):
    workdir, states = trained
    assert main(["export", str(workdir / place), str(tmp_path / "out"), "--raw-params", *flags]) == 0
    # In the dtype of the bundle that the run would end with.
    _, params = load_bundle(tmp_path / "out", dtype=None)
    _equal(params["model"], jax.tree.map(lambda x: x.astype(jnp.bfloat16), states[key].params))
    want = jax.tree.map(lambda x: x.astype(jnp.bfloat16), states["codec_vocoder_speech"].params)
    _equal(params["speech_codec"]["vocoder"], want)


def test_the_result_loads_as_a_model(tmp_path, bundle):
    assert main(["export", str(bundle), str(tmp_path / "out"), "--format", "safetensors"]) == 0
    model = dualdub_jax.load(tmp_path / "out")
    assert model.engine.config == CONFIG
    tokens = np.zeros((4, CONFIG.streams.speech.codec.num_codebooks), np.int32)
    np.testing.assert_array_equal(
        model.engine.decode("speech", tokens), dualdub_jax.load(bundle).engine.decode("speech", tokens)
    )


def test_large_models_are_several_files(tmp_path, bundle):
    _, params = load_bundle(bundle, dtype=None)
    safetensors_tree.write(tmp_path, params, largest_file_bytes=20_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2 and files[0].startswith("model-00001-of-")
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
        safetensors_tree.read_shapes(tmp_path),
    )
    _equal(safetensors_tree.read(tmp_path, target), params)


def test_the_examples_without_this_package(tmp_path, bundle):
    for name, way in (("bundle", "orbax"), ("hub", "safetensors")):
        assert main(["export", str(bundle), str(tmp_path / "out" / name), "--format", way]) == 0
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text().split("## Reading it without")[1], re.DOTALL)
    assert len(blocks) == 2
    code = "import sys; sys.modules['dualdub_jax'] = None\n" + "\n".join(blocks)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    orbax_sizes, safetensors_parts = done.stdout.splitlines()
    sizes = ast.literal_eval(orbax_sizes)
    assert set(sizes) == set(ast.literal_eval(safetensors_parts)) == set(abstract_params(CONFIG))
    assert sum(sizes.values()) == sum(x.size for x in jax.tree.leaves(abstract_params(CONFIG)))


# ------------------------------------------------------------------------------------------------ refusals


def fails(capsys, *argv):
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert main([str(item) for item in argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_an_out_that_is_there_is_left_alone(tmp_path, bundle, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    line = fails(capsys, "export", bundle, tmp_path / "out")
    assert "already exists" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    (tmp_path / "out" / "notes.txt").unlink()
    assert main(["export", str(bundle), str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("file_format", ["orbax", "safetensors"])
def test_a_full_disk_is_named_and_nothing_is_left_behind(tmp_path, bundle, capsys, file_format):
    # No file may grow beyond this: to whoever writes, the same as a disk that takes no more.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, before[1]))
    try:
        line = fails(capsys, "export", bundle, tmp_path / "out", "--format", file_format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "out: the disk is full; make room" in line
    assert not list(tmp_path.iterdir())


def test_what_is_no_checkpoint_is_refused(tmp_path, trained, bundle, capsys):
    workdir, _ = trained
    out = tmp_path / "out"
    assert "no such folder" in fails(capsys, "export", tmp_path / "nothing", out)
    assert "neither a bundle nor" in fails(capsys, "export", tmp_path, out)
    assert "those are: text_speech, soundtrack" in fails(
        capsys, "export", workdir / "codec_vocoder_speech", out
    )
    assert "soundtrack/7: no such folder" in fails(capsys, "export", workdir / "soundtrack/7", out)
    assert "only goes with --config FILE" in fails(capsys, "export", workdir, out, "--config.seed=3")
    assert "--raw-params" in fails(capsys, "export", bundle, out, "--raw-params")
    assert "--step: only goes with a" in fails(capsys, "export", bundle, out, "--step", "best")
    assert "has no such checkpoint; it has 1, 2" in fails(capsys, "export", workdir, out, "--step", "7")
    assert "1 names a step already" in fails(
        capsys, "export", workdir / "soundtrack/1", out, "--step", "best"
    )
    no_loss = fails(capsys, "export", workdir / "text_speech", out, "--step", "best")
    assert "no checkpoint in" in no_loss and "has a held-out loss" in no_loss
    assert "expected a step, newest or best" in fails(capsys, "export", workdir, out, "--step", "last")
    assert not out.exists()


def test_a_run_that_lacks_something_says_what(tmp_path, trained, capsys):
    copy, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(trained[0], copy)
    shutil.rmtree(copy / "codec_vocoder_background")
    line = fails(capsys, "export", copy, out)
    assert "codec_vocoder_background: has no checkpoint" in line and "--phases" in line
    other = dataclasses.replace(CONFIG, seed=5)
    write_run_config(copy, other)
    assert "was started with --config.seed=0, but this run has --config.seed=5" in fails(
        capsys, "export", copy, out
    )
    (copy / "run_config.json").unlink()
    assert "give the config of its training: --config" in fails(capsys, "export", copy, out)
    assert not out.exists()


def test_a_half_training_checkpoint_is_named(tmp_path, trained, capsys):
    copy, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(trained[0], copy)
    for path in (copy / "soundtrack/2/state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:100])
    line = fails(capsys, "export", copy, out)
    assert "soundtrack/2: this checkpoint cannot be read" in line and "earlier step" in line
    # It is only looked at: nothing is set aside, and the one before is still to be had.
    assert (copy / "soundtrack/2").is_dir()
    assert main(["export", str(copy / "soundtrack/1"), str(out)]) == 0
    shutil.rmtree(copy / "soundtrack/1/meta")
    assert "soundtrack/1: this checkpoint cannot be read" in fails(
        capsys, "export", copy / "soundtrack/1", tmp_path / "out2"
    )


def test_half_bundles_are_named(tmp_path, bundle, capsys):
    assert main(["export", str(bundle), str(tmp_path / "hub"), "--format", "safetensors"]) == 0
    file = tmp_path / "hub" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "hub: its safetensors cannot be read" in fails(capsys, "export", tmp_path / "hub", tmp_path / "a")
    shutil.copytree(bundle, tmp_path / "half")
    for part in (tmp_path / "half" / "params").rglob("d/*"):
        part.unlink()
    assert "half: its params/ cannot be read" in fails(capsys, "export", tmp_path / "half", tmp_path / "a")
    header = json.loads((bundle / "config.json").read_text())
    header["config"]["model"]["width"] = 64
    shutil.copytree(bundle, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(header))
    assert "of another model size: " in fails(capsys, "export", tmp_path / "other", tmp_path / "a")
    assert not (tmp_path / "a").exists()

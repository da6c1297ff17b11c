"""The paper's DualDub: what its config says, and its miniature from training to a dubbed film."""

import dataclasses
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.codecs.registry import codec_spec, grid_spec
from dualdub_jax.config import load_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.dubbing.engine import Engine
from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.models.aligners.paper import ATTENTIONS
from dualdub_jax.models.analytic_flops import has_formula
from dualdub_jax.tools.aot import lower_train_step
from dualdub_jax.tools.random_parts import write_random_parts
from dualdub_jax.training.optimizer import make_schedule
from dualdub_jax.types import STREAMS
from tests.evaluation.toy import Level
from tests.films import make_film

VARIANTS = ("dualdub", "dualdub:late_aligner")


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_the_papers_system(name):
    config = load_config(name)
    model = config.model
    assert (model.num_layers, model.num_heads, model.width) == (24, 16, 2048)
    assert model.num_heads * model.head_dim == model.width and model.num_kv_heads == model.num_heads
    assert config.grid.frame_rate == 40 and config.grid.num_voice_frames == 3 * 40
    for stream in STREAMS:
        spec = grid_spec(config, stream)
        assert spec == codec_spec(config, stream)  # one token a frame
        assert (spec.sample_rate_hz, spec.num_codebooks, spec.codebook_size) == (24_000, 1, 4096)
        assert config.streams[stream].head == "linear"
        decoder = config.streams[stream].decoder
        assert (decoder.num_layers, decoder.num_heads, decoder.width) == (8, 16, 2048)
        assert (decoder.source, decoder.condition, decoder.resampling) == ("embedding", "none", "nearest")
        assert decoder.training.regression_weight == 0 and not decoder.training.stop_gradient
    assert config.streams.speech.codec == config.streams.background.codec
    assert (model.aligner.use_causal, model.aligner.use_noncausal, model.aligner.use_script) == (1, 1, 0)
    assert (config.loss.condition_dropout_rate, config.loss.past_dropout_rate) == (0, 0)
    assert has_formula(config)


def test_its_stages_are_the_papers():
    stages = load_config("dualdub").stages
    assert [stage.name for stage in stages] == ["video_audio", "text_speech", "soundtrack"]
    names = [{source.name for source in stage.mixture} for stage in stages]
    for before, after in itertools.pairwise(names):
        assert before < after  # earlier datasets stay
    for stage, (low, high) in zip(stages, ((2e-6, 2e-4), (2e-7, 2e-4), (2e-7, 2e-5)), strict=True):
        optimizer = stage.optimizer
        assert (optimizer.b1, optimizer.b2, optimizer.eps, optimizer.weight_decay) == (0.9, 0.98, 1e-9, 0)
        assert stage.batch_size == 192
        schedule = make_schedule(optimizer, stage.num_steps)
        rates = [schedule(step) for step in (0, 4000, stage.num_steps)]
        np.testing.assert_allclose(rates, [low, high, low], rtol=1e-3)
    # Tasks alternate in equal numbers.
    assert {source.weight for source in stages[1].mixture} == {0.5}


def test_the_other_reading_freezes_the_aligner_until_the_last_stage():
    config = load_config("dualdub:late_aligner")
    attentions = {f"attend_{name}" for name in ATTENTIONS}
    for stage, is_frozen in zip(config.stages, (True, True, False), strict=True):
        state = jax.eval_shape(stage_phase(config, stage, list).init, jax.random.key(0), None)
        assert set(state.params.get("aligner", {})) == (set() if is_frozen else attentions)
        assert state.extra is None or set(state.extra["aligner"]) == attentions
        assert state.ema_params is None


def test_its_step_lowers_for_tpu_and_cuda_without_any_weights():
    config = load_config("dualdub")
    config = dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, data=2, fsdp=8))
    mesh = jax.sharding.AbstractMesh(
        (2, 8, 1, 1), ("data", "fsdp", "tensor", "sequence"), axis_types=(jax.sharding.AxisType.Auto,) * 4
    )
    for platform in ("tpu", "cuda"):
        lowered = lower_train_step(config, config.stages[0], mesh, platforms=(platform,))
        assert "stablehlo" in lowered.as_text()[:4000]


# ------------------------------------------------------------------------------------------- the miniature


def _arguments(folder, data_dir) -> list[str]:
    """Overrides of the miniature: the tests' films, parts in a folder, two steps a stage."""
    config = load_config("dualdub:tiny")
    found = {"data_dir": data_dir, "grid.num_frames": 32, "grid.num_script_tokens": 48}
    found |= {f"streams.{stream}.codec.path": folder / "wavtokenizer" for stream in STREAMS}
    found |= {f"streams.{stream}.decoder.path": folder / "oobleck" for stream in STREAMS}
    for stream in STREAMS:
        training = f"streams.{stream}.decoder.training"
        found |= {f"{training}.num_steps": 2, f"{training}.batch_size": 2, f"{training}.crop_frames": 10}
        found |= {f"{training}.statistics_steps": 1, f"{training}.mixture.0.name": "tiny_films/soundtrack"}
    found["video_features.extractor"] = f"clip(path='{folder}/clip', frame_rate_hz='25/3')"
    found["model.script_tokenizer"] = config.model.script_tokenizer.replace("weights/tiny", str(folder))
    found |= {"checkpoint.save_every_steps": 1, "held_out.every_steps": 2, "held_out.num_clips": 2}
    for i, stage in enumerate(config.stages):
        found |= {f"stages.{i}.num_steps": 2, f"stages.{i}.batch_size": 4}
        for j, source in enumerate(stage.mixture):
            found[f"stages.{i}.mixture.{j}.name"] = source.name.replace("puppet_stage", "tiny_films")
    return [f"--config.{key}={value}" for key, value in found.items()]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data_dir):
    """A whole run of the miniature: its command, its workdir."""
    folder = tmp_path_factory.mktemp("dualdub")
    shutil.copytree(tiny_data_dir, folder / "data")
    overrides = _arguments(folder / "parts", folder / "data")
    config = load_config("dualdub:tiny", [text.removeprefix("--config.") for text in overrides])
    assert len(write_random_parts(config)) == 4
    assert write_random_parts(config) == []  # those that exist are kept
    assert main(["data", "prepare", str(folder / "data"), "--config", "dualdub:tiny", *overrides]) == 0
    command = ["train", "--config", "dualdub:tiny", *overrides, "--workdir"]
    assert main([*command, str(folder / "run")]) == 0
    return command, folder / "run"


@pytest.mark.slow
def test_it_trains_in_the_papers_order_on_all_tasks(run):
    lines = [json.loads(line) for line in (run[1] / "metrics.jsonl").read_text().splitlines()]
    losses = {line["phase"]: line for line in lines if "loss_speech" in line}
    assert list(losses) == ["video_audio", "text_speech", "soundtrack"]
    assert losses["video_audio"]["loss_speech"] == 0 < losses["video_audio"]["loss_background"]
    for name in ("text_speech", "soundtrack"):
        assert losses[name]["loss_speech"] > 0 and losses[name]["loss_background"] > 0


@pytest.mark.slow
def test_an_interrupted_run_ends_in_the_same_bits(run, tmp_path):
    command, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    for name in ("bundle", "soundtrack", "text_speech/2"):
        shutil.rmtree(tmp_path / "run" / name)
    assert main([*command, str(tmp_path / "run")]) == 0
    (_, once), (_, twice) = (load_bundle(folder / "bundle") for folder in (workdir, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, twice, once)


@pytest.mark.slow
def test_its_export_dubs_without_codecs_and_vocabulary_beside_it(run, tmp_path, capsys):
    bundle, parts = tmp_path / "exported", run[1].parent / "parts"
    assert main(["export", str(run[1]), str(bundle)]) == 0
    for name in ("wavtokenizer", "tiny.tiktoken"):  # both are in the bundle
        (parts / name).rename(parts / f"{name}.away")
    try:
        film = make_film(tmp_path / "film.mp4", num_frames=20)
        spoken, silent, out = (tmp_path / f"{name}.mp4" for name in ("spoken", "silent", "none"))
        dub = ["dub", str(film), "--checkpoint", str(bundle), "-o"]
        assert main([*dub, str(spoken), "--script", "Hello, you!", "--allow-inaudible"]) == 0
        assert main([*dub, str(silent)]) == 0  # without speech
        assert spoken.is_file() and silent.is_file()
        capsys.readouterr()
        (parts / "clip").rename(parts / "clip.away")  # which is not in the bundle
        assert main([*dub, str(out)]) == 2
        error = capsys.readouterr().err
        assert f"{parts}/clip: no such folder; get CLIP" in error and error.count("\n") == 1
        assert not out.exists()
    finally:
        for away in parts.glob("*.away"):
            away.rename(away.with_suffix(""))


@pytest.mark.slow
def test_its_bundle_is_evaluated(run, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "all_metrics", lambda casp_weights: [Level()])
    report = tmp_path / "results.json"
    evaluate = ["evaluate", "--suite", "puppet", "--limit", "1", "--checkpoint", str(run[1] / "bundle")]
    assert main([*evaluate, "--workdir", str(tmp_path / "work"), "--json", str(report)]) == 0
    results = json.loads(report.read_text())
    assert results["num_scored"] == 1 and results["failures"] == []
    assert results["metrics"]["level_error"]["value"] is not None


@pytest.mark.slow
def test_a_film_without_speech_is_prompted_and_scripts_keep_their_case(run, monkeypatch):
    engine = Engine.from_bundle(run[1] / "bundle")
    seen = []
    monkeypatch.setattr(engine, "_generate", lambda _, rows, *rest: seen.append(rows.batch) or {
        stream: getattr(rows.batch, f"{stream}_tokens") for stream in STREAMS})  # fmt: skip
    video = {"video_features": np.zeros((8, 24), np.float32)}
    common = {"video": video, "voice": None, "use_background": True, "context": {}, "seed": 0}
    for script, use_speech in (("", False), ("Hello, you!", True)):
        engine.generate(script=script, use_speech=use_speech, sampling=engine.config.sampling, **common)
    texts = [engine.tokenizer.decode(batch.script_tokens[0][batch.script_mask[0]].tolist()) for batch in seen]
    assert texts == ["Generate audio for the video.", "Hello, you!"]
    assert all(batch.has_script[0] for batch in seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("wavtokenizer", "wavtokenizer: no such folder"),
        ("clip", "clip: no such folder"),
        ("tiny.tiktoken", "tiny.tiktoken'): no such file"),
    ],
)
def test_an_absent_part_is_named_before_training(run, tmp_path, capsys, part, message):
    place = run[1].parent / "parts" / part
    place.rename(place.with_name("away"))
    try:
        assert main([*run[0], str(tmp_path / "run")]) == 2
    finally:
        place.with_name("away").rename(place)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run" / "bundle").exists()

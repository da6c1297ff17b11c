"""Every place of the system takes a class by import path, which needs its contract and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualdub_jax
from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import load_bundle
from dualdub_jax.config import Config, from_dict, to_dict
from dualdub_jax.errors import UserError
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.text.tokenizer import make_tokenizer
from tests.codecs.test_second_codec import toy_config
from tests.films import make_film
from tests.tiny import random_batch, random_params, tiny_config

HERE = "tests.parts.toy_parts"


def _config(changes: dict[str, str]) -> Config:
    values = to_dict(tiny_config())
    for key, value in changes.items():
        node = values
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        node[last] = value
    return from_dict(values)


PARTS = {
    "model.video.kind": f"{HERE}:MeanColour",
    "model.script_encoder": f"{HERE}:ScriptLength",
    "model.speaker_encoder": f"{HERE}:MeanSpeaker",
    "model.backbone": f"{HERE}:RunningMean(gain=0.5)",
    "model.aligner.kind": f"{HERE}:RunningSum",
    "streams.speech.head": f"{HERE}:IndependentHead",
}


@pytest.mark.parametrize("key", PARTS)
def test_the_model_trains_and_decodes_with_it_alike(key):
    config = _config({key: PARTS[key]})
    if key == "model.script_encoder":  # another number of prefix vectors than tokens: no script aligner
        aligner = dataclasses.replace(config.model.aligner, use_script=False)
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, aligner=aligner))
    model, params, batch = make_model(config), random_params(config), random_batch(config, 2)
    variables = {"params": params}
    output = jax.jit(model.apply)(variables, batch)
    assert jax.tree.structure(params) != jax.tree.structure(random_params(tiny_config()))

    @jax.jit
    def decode(batch):
        conditions = model.apply(variables, batch, method="encode")
        cache = model.apply(variables, conditions, method="start")

        def frame(cache, t):
            previous = {
                stream: jnp.take(getattr(batch, f"{stream}_tokens"), jnp.maximum(t - 1, 0), axis=1)
                for stream in ("speech", "background")
            }
            state, cache = model.apply(variables, conditions, cache, t, previous, method="advance")
            return cache, state

        return jax.lax.scan(frame, cache, jnp.arange(config.grid.num_frames))[1]

    np.testing.assert_allclose(jnp.swapaxes(decode(batch), 0, 1), output.state, atol=5e-4)


def test_a_tokenizer_is_a_plain_class_with_sizes_of_its_own():
    config = _config({"model.script_tokenizer": f"{HERE}:WordCount(word_id=3)"})
    assert make_tokenizer(config.model).encode("lay blue") == [0, 3, 3, 0]
    with pytest.raises(UserError, match="script_vocab_size: 259 is too small"):
        make_tokenizer(_config({"model.script_tokenizer": f"{HERE}:WordCount(word_id=300)"}).model)
    with pytest.raises(
        UserError, match=r"pathlib:Path: its encode\(\) must take \(text\), as Tokenizer has it"
    ):
        make_tokenizer(_config({"model.script_tokenizer": "pathlib:Path"}).model)


def test_a_script_encoder_that_the_script_aligner_cannot_use_says_so():
    config = _config({"model.script_encoder": f"{HERE}:ScriptLength"})
    with pytest.raises(
        UserError, match=r"makes 1 vectors of 8 tokens.*config.model.aligner.use_script=false"
    ):
        random_params(config)


def test_sizes_of_a_codec_are_keys_of_its_group():
    kind = "tests.codecs.toy_codec:ToyCodec(codebook_size=3)"
    config = _config({"streams.speech.codec": {"kind": kind}})
    with pytest.raises(UserError, match=r"keys of its group: --config.streams.speech.codec.codebook_size=3"):
        make_model(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data_dir):
    """A run in which every part is the least that its contract asks for: the folder of it, and its config."""
    values = to_dict(toy_config(tiny_data_dir))
    values["streams"]["background"]["decoder"] = f"{HERE}:BuzzDecoder(num_levels=2)"
    for stream in values["streams"].values():
        stream["head"] = f"{HERE}:IndependentHead"
    values["model"] |= {
        "script_encoder": f"{HERE}:ScriptLength",
        "speaker_encoder": f"{HERE}:MeanSpeaker",
        "backbone": f"{HERE}:RunningMean(gain=0.5)",
        "script_tokenizer": f"{HERE}:WordCount",
    }
    values["model"]["video"]["kind"] = f"{HERE}:MeanColour"
    values["model"]["aligner"] |= {"kind": f"{HERE}:RunningSum", "use_script": False}
    folder = tmp_path_factory.mktemp("parts")
    config = folder / "config.py"
    config.write_text(
        f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
    )
    assert main(["train", "--config", str(config), "--workdir", str(folder / "run")]) == 0
    return folder / "run", config


@pytest.mark.slow
def test_the_least_classes_are_trained_exported_and_dub(run, tmp_path):
    _, params = load_bundle(run[0] / "bundle")
    np.testing.assert_allclose(params["background_decoder"]["levels"], 0.25 * (1 - 0.5**3))
    assert params["background_decoder"]["levels"].shape == (8, 2)
    assert main(["export", str(run[0]), str(tmp_path / "out")]) == 0
    film = make_film(tmp_path / "film.mp4", num_frames=25, size=(32, 32))
    model = dualdub_jax.load(tmp_path / "out")
    soundtrack = model.dub(film, script="two words")
    assert soundtrack.sample_rate_hz == 48_000 and len(soundtrack.background) == 48_000
    # Both tracks may be attenuated behind the mix's peak limit.
    level = np.abs(soundtrack.background)
    np.testing.assert_allclose(level, level[0], atol=1e-4)
    assert 0.15 < level[0] <= 0.25 * (1 - 0.5**3) + 1e-4
    # A long track goes through its stream, to the same samples.
    grid = model.engine.config.grid
    tokens = np.zeros((int(31 * grid.frame_rate), 1), np.int32)
    decoder = model.engine.open_decoder("background")
    streamed = np.concatenate([decoder.push(tokens), decoder.flush()])
    np.testing.assert_array_equal(streamed, model.engine.decode("background", tokens))
    assert len(streamed) == 31 * 48_000


@pytest.mark.slow
def test_a_default_that_is_spelled_out_resumes(run, capsys):
    command = ["train", "--config", str(run[1]), "--workdir", str(run[0])]
    explicit = [
        f"--config.model.backbone={HERE}:RunningMean( gain=0.5 )",
        "--config.streams.speech.codec.codebook_size=8",
        "--config.streams.speech.codec.training.batch_size=4",
    ]
    assert main([*command, *explicit]) == 0
    assert main([*command, f"--config.model.backbone={HERE}:RunningMean"]) == 2  # whose gain is 1
    assert "model.backbone" in capsys.readouterr().err


@pytest.mark.slow
def test_training_further_asks_for_the_parameter_that_it_needs(run, tmp_path, capsys):
    command = ["train", "--config", str(run[1]), "--workdir", str(tmp_path / "run")]
    further = [f"--config.codecs_from={run[0]}", '--config.train_codecs=["background"]']
    assert main([*command, *further]) == 2
    error = capsys.readouterr().err
    assert "BuzzDecoder(num_levels=2) has no parameter `initial`" in error and error.count("\n") == 1
    # The codec has it.
    assert main([*command, *further, "--config.streams.background.decoder=codec"]) == 0
    assert "background_codec: 1 arrays restored" in capsys.readouterr().out
    before, after = (
        load_bundle(folder / "bundle")[1]["background_codec"]["levels"]
        for folder in (run[0], tmp_path / "run")
    )
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(before, after, atol=0.15)  # three more steps of 0.05

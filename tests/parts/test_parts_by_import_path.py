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


@pytest.mark.slow
def test_a_waveform_decoder_trains_on_a_frozen_codec_and_dubs_at_its_own_rate(tmp_path, tiny_data_dir):
    values = to_dict(toy_config(tiny_data_dir))
    values["streams"]["background"]["decoder"] = f"{HERE}:BuzzDecoder"
    config = tmp_path / "config.py"
    config.write_text(
        f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
    )
    assert main(["train", "--config", str(config), "--workdir", str(tmp_path / "run")]) == 0
    _, params = load_bundle(tmp_path / "run" / "bundle")
    np.testing.assert_allclose(params["background_decoder"]["levels"], 0.25 * (1 - 0.5**3))
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    film = make_film(tmp_path / "film.mp4", num_frames=25, size=(32, 32))
    model = dualdub_jax.load(tmp_path / "out")
    soundtrack = model.dub(film)
    assert soundtrack.sample_rate_hz == 48_000 and len(soundtrack.background) == 48_000
    np.testing.assert_allclose(np.abs(soundtrack.background), 0.25 * (1 - 0.5**3), atol=1e-4)
    # A long track goes through its stream, to the same samples.
    grid = model.engine.config.grid
    tokens = np.zeros((int(31 * grid.frame_rate), 1), np.int32)
    decoder = model.engine.open_decoder("background")
    streamed = np.concatenate([decoder.push(tokens), decoder.flush()])
    np.testing.assert_array_equal(streamed, model.engine.decode("background", tokens))
    assert len(streamed) == 31 * 48_000

"""`dualdub evaluate` and `dub` of bundles with the codecs of public weights, tiny and random."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from dualdub_jax.codecs.mimi.config import MimiConfig
from dualdub_jax.codecs.registry import grid_spec
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.config import GridConfig, StreamConfig, StreamsConfig
from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.types import STREAMS
from tests.evaluation.toy import Level
from tests.films import make_film
from tests.tiny import tiny_config

CODECS = {
    # 25 frames a second
    "wavtokenizer": WavTokenizerConfig(
        sample_rate_hz=2400, strides=(4, 4, 6), num_filters=2, latent_dim=8, codebook_size=32,
        decoder_width=16, decoder_mlp_width=32, decoder_num_blocks=1, decoder_num_groups=4, stream_s=2.0,
    ),
    # 50 frames a second, folded onto a grid of 25
    "mimi": MimiConfig(
        sample_rate_hz=4800, strides=(4, 4, 3), num_filters=4, width=16, num_layers=1, num_heads=2,
        num_kv_heads=2, head_dim=8, mlp_width=32, window=20, num_upsample_groups=16, num_codebooks=3,
        codebook_size=16, codebook_dim=8,
    ),
}  # fmt: skip


def _bundle(folder, kinds):
    """Random values of everything: with a codebook of zeros, tokens would not matter."""
    groups = {stream: StreamConfig(codec=CODECS[kind]) for stream, kind in zip(STREAMS, kinds, strict=True)}
    config = dataclasses.replace(tiny_config(), grid=GridConfig(), streams=StreamsConfig(**groups))
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda x: np.asarray(0.2 * rng.normal(size=x.shape), x.dtype), abstract_params(config)
    )
    save_bundle(folder, config, params, {})
    return config


@pytest.mark.slow
def test_evaluate_scores_films_and_their_coded_truth_and_dub_writes_a_film(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "all_metrics", lambda casp_weights: [Level()])
    config, bundle = _bundle(tmp_path / "bundle", ("wavtokenizer", "mimi")), str(tmp_path / "bundle")
    assert [grid_spec(config, stream).num_codebooks for stream in STREAMS] == [1, 6]
    argv = ["evaluate", "--suite", "puppet", "--limit", "3", "--checkpoint", bundle, "--workdir",
            str(tmp_path / "work"), "--json", str(tmp_path / "results.json")]  # fmt: skip
    assert main(argv) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["num_scored"] == 3 and results["failures"] == []
    error = results["metrics"]["level_error"]
    assert error["value"] is not None and error["codec_ceiling"] > 0 and error["floor"] is not None
    for clip in results["clips"]:
        ours, true, coded = (
            soundfile.read(tmp_path / "work" / clip["files"]["background"][name])[0]
            for name in ("ours", "true", "codec")
        )
        assert len(ours) == len(true) == len(coded) == round(clip["duration_s"] * 16_000)
        assert np.isfinite(coded).all() and coded.any() and not np.allclose(coded, true, atol=1e-2)

    film, out = make_film(tmp_path / "film.mp4", num_frames=120), tmp_path / "dubbed.mp4"
    dub = ["dub", str(film), "-o", str(out), "--checkpoint", bundle, "--stems", str(tmp_path / "stems")]
    assert main([*dub, "--script", "hello there", "--allow-inaudible"]) == 0
    assert out.is_file()
    background, rate_hz = soundfile.read(tmp_path / "stems" / "background.wav")
    assert background.any() and len(background) == round(rate_hz * 120 / 25)

"""Ablations: retrains the model without a component and evaluates it on the same clips.

    dualdub data build puppet_stage --out data
    python benchmarks/ablations.py --workdir runs/ablations
    python benchmarks/ablations.py --workdir runs/ablations --rows all,none --train-only

For each row, the last stage of the curriculum is retrained for `--steps` steps, from the parameters of a
bundle with randomly initialised aligners (which favours the bundle's own setting, row `all`), or (rows
`curriculum`, `paper_order`, `soundtrack_alone` and `paper_alone`) from its codecs only. Finished models are
not retrained, so several processes can divide the rows with `--train-only`. Then every row is evaluated: test
clips of another world seed are dubbed and scored by the metrics of `dualdub evaluate`, and the validation
loss is computed, which is independent of sampling. The last line is the table as JSON.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ablation_rows import ROWS, Row, row_config

from dualdub_jax.bundles.bundle import default_bundle_path, load_bundle, read_bundle_header, save_bundle
from dualdub_jax.codecs.registry import make_codecs
from dualdub_jax.config import Config, SourceConfig, StageConfig, load_config
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.losses import batch_losses
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.curriculum.video_encoder import PHASE_NAME as VIDEO_ENCODER
from dualdub_jax.curriculum.video_encoder import video_encoder_phase
from dualdub_jax.data_pipeline.loader import make_batches
from dualdub_jax.dubbing.dub import DualDub
from dualdub_jax.dubbing.engine import Engine
from dualdub_jax.dubbing.progress import make_progress
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.contracts import registry
from dualdub_jax.evaluation.run.runner import evaluate
from dualdub_jax.evaluation.run.systems import Checkpoint
from dualdub_jax.evaluation.suites.puppet import PuppetSuite
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.types import STREAMS, Batch

_METRICS = ("grammar_asr", "lip_sync", "impacts", "acoustics")
_FIGURES = (
    "wer_no_letters",
    "onset_f1",
    "impact_class_accuracy",
    "lip_correlation",
    "noise_level_correlation",
    "rt60_correlation",
)
# The components under test are randomly initialised in every row.
_FRESH = ("aligner", "script_aligner")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--base", type=pathlib.Path, default=default_bundle_path(), help="initial bundle (default: bundled)"
    )
    parser.add_argument("--config", default="configs/puppet.py", help="of the curriculum and the model")
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--data-dir", default="data", help="default: data")
    parser.add_argument("--rows", default=",".join(ROWS), help="default: all")
    parser.add_argument("--seeds", default="0", help="of training, such as 0,1")
    parser.add_argument("--steps", type=int, default=500, help="of the last stage, per model")
    parser.add_argument("--limit", type=int, default=60, help="number of test clips")
    parser.add_argument("--losses-only", action="store_true", help="evaluate by validation losses alone")
    parser.add_argument("--train-only", action="store_true", help="train the rows without evaluating them")
    args = parser.parse_args()
    try:
        return run(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Trains missing models, evaluates all rows and prints the table; returns the exit status."""
    names, seeds = args.rows.split(","), [int(seed) for seed in args.seeds.split(",")]
    for name in names:
        if name not in ROWS:
            raise UserError(f"--rows {name}: no such row; choose from {', '.join(ROWS)}")
    base = dataclasses.replace(
        load_config(args.config),
        data_dir=args.data_dir,
        codecs_from=str(args.base),
        model_from=str(args.base),
    )
    bundles = {
        (name, seed): {part: train_model(args, base, name, part, seed) for part in ROWS[name].parts}
        for seed in seeds
        for name in names
    }
    if not args.train_only:
        scores = {
            f"{name}_{seed}": score(args, base, ROWS[name], models)
            for (name, seed), models in bundles.items()
        }
        print_table(scores, args)
    return 0


# ------------------------------------------------------------------------------------------------ training


def train_model(args: argparse.Namespace, base: Config, name: str, part: str, seed: int) -> pathlib.Path:
    """Trains one model of a row unless it exists; returns its bundle.

    Raises:
        UserError: a model exists that was trained with other settings.
    """
    workdir = args.workdir / f"{name}{'_' * bool(part)}{part}_{seed}"
    bundle = workdir / "bundle"
    config = row_config(base, name, part, seed, args.steps)
    if (bundle / "config.json").is_file():
        if read_bundle_header(bundle).config != config:
            raise UserError(f"{workdir}: was trained with other settings; choose another --workdir")
        return bundle
    mesh, writer = make_mesh(config.mesh), MetricWriter(workdir)
    codec_params = start.read_codecs(config, mesh)
    codecs = make_codecs(config, {stream: codec_params[f"{stream}_codec"] for stream in STREAMS})
    batches = functools.partial(make_batches, config, codecs=codecs, seed=seed, token_cache={})
    params = {}
    if config.model_from:
        known = start.read_model(config, mesh)
        params = {key: value for key, value in known.items() if key not in _FRESH}
    if config.video_training.num_steps:
        films = StageConfig(VIDEO_ENCODER, config.video_training.mixture)
        phase = video_encoder_phase(config, lambda: batches(films))
        params |= run_phase(phase, config, mesh, workdir, writer)
    for stage in config.stages:
        phase = stage_phase(config, stage, functools.partial(batches, stage), params)
        params = run_phase(phase, config, mesh, workdir, writer)
    writer.close()
    save_bundle(bundle, config, {"model": params, **codec_params}, {"ablation": name, "seed": seed})
    return bundle


# ------------------------------------------------------------------------------------------------- scoring


class RowCheckpoint(Checkpoint):
    """The models of a row as one checkpoint, with the row's conditions removed in generation."""

    def __init__(self, row: Row, models: Mapping[str, pathlib.Path]) -> None:
        super().__init__(next(iter(models.values())))
        self._row, self._models = row, models
        if len(models) > 1:
            parts = [Checkpoint(path).sha256 for path in models.values()]
            self.sha256 = hashlib.sha256("".join(parts).encode()).hexdigest()

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"absent": list(self._row.absent)}

    def load(self) -> DualDub:
        if self._model is None:
            engines = {
                part: Engine(*load_bundle(path), absent=self._row.absent)
                for part, path in self._models.items()
            }
            engine = engines[""] if "" in engines else Cascade(engines)
            self._model = DualDub(engine, self.path)
        return self._model


class Cascade:
    """Two engines, each of which generates the track of its name."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        one = engines["background"]
        self.config, self.tokenizer, self.codecs = one.config, one.tokenizer, one.codecs
        self.decode, self.sample_acoustics = one.decode, one.sample_acoustics
        self.frame_specs, self.encode_frames = one.frame_specs, one.encode_frames
        self.open_decoder, self.sample_rate_hz = one.open_decoder, one.sample_rate_hz
        self.silence = one.silence

    def generate(
        self, *, use_speech: bool, use_background: bool, context: Mapping[str, np.ndarray], **rest: Any
    ) -> dict[str, np.ndarray]:
        """See `Engine.generate`."""
        used = {"speech": use_speech, "background": use_background}
        tokens = {}
        for stream, engine in self._engines.items():
            if used[stream]:
                past = {stream: context[stream]} if stream in context else {}
                only = {f"use_{each}": each == stream for each in STREAMS}
                tokens |= engine.generate(context=past, **only, **rest)
        return tokens


def score(
    args: argparse.Namespace, base: Config, row: Row, models: Mapping[str, pathlib.Path]
) -> dict[str, dict[str, float | None]]:
    """Evaluates a row: figure -> value, number of clips and 95% interval if defined."""
    found: dict[str, dict[str, float | None]] = {}
    for path in models.values():
        found |= {name: {"value": value} for name, value in validation_losses(base.data_dir, path).items()}
    if args.losses_only:
        return found
    folder = args.workdir / "evaluation"
    metrics = registry.select(registry.all_metrics(None), _METRICS)
    suite = PuppetSuite(folder, limit=args.limit)
    results = evaluate(
        suite, metrics, folder, checkpoint=RowCheckpoint(row, models), progress=make_progress()
    )
    return found | {
        name: {key: results["metrics"][name].get(key) for key in ("value", "low", "high", "n")}
        for name in _FIGURES
    }


def validation_losses(data_dir: str, bundle: pathlib.Path) -> dict[str, float]:
    """Teacher-forced cross-entropy of each generated stream on the validation split, nats per code."""
    config, params = load_bundle(bundle)
    config = dataclasses.replace(config, data_dir=data_dir)
    stage = dataclasses.replace(config.stages[-1], mixture=(SourceConfig("puppet_stage/soundtrack"),))
    codecs = make_codecs(config, {stream: params[f"{stream}_codec"] for stream in STREAMS})
    model = make_model(config)

    @jax.jit
    def losses(model_params: Any, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
        logits = model.apply({"params": model_params}, batch).logits
        return {
            stream: (each.loss.sum(), each.weight.sum())
            for stream, each in batch_losses(logits, batch, config.loss).items()
        }

    sums = {stream: np.zeros(2) for stream in STREAMS}
    iterator = make_batches(config, stage, codecs, split="validation", seed=0, repeat=False, shuffle=False)
    with contextlib.closing(iterator):
        for fields in iterator:
            del fields["example_ids"]
            for stream, pair in losses(params["model"], Batch(**fields)).items():
                sums[stream] += np.asarray(pair)
    return {f"loss_{stream}": float(loss / weight) for stream, (loss, weight) in sums.items() if weight}


def print_table(scores: Mapping[str, Mapping[str, Mapping[str, Any]]], args: argparse.Namespace) -> None:
    """Prints a Markdown table, and the same as JSON."""
    columns = (*(() if args.losses_only else _FIGURES), "loss_speech", "loss_background")
    clips = "" if args.losses_only else f", {args.limit} test clips, [95% bootstrap interval over clips]"
    print(f"{args.steps} steps{clips}\n")
    print(f"| row | seed | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for name, found in scores.items():
        row, _, seed = name.rpartition("_")
        cells = [_cell(found.get(column, {})) for column in columns]
        print(f"| {ROWS[row].about} | {seed} | {' | '.join(cells)} |")
    print(json.dumps(scores))


def _cell(figure: Mapping[str, Any]) -> str:
    if figure.get("value") is None:
        return "-"
    shown = f"{figure['value']:.3g}"
    return shown if figure.get("low") is None else f"{shown} [{figure['low']:.3g}, {figure['high']:.3g}]"


if __name__ == "__main__":
    sys.exit(main())

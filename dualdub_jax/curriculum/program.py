"""The training program: both codecs, the video encoder, the curriculum stages, then a bundle.

A config with `task` "casp" trains the metric CASP instead, on the same loop.
"""

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from flax import traverse_util

from dualdub_jax import config as config_lib
from dualdub_jax.bundles.bundle import save_bundle
from dualdub_jax.casp import bundle as casp_bundle
from dualdub_jax.casp import training as casp
from dualdub_jax.codecs.base import CodecTraining, RunPhase, of_stream
from dualdub_jax.codecs.registry import codec_config, codec_training, make_codecs, pretrained_codec
from dualdub_jax.config import Config, StageConfig
from dualdub_jax.curriculum import init_from, start, video_encoder
from dualdub_jax.curriculum.batches import codec_batches, decoder_batches, pair_batches, stage_batches
from dualdub_jax.curriculum.phase_names import dependents, phase_names
from dualdub_jax.curriculum.preflight.run import check_run
from dualdub_jax.curriculum.run_config import run_config_written
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.curriculum.video_encoder import video_encoder_phase
from dualdub_jax.data_pipeline.derivations import has_public_weights, token_fingerprint
from dualdub_jax.decoders.base import decoder_training, has_decoder
from dualdub_jax.errors import UserError
from dualdub_jax.parallel import distributed
from dualdub_jax.parallel.mesh import batch_share, make_mesh
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path
from dualdub_jax.training.checkpoint import newest_step
from dualdub_jax.training.loop import run_phase
from dualdub_jax.training.metrics import MetricWriter
from dualdub_jax.training.phase import Phase
from dualdub_jax.types import STREAMS, Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays


def train(
    config: Config,
    workdir: str | os.PathLike[str],
    *,
    phases: Sequence[str] | None = None,
    extend: bool = False,
) -> StorePath | None:
    """Trains every phase that is not complete; repeated calls resume from the newest checkpoints.

    Before the first step, config, data and disk are checked for all of these phases (`preflight/run.py`).

    Args:
        config: of the run.
        workdir: checkpoints by phase, `run_config.json`, `metrics.jsonl`, `tensorboard/`, and at the end
            `bundle/`; on a local disk or an object store.
        phases: names of `phase_names` to train; None: all. The phases that they depend on must be complete.
            Independent phases can be trained in one workdir by several processes.
        extend: phases continue with a changed recipe: more steps, another schedule, other batches or weights
            of losses. Optimizer state, averages and step numbers are kept; the changes are written to
            `events.jsonl` and to the history in `run_config.json`.

    Returns:
        The folder of the bundle; None if a phase is not complete.

    Raises:
        UserError: an unknown phase, an incomplete phase that another depends on, what the check finds, or a
            difference from a checkpoint that is not accepted.
    """
    workdir = reached(as_path(workdir))
    config = start.with_absolute_paths(config)
    check_run(config, workdir, phases, extend=extend)
    run = _Run(config, workdir, set(phases or phase_names(config)), extend)
    is_recorded = distributed.is_first()
    with run_config_written(workdir, config) if is_recorded else contextlib.nullcontext():
        try:
            return _PROGRAMS[config.task](config, workdir, run)
        finally:
            run.close()


def _train_soundtrack(config: Config, workdir: StorePath, run: "_Run") -> StorePath | None:
    # ---------------------------------------------------------------- codecs
    given = start.read_codecs(config, run.mesh) if config.codecs_from else {}
    trained = start.trained_streams(config)
    encoders = {
        stream: run.codec_encoder(stream, given) if stream in trained else given[f"{stream}_codec"]
        for stream in STREAMS
    }
    parts = {part: variables for part, variables in given.items() if part.partition("_")[0] not in trained}
    for stream in trained:
        if encoders[stream] is not None:
            parts |= run.codec_decoder(stream, encoders[stream], given)
    if None in encoders.values():
        return run.unfinished()

    # ---------------------------------------------------------------- curriculum
    # Encoding does not depend on decoders, which can be trained concurrently. Batches are encoded in a thread
    # of each process, so each process holds unsharded codecs, which are small.
    variables = {stream: distributed.local_copy(found) for stream, found in encoders.items()}
    codecs = make_codecs(config, variables)
    # Only of a codec that is not trained can tokens have been prepared.
    fingerprints = {
        stream: token_fingerprint(config, stream, codecs[stream].spec, variables[stream])
        for stream in STREAMS
        if stream not in trained or has_public_weights(config, stream)
    }
    batches = functools.partial(stage_batches, config, codecs, {}, run.share, token_fingerprints=fingerprints)
    video_parts = None
    if config.video_training.num_steps:
        films = StageConfig(
            name=video_encoder.PHASE_NAME,
            mixture=config.video_training.mixture,
            batch_size=config.video_training.batch_size,
        )
        video_parts = run.phase(video_encoder_phase(config, functools.partial(batches, films)))
    params = None
    if config.model_from and run.needs_initial_model():
        params = start.read_model(config, run.mesh, is_whole=not config.stages)
    if init_from.is_read(config, workdir, run.wanted):
        params = init_from.read_backbone(config, run.mesh)
    for stage in config.stages:
        if stage.use_pretrained_video_encoder:
            if video_parts is None:
                return run.unfinished()
            params = _merged(params or {}, video_parts)
        params = run.phase(stage_phase(config, stage, functools.partial(batches, stage), params))
        if params is None:
            return run.unfinished()

    # ---------------------------------------------------------------- bundle
    if None in parts.values():
        return run.unfinished()
    bundle = workdir / "bundle"
    all_params = {"model": params, **parts}
    training = {"phases": phase_names(config), "seed": config.seed, "data_dir": config.data_dir}
    save_bundle(bundle, config, all_params, training, config.checkpoint.bundle_dtype)
    return bundle


def _train_casp(config: Config, workdir: StorePath, run: "_Run") -> StorePath:
    audio_encoder = start.read_audio_encoder(config) if config.casp_training.audio_encoder else None
    make_batches = functools.partial(pair_batches, config, run.share)
    params = run.phase(casp.casp_phase(config, make_batches, audio_encoder))
    bundle = workdir / "bundle"
    origin = {"trained": config_lib.to_dict(config.casp_training), "seed": config.seed, "name": config.name}
    casp_bundle.save(bundle, config.casp, params, origin, config.checkpoint.bundle_dtype)
    return bundle


_PROGRAMS = {"soundtrack": _train_soundtrack, "casp": _train_casp}


class _Run:
    """Trains the requested phases and restores the results of others."""

    def __init__(self, config: Config, workdir: StorePath, wanted: set[str], extend: bool):
        self.wanted, self._extend = wanted, extend
        self._config, self._workdir = config, workdir
        self.mesh = make_mesh(config.mesh)
        # (index, count) of the batch's shares; model-parallel processes share rows.
        self.share = batch_share(self.mesh)
        self._writer = MetricWriter(workdir)
        self._done: set[str] = set()
        self._read: dict[Any, PyTree] = {}  # public weights, by the settings of their codec
        self._first_missing = ""

    def phase(self, phase: Phase) -> PyTree | None:
        """The result of a phase; None if it is neither requested nor complete."""
        if phase.name not in self.wanted and not self._is_complete(phase):
            self._first_missing = self._first_missing or phase.name
            return None
        if self._extend:
            self._check_dependents(phase)
        self._done.add(phase.name)
        return run_phase(phase, self._config, self.mesh, self._workdir, self._writer, extend=self._extend)

    def _check_dependents(self, phase: Phase) -> None:
        """Refuses more steps of a finished phase whose result others have already started from.

        Raises:
            UserError: names them.
        """
        step = newest_step(self._workdir / phase.name)
        if step is None or step >= phase.num_steps:
            return
        started = [
            name
            for name in dependents(self._config, phase.name)
            if newest_step(self._workdir / name) is not None
        ]
        if started:
            raise UserError(
                f"--extend: {phase.name} has {step} of {phase.num_steps} steps, but {', '.join(started)} "
                f"started from its result after {step}; keep its number of steps, or remove "
                f"{' '.join(str(self._workdir / name) for name in started)} to train those again"
            )

    def unfinished(self) -> None:
        """Ends a run whose phases are not all complete.

        Raises:
            UserError: a requested phase was not reached, because a phase it depends on is not complete.
        """
        if unreached := sorted(self.wanted - self._done):
            raise UserError(
                f"--phases {unreached[0]}: builds on {self._first_missing}, which is not trained yet; "
                f"add {self._first_missing} to --phases, or leave --phases out"
            )

    def close(self) -> None:
        self._writer.close()

    def codec_encoder(self, stream: Stream, given: Mapping[str, PyTree]) -> PyTree | None:
        """Variables with which a stream's codec encodes, trained from those in `given`; None: not trained."""
        training = self._codec_training(stream, given)
        if training is None:
            return self._pretrained(stream)
        return training.train_encoder(self._phase_of(stream))

    def codec_decoder(
        self, stream: Stream, variables: PyTree, given: Mapping[str, PyTree]
    ) -> dict[str, PyTree | None]:
        """Variables of a stream's codec and of its waveform decoder, if any, by name in a bundle."""
        training = self._codec_training(stream, given)
        run = self._phase_of(stream)
        codec = variables if training is None else training.train_decoder(run, variables)
        parts = {f"{stream}_codec": codec}
        if has_decoder(self._config, stream):
            batches, initial = (
                decoder_batches(self._config, stream, self.share),
                given.get(f"{stream}_decoder"),
            )
            decoder = decoder_training(self._config, stream, batches, initial)
            parts[f"{stream}_decoder"] = decoder.train(run, variables)
        return parts

    def needs_initial_model(self) -> bool:
        """Whether `model_from` is read: a stage that has a checkpoint starts from that."""
        stages = self._config.stages
        return not stages or newest_step(self._workdir / stages[0].name) is None

    def _codec_training(self, stream: Stream, given: Mapping[str, PyTree]) -> CodecTraining | None:
        batches = codec_batches(self._config, stream, self.share)
        return codec_training(self._config, stream, batches, given.get(f"{stream}_codec"))

    def _pretrained(self, stream: Stream) -> PyTree:
        """Public weights; the files of two streams with one codec are read once."""
        settings = codec_config(self._config, stream)
        if settings not in self._read:
            self._read[settings] = pretrained_codec(self._config, stream)
        return self._read[settings]

    def _phase_of(self, stream: Stream) -> RunPhase:
        """`phase` for the parts of a stream, whose settings are groups of `streams.<stream>`."""
        return lambda phase: self.phase(of_stream(phase, stream))

    def _is_complete(self, phase: Phase) -> bool:
        return newest_step(self._workdir / phase.name) == phase.num_steps


def _merged(params: PyTree, part: PyTree) -> PyTree:
    """Nested dictionaries `params`, updated with `part`."""
    flat = traverse_util.flatten_dict(params) | traverse_util.flatten_dict(part)
    return traverse_util.unflatten_dict(flat)

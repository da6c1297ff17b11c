"""Constructs every phase of a run without training it: its batches, its settings, the size of its state."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from dualdub_jax.casp.training import casp_phase
from dualdub_jax.codecs.base import MakeCrops, of_stream
from dualdub_jax.codecs.registry import abstract_codec, codec_training
from dualdub_jax.config import Config, Plugin, StageConfig
from dualdub_jax.curriculum import start, video_encoder
from dualdub_jax.curriculum.batches import codec_batches, decoder_batches, pair_batches, stage_batches
from dualdub_jax.curriculum.preflight.problems import Problems
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.decoders.base import decoder_training, has_decoder
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import BATCH_AXES, batch_share
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.stores.path import StorePath
from dualdub_jax.training.checkpoint import newest_step, saved_settings
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import check_settings
from dualdub_jax.types import Stream


@dataclasses.dataclass(frozen=True)
class PhaseSize:
    """A phase that could be constructed: its length, and the size of its state in bytes."""

    name: str
    num_steps: int
    state_bytes: int


def construct_phases(
    config: Config,
    mesh: Mesh,
    wanted: set[str],
    workdir: StorePath,
    problems: Problems,
    *,
    extend: bool = False,
) -> list[PhaseSize]:
    """Constructs the phases of a run, evaluates the shapes of their states, and opens their batches.

    Checkpoints that are there must have been trained with the same settings, or with `extend` another recipe.

    Decoders of codecs by import path are not constructed, since their code may compute with arrays that are
    not trained yet.

    Args:
        config: of the run, whose parts are sound.
        mesh: of the run.
        wanted: names of the phases that are to be trained; batches of others are not opened.
        workdir: of the run.
        problems: is added to.
        extend: see `program.train`.

    Raises:
        UserError: a mesh that gives processes overlapping parts of a batch.
    """
    probe = _Probe(config, mesh, wanted, workdir, problems, extend)
    probe.run()
    return probe.sizes


class _Probe:
    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        wanted: set[str],
        workdir: StorePath,
        problems: Problems,
        extend: bool,
    ) -> None:
        self._extend = extend
        self._config, self._mesh, self._wanted, self._problems = config, mesh, wanted, problems
        self._workdir = workdir
        self._share = batch_share(mesh)
        self.sizes: list[PhaseSize] = []

    def run(self) -> None:
        """Constructs all phases of the config."""
        if self._config.task == "casp":
            with self._problems.noted():
                self._check_batch("casp_training", self._config.casp_training.batch_size)
                make_batches = functools.partial(pair_batches, self._config, self._share)
                self._note(casp_phase(self._config, make_batches, None))
            return
        for stream in start.trained_streams(self._config):
            with self._problems.noted():
                self._codec(stream)
        training = self._config.video_training
        if training.num_steps:
            films = StageConfig(video_encoder.PHASE_NAME, training.mixture, batch_size=training.batch_size)
            self._stage(films, functools.partial(video_encoder.video_encoder_phase, self._config))
        for stage in self._config.stages:
            self._stage(stage, functools.partial(stage_phase, self._config, stage))

    def _codec(self, stream: Stream) -> None:
        def note(phase: Phase) -> None:
            self._note(of_stream(phase, stream))

        crops = self._crops(codec_batches(self._config, stream, self._share), f"streams.{stream}.codec")
        training = codec_training(self._config, stream, crops)
        if training is not None:
            training.train_encoder(note)
        if isinstance(self._config.streams[stream].codec, Plugin):
            return
        variables = abstract_codec(self._config, stream)
        if training is not None:
            training.train_decoder(note, variables)
        if has_decoder(self._config, stream):
            crops = self._crops(
                decoder_batches(self._config, stream, self._share), f"streams.{stream}.decoder"
            )
            decoder_training(self._config, stream, crops).train(note, variables)

    def _crops(self, make: MakeCrops, key: str) -> MakeCrops:
        def checked(batch_size: int, crop_frames: int | None, target: tuple[int, int] | None = None) -> Any:
            self._check_batch(f"{key}.training", batch_size)
            return make(batch_size, crop_frames, target)

        return checked

    def _stage(self, stage: StageConfig, construct: Callable[..., Phase]) -> None:
        with self._problems.noted():
            self._check_batch(f"stage {stage.name!r}", stage.batch_size)
        with self._problems.noted():
            self._note(construct(functools.partial(stage_batches, self._config, {}, {}, self._share, stage)))

    def _note(self, phase: Phase) -> None:
        """Takes the place of a phase's training; None: it has no result yet."""
        folder = self._workdir / phase.name
        if phase.name in self._wanted and (settings := saved_settings(folder)) is not None:
            with self._problems.noted():
                check_settings(settings, phase.settings, folder, extend=self._extend)
        if phase.name in self._wanted and newest_step(folder) != phase.num_steps:
            with self._problems.noted():
                batches = phase.make_batches()
                if self._config.held_out.every_steps and hasattr(batches, "held_out"):
                    for each in batches.held_out(self._config.held_out.num_clips).sets:
                        each.batches.close()
                batches.close()
        with self._problems.noted(), jax.set_mesh(self._mesh), nn.logical_axis_rules(RULES):
            state = jax.eval_shape(phase.init, jax.random.key(0), phase.initial)
            size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))
            self.sizes.append(PhaseSize(phase.name, phase.num_steps, size))

    def _check_batch(self, where: str, batch_size: int) -> None:
        num_rows = math.prod(self._mesh.shape[axis] for axis in BATCH_AXES)
        if batch_size % num_rows:
            raise UserError(
                f"{where}: batch_size {batch_size} cannot be split over data x fsdp = {num_rows} devices; "
                "use a multiple of it, or a mesh with larger tensor or sequence"
            )

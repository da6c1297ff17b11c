"""Sources of parameters: a bundle, or the checkpoints of a training run, finished or not.

Of a run, the newest checkpoints of its phases are read: of the language model the last stage that has one.
"""

from typing import Any, Literal, NamedTuple, Protocol

import flax.linen as nn
import jax
from flax import traverse_util
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import (
    part_names,
    read_arrays,
    read_bundle_header,
    sharded_params,
    stored_shapes,
)
from dualdub_jax.codecs.base import of_stream
from dualdub_jax.codecs.registry import codec_training, pretrained_codec
from dualdub_jax.config import Config
from dualdub_jax.curriculum.batches import no_batches
from dualdub_jax.curriculum.run_config import FILE_NAME, read_run_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.decoders.base import decoder_training, has_decoder
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import state_sharding
from dualdub_jax.parts.import_path import check_trusted
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path, is_remote
from dualdub_jax.training.checkpoint import Restored, best_mark, newest_step, read_part
from dualdub_jax.training.freezing import merge_frozen, split_frozen
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import Change, check_settings
from dualdub_jax.training.state import TrainState
from dualdub_jax.types import Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays, or of their shapes
Shapes = dict[str, jax.ShapeDtypeStruct]  # by path below a part, such as "backbone/norm/scale"
Arrays = dict[str, jax.Array]


class Source(Protocol):
    """Parameters by part (`bundles.bundle.part_names`)."""

    config: Config

    def shapes(self, part: str) -> Shapes:
        """Shapes of a part; empty if the source lacks it."""
        ...

    def read(self, part: str, target: Shapes) -> Arrays:
        """Reads those arrays of a part that `target` names, float32, with its shardings."""
        ...


def open_source(path: StorePath, key: str, mesh: Mesh) -> Source:
    """Opens a bundle or a run that a config names.

    Args:
        path: a bundle, the --workdir of a run, WORKDIR/STAGE, or WORKDIR/STAGE/STEP.
        key: of the config, for messages.
        mesh: on which a run's arrays are placed.

    Raises:
        UserError: neither; or a run whose config names code that this process has not imported.
    """
    if not reached(path).is_dir():
        raise UserError(
            f"{key}={path}: no such folder; give a bundle, or the --workdir of a run, where it is now"
        )
    if (path / "config.json").is_file():
        return BundleSource(path)
    return RunSource(path, mesh)


class BundleSource:
    """A bundle; implements `Source`. No class that its config names is imported."""

    def __init__(self, directory: StorePath) -> None:
        self.config = read_bundle_header(directory).config
        self._directory = directory
        self._shapes = stored_shapes(directory)

    def shapes(self, part: str) -> Shapes:
        """See `Source`."""
        start = f"{part}/"
        return {n.removeprefix(start): shape for n, shape in self._shapes.items() if n.startswith(start)}

    def read(self, part: str, target: Shapes) -> Arrays:
        """See `Source`."""
        wanted = {part: traverse_util.unflatten_dict(target, sep="/")}
        return traverse_util.flatten_dict(read_arrays(self._directory, wanted)[part], sep="/")


class RunSource:
    """The checkpoints of a run; implements `Source`.

    Args:
        source: the run's folder, a stage's folder in it, or one checkpoint.
        mesh: on which arrays are placed.
        config: of the run; None: the one that `dualdub train` stored in its folder.
        step: which checkpoint of the model's stage; "best": the one of the lowest held-out loss.
        use_raw_params: read parameters and not their moving averages.
        allow_code: see `load_bundle`.
        codecs_from: where the run's `codecs_from` is now; None: where it was.

    Attributes:
        config: of the run.
        steps: by phase; the steps of the checkpoints that were read.

    Raises:
        UserError: not a run, or one of another task; a config that names foreign code.
    """

    def __init__(
        self,
        source: StorePath,
        mesh: Mesh,
        *,
        config: Config | None = None,
        step: int | Literal["newest", "best"] = "newest",
        use_raw_params: bool = False,
        allow_code: bool = False,
        codecs_from: StorePath | None = None,
    ) -> None:
        self._workdir, self._stage_name, located_step = _locate(source)
        if step != "newest" and located_step is not None:
            raise UserError(f"--step {step}: {source} names a step already; leave one of them out")
        self._step = step if located_step is None else located_step
        if config is None:
            config = read_run_config(self._workdir)
            check_trusted(config, str(self._workdir / FILE_NAME), allow_code)
        if config.task != "soundtrack":
            raise UserError(
                f"{source}: is a run of task {config.task!r}, which exports nothing but its bundle/; use that"
            )
        self.config, self.steps = config, {}
        self._source, self._mesh, self._use_raw_params = source, mesh, use_raw_params
        self._codecs_from = codecs_from or as_path(config.codecs_from, "codecs_from")
        self._parts: dict[str, PyTree] = {}
        self._opened: dict[str, Source] = {}

    def shapes(self, part: str) -> Shapes:
        """See `Source`."""
        if part not in part_names(self.config):
            return {}
        return {n: jax.ShapeDtypeStruct(x.shape, x.dtype) for n, x in _flat(self.part(part)).items()}

    def read(self, part: str, target: Shapes) -> Arrays:
        """See `Source`."""
        arrays = _flat(self.part(part))
        return {name: jax.device_put(arrays[name], shape.sharding) for name, shape in target.items()}

    def part(self, part: str) -> PyTree:
        """A whole part."""
        if part == "model" and "model" not in self._parts:
            self._parts["model"] = self._read_model()
        elif part not in self._parts:
            stream = part.partition("_")[0]
            if self.config.codecs_from and stream not in self.config.train_codecs:
                source = self._opened_at("codecs_from", self._codecs_from)
                self._parts[part] = self._read_whole(source, part)
            else:
                self._parts |= self._read_codec(stream)
        return self._parts[part]

    @property
    def stage(self) -> str:
        """The stage of the language model that is read; "" for a run without stages."""
        names = [stage.name for stage in self.config.stages]
        if self._stage_name is None:
            trained = [name for name in names if newest_step(self._workdir / name) is not None]
            if names and not trained:
                raise UserError(
                    f"{self._source}: no stage has a checkpoint yet ({', '.join(names)}); "
                    "resume `dualdub train`"
                )
            return trained[-1] if trained else ""
        if self._stage_name not in names:
            raise UserError(
                f"{self._source}: {self._stage_name} is not a stage of the language model; those are: "
                f"{', '.join(names)}"
            )
        return self._stage_name

    def _opened_at(self, key: str, path: StorePath) -> Source:
        """The source that a key of the run's config names."""
        if key not in self._opened:
            where = self._workdir / FILE_NAME
            if _resolved(path) == _resolved(self._workdir):
                raise UserError(f"{where}: {key}={path} is the run itself; name another")
            if not path.is_dir():
                remedies = {
                    "codecs_from": "give the folder where it is now: --codecs-from DIR",
                    "model_from": "restore it, or give the run's bundle/",
                }
                raise UserError(f"{where}: {key}={path}: no such folder; {remedies[key]}")
            self._opened[key] = open_source(path, key, self._mesh)
        return self._opened[key]

    def _read_whole(self, source: Source, part: str) -> PyTree:
        target = _flat(sharded_params(self.config, self._mesh, [part])[part])
        return traverse_util.unflatten_dict(source.read(part, target), sep="/")

    def _read_model(self) -> PyTree:
        name = self.stage
        if not name:
            return self._read_whole(
                self._opened_at("model_from", as_path(self.config.model_from, "model_from")), "model"
            )
        stage = next(stage for stage in self.config.stages if stage.name == name)
        phase = stage_phase(self.config, stage, lambda: None)
        shapes = sharded_params(self.config, self._mesh, ["model"])["model"]
        trained, frozen = split_frozen(shapes, stage.freeze)
        has_average = stage.optimizer.ema_decay > 0
        part = "ema_params" if has_average and not self._use_raw_params else "params"
        parts = {part: trained} if frozen is None else {part: trained, "extra": frozen}
        restored = self._read_phase(phase, parts, _find_step(self._workdir / name, self._step))
        return merge_frozen(restored.state[part], restored.state.get("extra"))

    def _read_codec(self, stream: Stream) -> dict[str, PyTree]:
        """A stream's codec and its waveform decoder, if any, from the checkpoints of their phases."""

        def result(phase: Phase) -> PyTree:
            return self._result(of_stream(phase, stream))

        training = codec_training(self.config, stream, no_batches)
        if training is None:
            encoder = codec = pretrained_codec(self.config, stream)
        else:
            encoder = training.train_encoder(result)
            codec = training.train_decoder(result, encoder)
        parts = {f"{stream}_codec": codec}
        if has_decoder(self.config, stream):
            decoder = decoder_training(self.config, stream, no_batches)
            parts[f"{stream}_decoder"] = decoder.train(result, encoder)
        return parts

    def _result(self, phase: Phase) -> PyTree:
        """The result of a phase at its newest checkpoint."""
        boxed = jax.eval_shape(phase.init, jax.random.key(0), phase.initial)
        shardings = state_sharding(boxed, self._mesh)
        shapes = jax.eval_shape(nn.unbox, boxed)
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
        )
        state = self._read_phase(phase, target, None).state
        if self._use_raw_params and isinstance(state, TrainState) and state.ema_params is not None:
            state = state.replace(ema_params=state.params)
        return phase.parameters(state)

    def _read_phase(self, phase: Phase, abstract_part: PyTree, step: int | None) -> Restored:
        folder = self._workdir / phase.name
        step = newest_step(folder) if step is None else step
        if step is None:
            raise UserError(
                f"{folder}: has no checkpoint, and a bundle needs it; train it first: --phases {phase.name}"
            )

        def check(meta: dict[str, Any]) -> list[Change]:
            # A finished phase may have another recipe than the run's config (`dualdub train --extend`).
            return check_settings(meta["settings"], phase.settings, folder, extend=True)

        restored = read_part(folder / str(step), abstract_part, check, phase.scratch)
        self.steps[phase.name] = restored.step
        return restored


def _find_step(folder: StorePath, wanted: int | Literal["newest", "best"]) -> int | None:
    """The step of a checkpoint; None: the newest, if there is one."""
    if wanted == "newest":
        return None
    if wanted == "best":
        if (best := best_mark(folder)) is None:
            raise UserError(
                f"--step best: no checkpoint in {folder} has a held-out loss, which needs a split of its "
                "datasets and config.held_out.every_steps; leave --step out for the newest"
            )
        return best.step
    if not (folder / str(wanted)).is_dir():
        known = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())
        raise UserError(
            f"--step {wanted}: {folder} has no such checkpoint; it has {', '.join(map(str, known))}"
        )
    return wanted


class _Checkpoint(NamedTuple):
    """A training checkpoint; phase None: the last with a checkpoint, step None: the newest."""

    workdir: StorePath
    phase: str | None
    step: int | None


def _locate(source: StorePath) -> _Checkpoint:
    full = _resolved(reached(source))
    if not full.is_dir():
        raise UserError(f"{source}: no such folder; give a bundle, or the --workdir of `dualdub train`")
    if full.name.isdigit() and (full / "state").is_dir():
        return _Checkpoint(full.parent.parent, full.parent.name, int(full.name))
    if newest_step(full) is not None:
        return _Checkpoint(full.parent, full.name, None)
    if (full / FILE_NAME).is_file() or any(newest_step(each) is not None for each in full.iterdir()):
        return _Checkpoint(full, None, None)
    raise UserError(
        f"{source}: neither a bundle nor a training checkpoint; give a bundle/ folder, the --workdir of a "
        "run, or WORKDIR/STAGE/STEP"
    )


def _resolved(path: StorePath) -> StorePath:
    return path if is_remote(path) else path.resolve()


def _flat(tree: PyTree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")

"""`dualdub export`: writes a bundle (parameters, config, codecs) from a training checkpoint or a bundle.

Sources: a bundle; the folder of a run (the last stage with a checkpoint); the folder of a stage in it (its
newest checkpoint); one checkpoint, RUN/STAGE/STEP. Of a training checkpoint only exported arrays are read,
not the optimizer state. Codecs are read from their phases in the same run.
"""

import argparse
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import (
    FileFormat,
    load_bundle,
    read_bundle_header,
    save_bundle,
    sharded_params,
)
from dualdub_jax.codecs.registry import codec_training, pretrained_codec
from dualdub_jax.config import Config, MeshConfig, StageConfig, load_config
from dualdub_jax.curriculum import start
from dualdub_jax.curriculum.run_config import FILE_NAME, read_run_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.decoders.base import decoder_training, has_decoder
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh, state_sharding
from dualdub_jax.parts.import_path import check_trusted
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path, is_remote
from dualdub_jax.training.checkpoint import Restored, is_full_disk, newest_step, read_part
from dualdub_jax.training.freezing import merge_frozen, split_frozen
from dualdub_jax.training.phase import Phase
from dualdub_jax.training.settings import check_settings
from dualdub_jax.types import STREAMS, Stream

PyTree = Any  # parameters or variables: nested dictionaries of arrays, or of their shapes


class Exported(NamedTuple):
    """An exported bundle: config, parameters (on devices), training metadata."""

    config: Config
    params: PyTree
    training: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """Runs `dualdub export`; returns the exit status."""
    if args.overrides and not args.config:
        raise UserError(f"--config.{args.overrides[0]}: only goes with --config FILE; add it")
    exported = export(
        args.checkpoint,
        args.out,
        file_format=args.format,
        use_raw_params=args.raw_params,
        dtype=args.dtype,
        config=load_config(args.config, args.overrides) if args.config else None,
        allow_code=args.allow_code,
    )
    arrays = jax.tree.leaves(exported.params)
    dtypes = sorted({str(x.dtype) for x in arrays})
    of = exported.training.get("exported")
    print(f"{sum(x.size for x in arrays):,} parameters in {len(arrays)} arrays, {', '.join(dtypes)}")
    if of:
        print(f"step {of['step']} of {of['phase']}, {of['parameters']} parameters")
    print(f"wrote {args.out}")
    return 0


def export(
    source: StorePath | str,
    out: StorePath | str,
    *,
    file_format: FileFormat = "orbax",
    use_raw_params: bool = False,
    dtype: str | None = None,
    config: Config | None = None,
    allow_code: bool = False,
) -> Exported:
    """Writes a bundle.

    Args:
        source: a bundle, a run's folder, a stage's folder in it, or one checkpoint; local or on an object
            store.
        out: created; an existing folder must be empty; local or on an object store.
        file_format: of the parameters.
        use_raw_params: of a training checkpoint, export parameters and not their moving average.
        dtype: "float32" or "bfloat16"; None: as in the bundle, or as of the run's own bundle.
        config: of the run; None: the one that `dualdub train` stored in its folder.
        allow_code: see `load_bundle`.

    Raises:
        UserError: a source that is none of these, is damaged, or does not fit the config; `out` is not empty.
    """
    source, out = reached(as_path(source)), reached(as_path(out))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: already exists; name a new or an empty folder")
    # Nothing is computed, so parameters are fully sharded.
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1), jax.local_devices())
    with jax.set_mesh(mesh):
        if _is_bundle(source):
            if use_raw_params or config is not None:
                flag = "--raw-params" if use_raw_params else "--config"
                raise UserError(f"{flag}: only goes with a training checkpoint, and {source} is a bundle")
            read_config, params = load_bundle(source, mesh=mesh, dtype=None, allow_code=allow_code)
            exported = Exported(read_config, params, read_bundle_header(source).training)
        else:
            exported = _read_run(source, config, mesh, use_raw_params, allow_code)
            dtype = dtype or exported.config.checkpoint.bundle_dtype
        try:
            save_bundle(out, exported.config, exported.params, exported.training, dtype, file_format)
        except Exception as error:
            if is_full_disk(error):
                raise UserError(f"{out}: the disk is full; make room, or name another folder") from error
            if isinstance(error, OSError) and not is_remote(out):
                raise UserError(
                    f"{out}: cannot be written ({error.strerror}); name another folder"
                ) from error
            raise
    return exported


def _is_bundle(source: StorePath) -> bool:
    # A half-written bundle on a store has parameters and no config.json yet; `load_bundle` names that.
    return (source / "config.json").is_file() or (is_remote(source) and (source / "params").is_dir())


class _Checkpoint(NamedTuple):
    """A training checkpoint; phase None: the last with a checkpoint, step None: the newest."""

    workdir: StorePath
    phase: str | None
    step: int | None


def _locate(source: StorePath) -> _Checkpoint:
    full = source if is_remote(source) else source.resolve()
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


def _read_run(
    source: StorePath, config: Config | None, mesh: Any, use_raw_params: bool, allow_code: bool
) -> Exported:
    workdir, phase_name, step = _locate(source)
    if config is None:
        config = read_run_config(workdir)
        check_trusted(config, str(workdir / FILE_NAME), allow_code)
    if config.task != "soundtrack":
        raise UserError(
            f"{source}: is a run of task {config.task!r}, which exports nothing but its bundle/; use that"
        )
    stages = {stage.name: stage for stage in config.stages}
    if phase_name is None:
        trained = [name for name in stages if newest_step(workdir / name) is not None]
        if not trained:
            raise UserError(
                f"{source}: no stage has a checkpoint yet ({', '.join(stages)}); resume `dualdub train`"
            )
        phase_name = trained[-1]
    if phase_name not in stages:
        raise UserError(
            f"{source}: {phase_name} is not a stage of the language model; those are: {', '.join(stages)}"
        )
    shapes = sharded_params(config, mesh)
    model = _read_model(workdir, config, stages[phase_name], step, shapes["model"], use_raw_params)
    steps: dict[str, int] = {}
    if config.codecs_from:
        codecs = start.read_codecs(config, mesh)
    else:
        codecs = {}
        for stream in STREAMS:
            codecs |= _read_codec(workdir, config, stream, mesh, use_raw_params, steps)
    origin = {
        "phase": phase_name,
        "step": model.step,
        "parameters": "raw" if use_raw_params else "averaged",
        "codec_steps": steps,
    }
    training = {"exported": origin, "seed": config.seed, "data_dir": config.data_dir}
    return Exported(config, {"model": model.state, **codecs}, training)


def _read_model(
    workdir: StorePath,
    config: Config,
    stage: StageConfig,
    step: int | None,
    shapes: PyTree,
    use_raw_params: bool,
) -> Restored:
    part = "params" if use_raw_params else "ema_params"
    phase = stage_phase(config, stage, lambda: None)
    trained, frozen = split_frozen(shapes, stage.freeze)
    parts = {part: trained} if frozen is None else {part: trained, "extra": frozen}
    restored = _read_phase(workdir, phase, step, parts)
    return restored._replace(state=merge_frozen(restored.state[part], restored.state.get("extra")))


def _read_codec(
    workdir: StorePath,
    config: Config,
    stream: Stream,
    mesh: Mesh,
    use_raw_params: bool,
    steps: dict[str, int],
) -> dict[str, PyTree]:
    """Reads a stream's codec and its waveform decoder, if any, from checkpoints of their phases.

    Args:
        workdir: of the run.
        config: of the run.
        stream: whose codec.
        mesh: on which the arrays are placed.
        use_raw_params: read parameters and not their moving averages.
        steps: by phase; updated with the steps that were read.
    """

    def read(phase: Phase) -> PyTree:
        boxed = jax.eval_shape(phase.init, jax.random.key(0), phase.initial)
        shardings = state_sharding(boxed, mesh)
        shapes = jax.eval_shape(nn.unbox, boxed)
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
        )
        restored = _read_phase(workdir, phase, None, vars(target))
        steps[phase.name] = restored.step
        state = type(target)(**restored.state)
        if use_raw_params and state.ema_params is not None:
            state = state.replace(ema_params=state.params)
        return phase.parameters(state)

    def no_batches(batch_size: int, crop_frames: int | None) -> None:
        """A placeholder: nothing is trained."""

    training = codec_training(config, stream, no_batches)
    if training is None:
        encoder = codec = pretrained_codec(config, stream)
    else:
        encoder = training.train_encoder(read)
        codec = training.train_decoder(read, encoder)
    parts = {f"{stream}_codec": codec}
    if has_decoder(config, stream):
        parts[f"{stream}_decoder"] = decoder_training(config, stream, no_batches).train(read, encoder)
    return parts


def _read_phase(workdir: StorePath, phase: Phase, step: int | None, abstract_part: PyTree) -> Restored:
    folder = workdir / phase.name
    step = newest_step(folder) if step is None else step
    if step is None:
        raise UserError(
            f"{folder}: has no checkpoint, and a bundle needs it; train it first: --phases {phase.name}"
        )
    restored = read_part(folder / str(step), abstract_part)
    check_settings(restored.meta["settings"], phase.settings, folder)
    return restored

"""`dualdub export`: writes a bundle (parameters, config, codecs) from a training checkpoint or a bundle.

Sources: a bundle; the folder of a run (the last stage with a checkpoint); the folder of a stage in it (its
newest checkpoint); one checkpoint, RUN/STAGE/STEP. Of a training checkpoint only exported arrays are read,
not the optimizer state. Codecs are read from their phases in the same run, or from its `codecs_from`.
"""

import argparse
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import Mesh

from dualdub_jax.bundles.bundle import (
    FileFormat,
    load_bundle,
    part_names,
    read_bundle_header,
    save_bundle,
)
from dualdub_jax.config import Config, MeshConfig, load_config
from dualdub_jax.curriculum.sources import RunSource
from dualdub_jax.errors import UserError
from dualdub_jax.parallel.mesh import make_mesh
from dualdub_jax.stores.failures import reached
from dualdub_jax.stores.path import StorePath, as_path, is_remote
from dualdub_jax.training.checkpoint import is_full_disk

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
        step=args.step,
        use_raw_params=args.raw_params,
        dtype=args.dtype,
        config=load_config(args.config, args.overrides) if args.config else None,
        allow_code=args.allow_code,
        codecs_from=args.codecs_from,
    )
    arrays = jax.tree.leaves(exported.params)
    dtypes = sorted({str(x.dtype) for x in arrays})
    of = exported.training.get("exported")
    print(f"{sum(x.size for x in arrays):,} parameters in {len(arrays)} arrays, {', '.join(dtypes)}")
    if of and of["phase"]:
        print(f"step {of['step']} of {of['phase']}, {of['parameters']} parameters")
    print(f"wrote {args.out}")
    return 0


def export(
    source: StorePath | str,
    out: StorePath | str,
    *,
    file_format: FileFormat = "orbax",
    step: int | Literal["newest", "best"] = "newest",
    use_raw_params: bool = False,
    dtype: str | None = None,
    config: Config | None = None,
    allow_code: bool = False,
    codecs_from: StorePath | None = None,
) -> Exported:
    """Writes a bundle.

    Args:
        source: a bundle, a run's folder, a stage's folder in it, or one checkpoint; local or on an object
            store.
        out: created; an existing folder must be empty; local or on an object store.
        file_format: of the parameters.
        step: of the stage, where `source` names none; "best": of the lowest held-out loss. Codecs are always
            read at their newest step.
        use_raw_params: of a training checkpoint, export parameters and not their moving average.
        dtype: "float32" or "bfloat16"; None: as in the bundle, or as of the run's own bundle.
        config: of the run; None: the one that `dualdub train` stored in its folder.
        allow_code: see `load_bundle`.
        codecs_from: where the codecs that the run was trained with are now; None: where its config says.

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
            flags = {
                "--raw-params": use_raw_params,
                "--config": config is not None,
                "--step": step != "newest",
                "--codecs-from": codecs_from is not None,
            }
            if flag := next((name for name, is_given in flags.items() if is_given), None):
                raise UserError(f"{flag}: only goes with a training checkpoint, and {source} is a bundle")
            read_config, params = load_bundle(source, mesh=mesh, dtype=None, allow_code=allow_code)
            exported = Exported(read_config, params, read_bundle_header(source).training)
        else:
            exported = _read_run(source, config, mesh, step, use_raw_params, allow_code, codecs_from)
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


def _read_run(
    source: StorePath,
    config: Config | None,
    mesh: Mesh,
    step: int | Literal["newest", "best"],
    use_raw_params: bool,
    allow_code: bool,
    codecs_from: StorePath | None,
) -> Exported:
    run = RunSource(
        source,
        mesh,
        config=config,
        step=step,
        use_raw_params=use_raw_params,
        allow_code=allow_code,
        codecs_from=codecs_from,
    )
    config, stage = run.config, run.stage
    params = {part: run.part(part) for part in part_names(config)}
    origin = {
        "phase": stage,
        "step": run.steps.pop(stage, 0),
        "parameters": "raw" if use_raw_params else "averaged",
        "codec_steps": run.steps,
    }
    training = {"exported": origin, "seed": config.seed, "data_dir": config.data_dir}
    return Exported(config, params, training)

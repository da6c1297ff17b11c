"""Compiles the train step (or generation) for an absent TPU slice and estimates its cost."""

import argparse
import dataclasses
import json
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from dualdub_jax.config import Config, StageConfig, load_config
from dualdub_jax.curriculum.stage import stage_phase
from dualdub_jax.decoders.base import decoder_kind
from dualdub_jax.decoders.flow_matching.training import (
    abstract_crops,
    abstract_frozen,
    flow_phase,
    phase_name,
)
from dualdub_jax.dubbing.generation import generate_tokens
from dualdub_jax.dubbing.sampling import StreamSampling, stream_sampling
from dualdub_jax.errors import UserError
from dualdub_jax.models.analytic_flops import forward_macs, model_flops
from dualdub_jax.models.batch import example_batch
from dualdub_jax.models.dualdub import make_model
from dualdub_jax.parallel.chips import RESERVED_FRACTION_OF_HBM
from dualdub_jax.parallel.mesh import make_mesh, state_sharding
from dualdub_jax.parallel.sharding import RULES
from dualdub_jax.tools.hlo_costs import CostCounter
from dualdub_jax.tools.hlo_program import parse_program
from dualdub_jax.tools.roofline import Roofline
from dualdub_jax.tools.topology import Topology, absent_devices, parse_mesh, parse_topology
from dualdub_jax.training.phase import Phase
from dualdub_jax.types import STREAMS, Batch, Stream

PyTree = Any  # parameters: nested dictionaries of arrays


def run(args: argparse.Namespace) -> int:
    """Runs `dualdub aot`; returns the exit status."""
    topology = parse_topology(args.topology)
    config = load_config(args.config, args.overrides)
    if args.mesh:
        config = dataclasses.replace(config, mesh=parse_mesh(args.mesh))
    chosen = {"--stage": args.stage, "--phase": args.phase, "--decode": args.decode}
    if len(given := [flag for flag, value in chosen.items() if value]) > 1:
        raise UserError(f"{given[1]}: does not go with {given[0]}; each chooses the program")
    report = estimate(config, topology, stage_name=args.stage, decode=args.decode, phase=args.phase)
    print(as_text(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def estimate(
    config: Config,
    topology: Topology,
    stage_name: str | None = None,
    decode: bool = False,
    phase: str | None = None,
) -> dict[str, Any]:
    """Compiles a program and estimates its cost.

    Args:
        config: of the run; its mesh spans the slice.
        topology: the slice.
        stage_name: the stage whose train step is compiled; None: the last.
        decode: compile generation of one window instead, with one clip per data-parallel shard.
        phase: compile the train step of this phase of a waveform decoder instead, such as
            "decoder_speech".

    Returns:
        JSON: "parameters", "bytes_per_device", "fits", "flops_per_device", "collective_bytes",
        "predicted_step_s", "mfu", and the figures that they derive from.

    Raises:
        UserError: no such stage, a mesh that does not fill the slice, a batch that the mesh does not
            divide, a program that exceeds the slice's memory.
    """
    # Names are checked before the compiler is looked for.
    stage = find_stage(config, stage_name) if phase is None and not decode else None
    found = find_decoder(config, phase) if phase is not None else None
    mesh = make_mesh(config.mesh, list(absent_devices(topology)))
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    decoder = None
    if found is not None:
        decoder = decoder_step(config, found)
        batch_size, program = decoder.batch_size, f"train:{phase}"
        lowered = lower_step(decoder, mesh)
    elif decode:
        batch_size, program = shares, "decode"
        lowered = lower_decode(config, mesh, shares)
    else:
        batch_size, program = stage.batch_size, f"train:{stage.name}"
        lowered = lower_train_step(config, stage, mesh)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"{config.name} on {topology.name}: does not fit: {_first_figures(str(error))}; shard it over "
            "more devices (--mesh fsdp=…, tensor=…), or use a smaller batch or model.remat_policy=full"
        ) from None
    coordinates = np.array([d.coords[: topology.chip.num_axes] for d in mesh.devices.flat])
    return make_report(
        compiled,
        config,
        topology,
        mesh,
        coordinates,
        program=program,
        batch_size=batch_size,
        step=decoder,
    )


def make_report(
    compiled: jax.stages.Compiled,
    config: Config,
    topology: Topology,
    mesh: Mesh,
    coordinates: np.ndarray,
    program: str,
    batch_size: int,
    step: "Step | None" = None,
) -> dict[str, Any]:
    """Analyses a compiled program; see `estimate`.

    Args:
        compiled: the program.
        config: of the program.
        topology: the slice.
        mesh: that the program was compiled for.
        coordinates: int[devices, axes], coordinates of the mesh's devices in the slice.
        program: "train:STAGE" or "decode".
        batch_size: global, clips.
        step: of a waveform decoder; None: of the language model.
    """
    counter = CostCounter(parse_program(compiled.as_text()), tile=topology.chip.tile)
    cost = counter.total()
    times = Roofline(counter, topology, coordinates).total()
    memory = compiled.memory_analysis()
    if step is not None:
        useful = step.phase.flops(None) / mesh.size
    elif program == "decode":
        macs = forward_macs(config)
        useful = 2.0 * batch_size * (macs.full + macs.leaf + macs.fixed) / mesh.size
    else:
        useful = model_flops(config, batch_size) / mesh.size
    # A lower bound for any schedule: the bandwidth of memory and links.
    step_s = max(times.elapsed_s, times.hbm_s, times.interconnect_s)
    used = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    chip = topology.chip
    return {
        "kind": "estimated: compiled for an absent slice, nothing was run",
        "config": config.name,
        "program": program,
        "topology": topology.name,
        "mesh": dict(mesh.shape),
        "global_batch_size": batch_size,
        "remat_policy": config.model.remat_policy if step is None else step.remat_policy,
        "parameters": num_parameters(config) if step is None else step.num_parameters,
        "bytes_per_device": {
            "arguments": memory.argument_size_in_bytes,
            "output": memory.output_size_in_bytes,
            "donated": memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "total": used,
        },
        "hbm_bytes": chip.hbm_bytes,
        "reserved_bytes": int(chip.hbm_bytes * RESERVED_FRACTION_OF_HBM),
        "fits": used <= chip.hbm_bytes * (1 - RESERVED_FRACTION_OF_HBM),
        "flops_per_device": {"model": useful, "with_recomputation": cost.flops, "in_tiles": cost.tiled_flops},
        "collective_bytes": dict(sorted(cost.collective_bytes.items())),
        "roofline": {
            "compute_s": times.compute_s,
            "hbm_s": times.hbm_s,
            "interconnect_s": times.interconnect_s,
            "exposed_interconnect_s": times.exposed_s,
            "scheduled_s": times.elapsed_s,
        },
        "opaque_kernels": sorted(cost.opaque),
        "predicted_step_s": step_s,
        "clips_per_s": batch_size / step_s,
        "mfu": useful / chip.flops_per_s / step_s,
        "chip": dataclasses.asdict(chip),
        "jax_version": jax.__version__,
    }


def find_stage(config: Config, name: str | None) -> StageConfig:
    """A stage by name; None: the last.

    Raises:
        UserError: no stage of that name, or no stage.
    """
    stages = {stage.name: stage for stage in config.stages}
    if name is None and stages:
        return config.stages[-1]
    if name not in stages:
        raise UserError(f"--stage {name}: {config.name} has the stages {', '.join(stages) or '(none)'}")
    return stages[name]


def num_parameters(config: Config) -> int:
    """Number of parameters of the model; allocates none."""
    shapes = jax.eval_shape(lambda: make_model(config).init(jax.random.key(0), example_batch(config)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def lower_train_step(
    config: Config, stage: StageConfig, mesh: Mesh | AbstractMesh, platforms: tuple[str, ...] = ("tpu",)
) -> jax.stages.Lowered:
    """Lowers the train step of a stage on a mesh, as the training loop jits it, for abstract arrays.

    Args:
        config: of the run.
        stage: whose step.
        mesh: of absent devices; for an abstract mesh the step can be lowered and not compiled.
        platforms: targets of the lowering.

    Raises:
        UserError: the mesh does not divide the batch.
    """
    index = [s.name for s in config.stages].index(stage.name) if stage in config.stages else 0
    phase = stage_phase(config, stage, make_batches=list)
    batch = jax.eval_shape(lambda: example_batch(config, stage.batch_size))
    key = f"stages.{index}.batch_size"
    return lower_step(Step(phase, batch, stage.batch_size, f"stage {stage.name}", key), mesh, platforms)


class Step(NamedTuple):
    """A phase with the shapes of its inputs.

    Attributes:
        phase: whose step.
        batch: `jax.ShapeDtypeStruct`s.
        batch_size: global, clips.
        name: for messages.
        key: of the config, of the batch size.
        frozen: `jax.ShapeDtypeStruct`s of `phase.frozen`.
        remat_policy: of its layers.
    """

    phase: Phase
    batch: PyTree
    batch_size: int
    name: str
    key: str
    frozen: PyTree = None
    remat_policy: str = "none"

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters; allocates none."""
        state = jax.eval_shape(self.phase.init, jax.random.key(0), None)
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


def lower_step(
    step: Step, mesh: Mesh | AbstractMesh, platforms: tuple[str, ...] = ("tpu",)
) -> jax.stages.Lowered:
    """Lowers a phase's step on a mesh, as the training loop jits it, for abstract arrays.

    Args:
        step: the phase.
        mesh: see `lower_train_step`.
        platforms: targets of the lowering.

    Raises:
        UserError: the mesh does not divide the batch.
    """
    _check_batch(step, mesh)
    # Shapes only: nothing can be computed on absent devices.
    key = jax.eval_shape(lambda: jax.random.key(0))
    boxed = jax.eval_shape(step.phase.init, key, None)
    shardings = state_sharding(boxed, mesh)
    state = jax.tree.map(_placed, nn.unbox(boxed), shardings)
    batch = jax.tree.map(lambda x: _placed(x, batch_sharding(mesh)), step.batch)
    everywhere = NamedSharding(mesh, PartitionSpec())
    key, frozen = jax.tree.map(lambda x: _placed(x, everywhere), (key, step.frozen))
    use_mesh = jax.sharding.use_abstract_mesh if isinstance(mesh, AbstractMesh) else jax.set_mesh
    with use_mesh(mesh), nn.logical_axis_rules(RULES):
        jitted = jax.jit(step.phase.step, out_shardings=(shardings, None), donate_argnames=("state",))
        return jitted.trace(state, batch, key, frozen).lower(lowering_platforms=platforms)


def find_decoder(config: Config, name: str) -> Stream:
    """The stream whose flow-matching decoder a phase trains.

    Raises:
        UserError: no such phase.
    """
    phases = {
        phase_name(stream): stream for stream in STREAMS if decoder_kind(config, stream) == "flow_matching"
    }
    if name not in phases:
        raise UserError(
            f"--phase {name}: {config.name} has the phases {', '.join(phases) or '(none)'} of waveform "
            "decoders; --stage names a stage"
        )
    return phases[name]


def decoder_step(config: Config, stream: Stream) -> Step:
    """The phase of a stream's flow-matching decoder."""
    frozen, decoder = abstract_frozen(config, stream), config.streams[stream].decoder
    return Step(
        flow_phase(config, stream, frozen, list),
        abstract_crops(config, stream),
        decoder.training.batch_size,
        phase_name(stream),
        f"streams.{stream}.decoder.training.batch_size",
        frozen,
        decoder.remat_policy,
    )


def lower_decode(
    config: Config, mesh: Mesh, batch_size: int, platforms: tuple[str, ...] = ("tpu",)
) -> jax.stages.Lowered:
    """Lowers generation of one window without guidance, as `dualdub dub` runs it, on a mesh.

    Args:
        config: of the run.
        mesh: of absent devices.
        batch_size: global, clips.
        platforms: targets of the lowering.
    """
    model = make_model(config)
    key = jax.eval_shape(lambda: jax.random.key(0))
    boxed = jax.eval_shape(lambda k: model.init(k, example_batch(config))["params"], key)
    params = jax.tree.map(_placed, nn.unbox(boxed), state_sharding(boxed, mesh))
    batch = jax.eval_shape(lambda: example_batch(config, batch_size))
    batch = jax.tree.map(lambda x: _placed(x, batch_sharding(mesh)), batch)
    everywhere = NamedSharding(mesh, PartitionSpec())
    sampling = jax.eval_shape(lambda: stream_sampling(config.sampling))
    start = jax.ShapeDtypeStruct((), np.int32, sharding=everywhere)
    key, sampling = jax.tree.map(lambda x: _placed(x, everywhere), (key, sampling))

    def generate(
        params: PyTree,
        batch: Batch,
        start: jax.Array,
        key: jax.Array,
        sampling: dict[str, StreamSampling],
    ) -> dict[str, jax.Array]:
        return generate_tokens(model, params, batch, start, key, sampling)

    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        traced = jax.jit(generate).trace(params, batch, start, key, sampling)
        return traced.lower(lowering_platforms=platforms)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are sharded over the axes data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def as_text(report: dict[str, Any]) -> str:
    """Formats the report as a table for the terminal."""
    gib = lambda n: f"{n / 2**30:10.2f} GiB"  # noqa: E731
    tera = lambda n: f"{n / 1e12:10.2f} TFLOP"  # noqa: E731
    ms = lambda s: f"{s * 1e3:10.2f} ms"  # noqa: E731
    used, flops, roofline = report["bytes_per_device"], report["flops_per_device"], report["roofline"]
    mesh = ", ".join(f"{axis}={size}" for axis, size in report["mesh"].items() if size > 1) or "one device"
    rows = [
        ("program", f"{report['config']}, {report['program']}, {report['global_batch_size']} clips"),
        ("slice and mesh", f"{report['topology']}, {mesh}"),
        ("parameters", f"{report['parameters'] / 1e6:10.1f} M"),
        ("per device: arguments", gib(used["arguments"])),
        ("  output, not donated", gib(used["output"] - used["donated"])),
        ("  temporaries", gib(used["temporaries"])),
        ("  total", f"{gib(used['total'])} of {report['hbm_bytes'] / 2**30:.0f}, "
         f"{report['reserved_bytes'] / 2**30:.1f} reserved: {'fits' if report['fits'] else 'DOES NOT FIT'}"),
        ("per device: model", tera(flops["model"])),
        ("  with recomputation", tera(flops["with_recomputation"])),
        ("  in whole tiles", tera(flops["in_tiles"])),
        *((f"sent per device: {kind}", gib(n)) for kind, n in report["collective_bytes"].items()),
        ("compute bound", ms(roofline["compute_s"])),
        ("memory bound", ms(roofline["hbm_s"])),
        ("interconnect bound", ms(roofline["interconnect_s"])),
        ("  not overlapped", ms(roofline["exposed_interconnect_s"])),
        ("step, estimated", f"{ms(report['predicted_step_s'])}, {report['clips_per_s']:.1f} clips/s"),
        ("MFU, estimated", f"{100 * report['mfu']:10.1f} %"),
    ]  # fmt: skip
    if report["opaque_kernels"]:
        rows.append(("kernels not analysed", ", ".join(report["opaque_kernels"])))
    return "\n".join(f"{name:32s} {value}" for name, value in rows)


def _check_batch(step: Step, mesh: Mesh | AbstractMesh) -> None:
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    if step.batch_size % shares:
        raise UserError(
            f"{step.name}: {step.batch_size} clips cannot be split over data x fsdp = {shares}; "
            f"choose a multiple with --config.{step.key}="
        )


def _placed(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _first_figures(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if "Used" in line or "exceed" in line.lower()]
    return lines[0] if lines else message.splitlines()[0]

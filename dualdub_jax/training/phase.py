"""A training phase, the unit that the loop runs: parts of codecs, the video encoder, curriculum stages."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from dualdub_jax.training.settings import Settings

PyTree = Any  # a phase's state, parameters or batch, in a structure of its own


@dataclasses.dataclass(frozen=True)
class HeldOutLoss:
    """How a phase measures its loss on held-out batches.

    Attributes:
        measure: `measure(state, batch, rng, frozen) -> sums`; pure, jitted. Any tree of float32 arrays, added
            up over batches, with the weights that `summarise` divides by.
        summarise: sums (float64, host) -> metrics, with "loss"; without those that no clip has.
        marks_best: whether losses of different steps are comparable, so that the lowest marks the best step.
    """

    measure: Callable[[PyTree, PyTree, jax.Array, PyTree], PyTree]
    summarise: Callable[[PyTree], dict[str, float]]
    marks_best: bool = False


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase: an initial state, a pure step, and a stream of batches.

    Attributes:
        name: folder of its checkpoints below the working directory, prefix of its metrics.
        num_steps: total number of optimizer steps.
        settings: the part of the config that determines the result; resuming with other settings is an error.
        init: `init(rng, initial) -> state`; pure, jitted by the loop. Leaves may be boxed by
            `nn.with_logical_partitioning`; the loop derives shardings from the names and then unboxes.
        initial: result of an earlier phase, or None; an argument of `init`, so that it does not become a
            constant of the program.
        step: `step(state, batch, rng, frozen) -> (state, metrics)`; pure, jitted by the loop with the state
            donated, once for each shape of batches. `metrics` are float32 scalars and hold "loss"; "tokens",
            "frames" (inside of clips) and "frame_slots" (of the whole batch) become rates.
        make_batches: `make_batches() -> grain.DatasetIterator` over host batches: dictionaries of NumPy
            arrays with the batch axis first, plus "example_ids" (a list of str), which stays on the host. The
            iterator has `get_state` / `set_state`, and optionally `bad_records`, the `BadRecord`s that others
            in the last batch replace, `held_out` (training/held_out.py), and `start_prefetch`, to make
            batches before they are asked for.
        prepare: host batch (without "example_ids") -> the pytree that `step` takes.
        parameters: state -> the result of the phase, moving averages if the state has them.
        frozen: parameters that steps read and never change, or None. They are arguments of the step and not
            part of the state: without gradient, average, optimizer slots and copies in checkpoints.
        scratch: paths of arrays of the state, such as "extra/latents", that hold recent batches; they restart
            from zero where another batch size changes their shape.
        held_out: how held-out batches are measured; None: by the metrics of `step`, without its update.
        flops: `flops(batch)`: analytic model FLOPs of a step on the whole batch, arrays or shapes, without
            recomputation; None: unknown, MFU is not logged.
    """

    name: str
    num_steps: int
    settings: Settings
    init: Callable[[jax.Array, PyTree], PyTree]
    initial: PyTree
    step: Callable[..., tuple[PyTree, dict[str, jax.Array]]]
    make_batches: Callable[[], Any]
    prepare: Callable[[dict[str, Any]], PyTree]
    parameters: Callable[[PyTree], PyTree]
    frozen: PyTree = None
    scratch: tuple[str, ...] = ()
    held_out: HeldOutLoss | None = None
    flops: Callable[[PyTree], float] | None = None

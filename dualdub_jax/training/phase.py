"""A phase of training: what the loop runs. Codecs, curriculum stages and forks are all phases."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from dualdub_jax.training.settings import Settings

PyTree = Any  # the state of a phase, its parameters, its batches: each phase has its own


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase: an initial state, a pure step, and a stream of batches.

    Attributes:
        name: folder of its checkpoints below the working directory, prefix of its metrics.
        num_steps: optimizer steps in all.
        settings: the parts of the config that its result depends on; resuming a checkpoint that was written
            with others is refused.
        init: `init(rng, initial) -> state`; pure, jitted by the loop. Leaves may be boxed by
            `nn.with_logical_partitioning`; the loop derives shardings from the names and then unboxes.
        initial: what the phase before handed on, or None; an argument of `init` and not a constant in it, so
            that it is never copied into the program.
        step: `step(state, batch, rng, frozen) -> (state, metrics)`; pure, jitted by the loop with the state
            donated. `metrics` are float32 scalars and hold "loss".
        make_batches: `make_batches() -> grain.DatasetIterator` over host batches: dictionaries of NumPy
            arrays with the batch axis first, plus "example_ids" (a list of str), which stays on the host. The
            iterator has `get_state` / `set_state`.
        prepare: host batch (without "example_ids") -> the pytree that `step` takes.
        parameters: state -> the parameters that this phase hands on (averaged where there is an average).
        frozen: parameters that steps read and never change, or None. They are arguments of the step and part
            of nobody's state: no gradient, no average, no optimizer slot, no copy in a checkpoint.
        flops_per_step: model FLOPs of a step on the whole batch, by an analytic count, without recomputation;
            None: unknown, and no FLOP/s are logged.
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
    flops_per_step: float | None = None

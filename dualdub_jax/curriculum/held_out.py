"""The held-out loss of the language model, by term, by stream and by group of codebooks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dualdub_jax.config import Config
from dualdub_jax.curriculum.losses import StreamLoss, codebook_losses, loss_weights
from dualdub_jax.curriculum.microbatches import sum_over_parts
from dualdub_jax.training.phase import HeldOutLoss
from dualdub_jax.types import Batch

PyTree = Any  # a phase's state, or sums of a batch
# Losses of each example by term, and logits by stream, float32[B, T, Q, V].
Losses = tuple[dict[str, StreamLoss], dict[str, jax.Array]]


def held_out_loss(losses_of: Callable[[PyTree, Batch], Losses], config: Config) -> HeldOutLoss:
    """The loss on held-out batches: all conditions present, by term and by group of codebooks.

    Args:
        losses_of: `losses_of(state, batch)`: losses of each example by term, and logits by stream.
        config: weights of the losses, number of microbatches.

    Returns:
        Its metrics: "loss", and as `total_loss` of the terms that the clips have; also "loss_<stream>_first"
        and "loss_<stream>_rest", the unweighted losses of the first codebook and of the others, nats per
        code.
    """

    def measure(state: PyTree, batch: Batch, rng: jax.Array, frozen: None = None) -> PyTree:
        def sums(part: Batch) -> PyTree:
            losses, logits = losses_of(state, part)
            return jax.tree.map(jnp.sum, losses), codebook_losses(logits, part)

        return sum_over_parts(sums, batch, config.gradient_accumulation_steps)

    def summarise(sums: PyTree) -> dict[str, float]:
        losses, codebooks = sums
        weights = loss_weights(config.loss)
        metrics: dict[str, float] = {}
        for name, parts in losses.items():
            if parts.weight:
                metrics[f"loss_{name}"] = float(parts.loss / parts.weight)
                metrics[f"accuracy_{name}"] = float(parts.correct / parts.weight)
        for stream, (loss, num_frames) in codebooks.items():
            if num_frames:
                metrics[f"loss_{stream}_first"] = float(loss[0] / num_frames)
            if num_frames and len(loss) > 1:
                metrics[f"loss_{stream}_rest"] = float(loss[1:].mean() / num_frames)
        terms = [weights[name] * metrics[f"loss_{name}"] for name in losses if f"loss_{name}" in metrics]
        return {"loss": sum(terms), **metrics} if terms else {}

    return HeldOutLoss(measure, summarise, marks_best=True)

"""The losses of the language model, as sums and weights.

Masked cross entropy of each stream's codes; with a script aligner, of the token spoken in each frame; with
acoustics conditioning, of acoustics predicted from video. Source: the paper minimises cross entropy of both
token streams; the other terms are our choice.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from dualdub_jax.config import LossConfig
from dualdub_jax.dsp.acoustics_bins import bin_weights
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import STREAMS, Array, Batch


class StreamLoss(NamedTuple):
    """Sums and their weights, which add up exactly over devices and microbatches.

    Attributes:
        loss: float32[B], summed over frames and codebooks, nats.
        correct: float32[B], number of codes that the argmax matches.
        weight: float32[B], number of scored codes; 0 for an absent target.
    """

    loss: jax.Array
    correct: jax.Array
    weight: jax.Array


@checked
def stream_loss(
    logits: Float[Array, "B T Q V"],
    codes: Int[Array, "B T Q"],
    mask: Bool[Array, "B T"],
    z_loss: float = 0.0,
    codebook_decay: float = 1.0,
) -> StreamLoss:
    """Cross entropy of one stream.

    Args:
        logits: float32[B, T, Q, V].
        codes: int32[B, T, Q]; ignored where masked.
        mask: bool[B, T], True for frames that are targets.
        z_loss: weight of log(Z)^2, which keeps logits from drifting.
        codebook_decay: ratio of each codebook's weight to the previous one's; the mean weight is 1. Source:
            our choice; Moshi (Défossez et al., 2024) weights its semantic codebook by one hundred.

    Returns:
        Sums over frames and codebooks, by example.
    """
    codes = jnp.where(mask[:, :, None], codes, 0)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    loss = log_z - picked + z_loss * jnp.square(log_z)
    correct = (picked >= logits.max(-1)).astype(jnp.float32)
    weight = jnp.broadcast_to(mask[:, :, None], codes.shape).astype(jnp.float32)
    of_codebook = codebook_decay ** np.arange(codes.shape[-1])
    loss = loss * (of_codebook / of_codebook.mean()).astype(np.float32)
    # `where` and not a product: masked frames may be infinite.
    return StreamLoss(
        loss=jnp.where(weight > 0, loss, 0.0).sum((1, 2)),
        correct=jnp.where(weight > 0, correct, 0.0).sum((1, 2)),
        weight=weight.sum((1, 2)),
    )


def codebook_losses(logits: dict[str, jax.Array], batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Cross entropy of each codebook, unweighted, by stream.

    Args:
        logits: by stream, float32[B, T, Q, V].
        batch: targets and masks.

    Returns:
        By stream: float32[Q], sums over examples and frames, nats; float32[], number of scored frames.
    """
    found = {}
    for stream in STREAMS:
        mask = (batch.frame_mask & getattr(batch, f"has_{stream}")[:, None])[..., None]
        codes = jnp.where(mask, getattr(batch, f"{stream}_tokens"), 0)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits[stream]), codes[..., None], axis=-1)[..., 0]
        found[stream] = jnp.where(mask, -log_p, 0.0).sum((0, 1)), mask.sum().astype(jnp.float32)
    return found


def batch_losses(logits: dict[str, jax.Array], batch: Batch, config: LossConfig) -> dict[str, StreamLoss]:
    """Losses of each example by stream; absent targets have zero weight.

    Args:
        logits: by stream, float32[B, T, Q, V].
        batch: targets and masks.
        config: z-loss and codebook weights.
    """
    return {
        stream: stream_loss(
            logits[stream],
            getattr(batch, f"{stream}_tokens"),
            batch.frame_mask & getattr(batch, f"has_{stream}")[:, None],
            config.z_loss,
            config.codebook_decay,
        )
        for stream in STREAMS
    }


def alignment_loss(log_weights: jax.Array, batch: Batch) -> StreamLoss:
    """Cross entropy of the script aligner's attention with the spoken token, nats per frame.

    Source: our choice; guided attention in speech synthesis (Tachibana et al., 2018) uses a diagonal prior.

    Args:
        log_weights: float32[B, T, L], as in `ScriptAlignment`.
        batch: frames whose `script_alignment` is -1 are not scored.
    """
    is_scored = _has_alignment(batch)
    targets = jnp.where(is_scored, batch.script_alignment, 0)
    loss = -jnp.take_along_axis(log_weights, targets[..., None], axis=-1)[..., 0]
    correct = log_weights.argmax(-1) == targets
    return StreamLoss(
        loss=jnp.where(is_scored, loss, 0.0).sum(1),
        correct=(is_scored & correct).sum(1).astype(jnp.float32),
        weight=is_scored.sum(1).astype(jnp.float32),
    )


def acoustics_loss(logits: jax.Array, batch: Batch) -> StreamLoss:
    """Cross entropy of acoustics predicted from video, nats per quantity.

    Args:
        logits: float32[B, 2, V].
        batch: `acoustics` and `has_acoustics`; clips with unknown acoustics are not scored.
    """
    is_scored = batch.has_acoustics[:, None]
    weights = bin_weights(jnp.where(is_scored, batch.acoustics, 1.0), logits.shape[-1])
    loss = -(weights * jax.nn.log_softmax(logits)).sum(-1)
    correct = logits.argmax(-1) == weights.argmax(-1)
    return StreamLoss(
        loss=jnp.where(is_scored, loss, 0.0).sum(1),
        correct=(is_scored & correct).sum(1).astype(jnp.float32),
        weight=2.0 * batch.has_acoustics.astype(jnp.float32),
    )


def _has_alignment(batch: Batch) -> jax.Array:
    """bool[B, T], frames that `alignment_loss` scores."""
    has_both = batch.has_speech & batch.has_script
    return (batch.script_alignment >= 0) & batch.frame_mask & has_both[:, None]


def scored_codes(batch: Batch) -> dict[str, jax.Array]:
    """Numbers of scored targets, float32[] each: codes by stream, frames "alignment", quantities "acoustics".

    They equal the sums of the losses' weights.
    """
    counts = {
        "alignment": _has_alignment(batch).sum().astype(jnp.float32),
        "acoustics": 2.0 * batch.has_acoustics.sum().astype(jnp.float32),
    }
    for stream in STREAMS:
        mask = batch.frame_mask & getattr(batch, f"has_{stream}")[:, None]
        counts[stream] = mask.sum().astype(jnp.float32) * getattr(batch, f"{stream}_tokens").shape[-1]
    return counts


def loss_weights(config: LossConfig) -> dict[str, float]:
    """Weight of each term in the total loss."""
    return {
        "speech": config.speech_weight,
        "background": config.background_weight,
        "alignment": config.alignment_weight,
        "acoustics": config.acoustics_weight,
    }


def total_loss(
    losses: dict[str, StreamLoss], config: LossConfig, scored: dict[str, jax.Array] | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The training loss and its metrics.

    The mean of each stream over its scored codes, weighted by the config; a stream that is no target of any
    example contributes zero.

    Args:
        losses: by stream, and "alignment" and "acoustics" if the model has them; of a batch or a microbatch.
        config: their weights.
        scored: `scored_codes` of the whole batch if `losses` are of a microbatch, so that loss, metrics and
            gradients of all microbatches add up to those of the batch. None: `losses` are of the batch.

    Returns:
        The loss float32[], and metrics: "loss", "loss_<stream>" (nats per code, codebooks weighted) and
        "accuracy_<stream>", likewise of "alignment" (nats per frame) and "acoustics" (nats per quantity).
    """
    weights = loss_weights(config)
    total, metrics = jnp.float32(0.0), {}
    for stream, parts in losses.items():
        num_scored = jnp.maximum(parts.weight.sum() if scored is None else scored[stream], 1.0)
        metrics[f"loss_{stream}"] = parts.loss.sum() / num_scored
        metrics[f"accuracy_{stream}"] = parts.correct.sum() / num_scored
        total += weights[stream] * metrics[f"loss_{stream}"]
    return total, {"loss": total, **metrics}

"""The loss of the language model, as sums and weights.

Masked cross entropy by stream and codebook; where the model has a script aligner, of the token it reads;
where it is told of rooms, of what the video tells of them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualdub_jax.config import LossConfig
from dualdub_jax.dsp.acoustics import bin_weights
from dualdub_jax.types import STREAMS, Batch


class StreamLoss(NamedTuple):
    """Sums apart from their weights, so that devices, microbatches and steps add up exactly.

    Attributes:
        loss: float32[B], summed over frames and codebooks.
        correct: float32[B], how many codes the most likely one matches.
        weight: float32[B], how many codes were scored; 0 for an absent target.
    """

    loss: jax.Array
    correct: jax.Array
    weight: jax.Array


def stream_loss(
    logits: jax.Array, codes: jax.Array, mask: jax.Array, z_loss: float = 0.0, codebook_decay: float = 1.0
) -> StreamLoss:
    """Cross entropy of one stream.

    Args:
        logits: float32[B, T, Q, V].
        codes: int32[B, T, Q]; ignored where masked.
        mask: bool[B, T], True for frames that are targets.
        z_loss: weight of log(Z)^2, which keeps logits from drifting.
        codebook_decay: each codebook's weight over that of the one before it; the mean weight is 1. The first
            ones say what is heard, the last ones how exactly. Source: our choice; Moshi (Défossez et al.,
            2024) weights its semantic codebook a hundred times.
    """
    codes = jnp.where(mask[:, :, None], codes, 0)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    loss = log_z - picked + z_loss * jnp.square(log_z)
    correct = (picked >= logits.max(-1)).astype(jnp.float32)
    weight = jnp.broadcast_to(mask[:, :, None], codes.shape).astype(jnp.float32)
    of_codebook = codebook_decay ** np.arange(codes.shape[-1])
    loss = loss * (of_codebook / of_codebook.mean()).astype(np.float32)
    # where, not a product: a masked frame may hold anything, also inf.
    return StreamLoss(
        loss=jnp.where(weight > 0, loss, 0.0).sum((1, 2)),
        correct=jnp.where(weight > 0, correct, 0.0).sum((1, 2)),
        weight=weight.sum((1, 2)),
    )


def batch_losses(logits: dict[str, jax.Array], batch: Batch, config: LossConfig) -> dict[str, StreamLoss]:
    """Losses of each example by stream; an absent target has weight zero."""
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
    """How little a script aligner reads of the token that is being said, in nats a frame.

    Source: our choice; guided attention in speech synthesis (Tachibana et al., 2018) knows the diagonal only.

    Args:
        log_weights: float32[B, T, L], as in `ScriptAlignment`.
        batch: frames whose `script_alignment` is -1 are not scored.
    """
    is_scored = _has_alignment(batch)
    places = jnp.where(is_scored, batch.script_alignment, 0)
    loss = -jnp.take_along_axis(log_weights, places[..., None], axis=-1)[..., 0]
    correct = log_weights.argmax(-1) == places
    return StreamLoss(
        loss=jnp.where(is_scored, loss, 0.0).sum(1),
        correct=(is_scored & correct).sum(1).astype(jnp.float32),
        weight=is_scored.sum(1).astype(jnp.float32),
    )


def acoustics_loss(logits: jax.Array, batch: Batch) -> StreamLoss:
    """How little the video tells of the room, in nats a quantity; clips whose room is unknown are not scored.

    Args:
        logits: float32[B, 2, V].
        batch: of it `acoustics` and `has_acoustics`.
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
    """What a batch scores, float32[]: codes of each stream, frames of "reading", quantities of "room".

    They are the sums of the losses' weights.
    """
    counts = {
        "alignment": _has_alignment(batch).sum().astype(jnp.float32),
        "acoustics": 2.0 * batch.has_acoustics.sum().astype(jnp.float32),
    }
    for stream in STREAMS:
        mask = batch.frame_mask & getattr(batch, f"has_{stream}")[:, None]
        counts[stream] = mask.sum().astype(jnp.float32) * getattr(batch, f"{stream}_tokens").shape[-1]
    return counts


def total_loss(
    losses: dict[str, StreamLoss], config: LossConfig, scored: dict[str, jax.Array] | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The scalar that is minimised, and metrics.

    Each stream's mean over its scored codes, weighted by the config; a stream that no example of the
    batch has as a target adds nothing.

    Args:
        losses: by stream, "reading" and "room" if there are any; of a batch or of a part of one.
        config: their weights.
        scored: of the whole batch, as `scored_codes`, where `losses` are of a part of it: then loss, metrics
            and gradients of the parts add up to those of the whole. None: `losses` are the whole.

    Returns:
        float32[] and "loss", "loss_<stream>" (nats a code, codebooks weighted), "accuracy_<stream>", also of
        "reading" (nats a frame) and "room" (nats a quantity).
    """
    weights = {
        "speech": config.speech_weight,
        "background": config.background_weight,
        "alignment": config.alignment_weight,
        "acoustics": config.acoustics_weight,
    }
    total, metrics = jnp.float32(0.0), {}
    for stream, parts in losses.items():
        num_scored = jnp.maximum(parts.weight.sum() if scored is None else scored[stream], 1.0)
        metrics[f"loss_{stream}"] = parts.loss.sum() / num_scored
        metrics[f"accuracy_{stream}"] = parts.correct.sum() / num_scored
        total += weights[stream] * metrics[f"loss_{stream}"]
    return total, {"loss": total, **metrics}

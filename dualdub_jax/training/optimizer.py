"""AdamW with warm-up, cosine decay, gradient clipping, masked weight decay and freezing by path."""

import re
from typing import Any

import jax
import optax

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import OptimizerConfig
from dualdub_jax.errors import UserError

PyTree = Any


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up from zero, then cosine decay to `final_learning_rate_ratio` of the peak."""
    warmup_steps = min(config.warmup_steps, max(num_steps // 4, 1))
    return optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        warmup_steps,
        max(num_steps, warmup_steps + 1),
        config.learning_rate * config.final_learning_rate_ratio,
    )


def make_optimizer(
    config: OptimizerConfig, num_steps: int, freeze: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Makes the optimizer of one phase.

    Weight decay applies to matrices only (`is_decayed`). A frozen parameter has no update, no optimizer state
    and no share in the clipped norm.

    Args:
        config: learning rate and other hyperparameters.
        num_steps: of the phase, for the schedule.
        freeze: regular expressions; a parameter is frozen if one matches its whole path, such as
            "video_encoder/pixels/patch/kernel".

    Raises:
        UserError: (on `init`) an expression matches no parameter.
    """
    trainable = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            make_schedule(config, num_steps),
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map_with_path(is_decayed, params),
        ),
    )
    if not freeze:
        return trainable
    return optax.partition(
        {"train": trainable, "freeze": optax.set_to_zero()},
        lambda params: freeze_labels(params, freeze),
    )


def is_decayed(path: tuple[Any, ...], leaf: Any) -> bool:
    """True for kernels; norms, biases, embeddings, learned vectors and gates have no weight decay."""
    last = path_name(path).split("/")[-1]
    return leaf.ndim >= 2 and last in ("kernel", "out")


def freeze_labels(params: PyTree, freeze: tuple[str, ...]) -> PyTree:
    """Labels each parameter as "freeze" or "train", as a tree like `params`.

    Raises:
        UserError: an expression matches no parameter's path.
    """
    names = [path_name(path) for path, _ in jax.tree.leaves_with_path(params)]
    for pattern in freeze:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise UserError(f"freeze: {pattern!r} matches no parameter; paths look like {names[0]!r}")
    return jax.tree.map_with_path(
        lambda path, _: "freeze" if any(re.fullmatch(p, path_name(path)) for p in freeze) else "train", params
    )

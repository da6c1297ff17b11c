"""AdamW with warm-up, cosine decay, gradient clipping and masked weight decay."""

from typing import Any

import jax
import optax

from dualdub_jax.checkpoints.tree_paths import path_name
from dualdub_jax.config import OptimizerConfig


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up from `initial_learning_rate_ratio` of the peak, then cosine decay to the final one."""
    warmup_steps = min(config.warmup_steps, max(num_steps // 4, 1))
    return optax.warmup_cosine_decay_schedule(
        config.learning_rate * config.initial_learning_rate_ratio,
        config.learning_rate,
        warmup_steps,
        max(num_steps, warmup_steps + 1),
        config.learning_rate * config.final_learning_rate_ratio,
    )


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Makes the optimizer of one phase; weight decay applies to matrices only (`is_decayed`).

    Args:
        config: learning rate and other hyperparameters.
        num_steps: of the phase, for the schedule.
    """
    adamw = optax.adamw(
        make_schedule(config, num_steps),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=lambda params: jax.tree.map_with_path(is_decayed, params),
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw


def is_decayed(path: tuple[Any, ...], leaf: Any) -> bool:
    """True for kernels; norms, biases, embeddings, learned vectors and gates have no weight decay."""
    last = path_name(path).split("/")[-1]
    return leaf.ndim >= 2 and last in ("kernel", "out")

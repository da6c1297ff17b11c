"""The contract of a cross-modal aligner; a fork's class implements these methods and no others.

An aligner fuses both streams' pasts and the video into one sequence, which follows the prefix in the language
model's input. The aligner is the only path from video to the language model. Source: the paper's section on
the cross-modal aligner; the interface is our choice.
"""

from typing import Any, NamedTuple, Protocol

import jax
from jaxtyping import Float, Int

from dualdub_jax.config import ModelConfig
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import Array

Cache = Any  # a pytree of arrays, returned by an aligner's `start`


class Aligned(NamedTuple):
    """The output of an aligner.

    Attributes:
        fused: float[B, T, D], the language model's input at each frame.
        cache: updated with the current frame; unused after a call over all frames.
    """

    fused: jax.Array
    cache: Cache


class Aligner(Protocol):
    """A linen module, constructed as `Class(config=…, name=…)`; selected by `config.model.aligner.kind`.

    Optional: `video_context(conditions, cache) -> float[B, T, D]`, the contribution of video to each frame.
    The acoustics head reads it, and the phase "video_encoder" trains it; without it, both use
    `conditions.video`.
    """

    config: ModelConfig

    def start(self, conditions: Conditions) -> Cache:
        """Computes what depends on the conditions only, and allocates caches of the streams.

        Args:
            conditions: encoded video, masks, presence flags; T is the length of `conditions.video`.

        Returns:
            A pytree of arrays whose shapes do not depend on the frame: for example projected video keys, and
            zeros for the keys of T frames of each stream.
        """
        ...

    def __call__(
        self,
        speech: Float[Array, "B T D"],
        background: Float[Array, "B T D"],
        conditions: Conditions,
        cache: Cache,
        frame: Int[Array, ""] | None = None,
    ) -> Aligned:
        """Fuses streams and video.

        Position t of both streams is the embedding of frame t - 1 (streams are shifted), so that attention to
        positions <= t is attention to frames <= t - 1: frame t is to be predicted. An absent stream is a
        learned null at every position.

        Args:
            speech: float[B, T, D], the embedded past of the speech stream.
            background: float[B, T, D], the embedded past of the background stream.
            conditions: as for `start`.
            cache: from `start`, or from the call for the previous frame.
            frame: None: all frames of a clip in parallel, with `cache` from `start`. int32[]: the frame to be
                decoded; then T = 1, and the output must equal that frame of the parallel call.

        Returns:
            The fused sequence, and the cache for the next frame.
        """
        ...


ALIGNERS = Slot(
    "config.model.aligner.kind",
    Aligner,
    ("config",),
    {
        "grid": "dualdub_jax.models.aligners.grid:GridAligner",
        "paper": "dualdub_jax.models.aligners.paper:PaperAligner",
    },
)

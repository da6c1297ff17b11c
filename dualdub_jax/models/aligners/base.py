"""The contract of a cross-modal aligner; a fork's class needs what stands here and nothing else.

An aligner fuses both streams' pasts and the video into one sequence, the frames that the language model reads
behind its prefix. Video reaches the language model through the aligner alone.
"""

from typing import Any, NamedTuple, Protocol

import jax

from dualdub_jax.config import ModelConfig
from dualdub_jax.models.conditions import Conditions
from dualdub_jax.parts.slot import Slot

Cache = Any  # whatever pytree an aligner makes in `start`


class Aligned(NamedTuple):
    """What an aligner returns.

    Attributes:
        fused: float[B, T, D], the language model's input at each frame.
        cache: with the present frame in it; of a call over all frames it is not used.
    """

    fused: jax.Array
    cache: Cache


class Aligner(Protocol):
    """A linen module, constructed as `Class(config=…, name=…)`; `config.model.aligner.kind`.

    It may also have `video_context(conditions, cache) -> float[B, T, D]`, what the video alone contributes at
    each frame: the acoustics head reads it, and the phase "video_encoder" trains it. Without that method both
    take `conditions.video`.
    """

    config: ModelConfig

    def start(self, conditions: Conditions) -> Cache:
        """What is computed once a clip, and empty caches of the streams.

        Args:
            conditions: encoded video, masks, presence flags; T is the length of `conditions.video`.

        Returns:
            A pytree of arrays whose shapes do not depend on the frame, for example projected video keys, and
            zeros for the keys of T frames of each stream.
        """
        ...

    def __call__(
        self,
        speech: jax.Array,
        background: jax.Array,
        conditions: Conditions,
        cache: Cache,
        frame: jax.Array | None = None,
    ) -> Aligned:
        """Fuses.

        Position t of both streams holds the embedding of frame t - 1 (streams come shifted), so that
        attending to positions <= t attends to frames <= t - 1: frame t itself is being predicted. An absent
        stream holds a learned null at every position.

        Args:
            speech: float[B, T, D], the embedded past of the speech stream.
            background: float[B, T, D], the embedded past of the background stream.
            conditions: as for `start`.
            cache: from `start`, or of the frame before.
            frame: None: all frames of a clip at once, with `cache` as `start` made it. int32[]: the frame
                that is being decoded; T is then 1, and the result must equal that frame of the call over all.

        Returns:
            The fused sequence, and the cache for the next frame.
        """
        ...


ALIGNERS = Slot(
    "config.model.aligner.kind",
    Aligner,
    ("config",),
    {"grid": "dualdub_jax.models.aligners.grid:GridAligner"},
)

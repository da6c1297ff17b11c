"""The grid aligner with local causal attention: each stream attends to the last second of the other.

Research question: does acoustic harmony depend on the distant past? Source: our choice, an example of a fork.
"""

import jax

from dualdub_jax.models.aligners.grid import GridAligner


class WindowedAligner(GridAligner):
    """`GridAligner`, with the same parameters and a window.

    Attributes:
        window_frames: number of most recent frames of the other stream that each position attends to.
    """

    window_frames: int = 25

    def may_attend(self, query: jax.Array, key: jax.Array) -> jax.Array:
        """See `GridAligner.may_attend`; position `key` holds frame key - 1."""
        return super().may_attend(query, key) & (key > query - self.window_frames)

"""The grid aligner with a short memory: each stream attends to the last second of the other, and no further.

Question of this fork: does acoustic harmony need the distant past? Source: our choice, made up as an example.
"""

import jax

from dualdub_jax.models.aligners.grid import GridAligner


class WindowedAligner(GridAligner):
    """As `GridAligner`, whose parameters it has, with a window.

    Attributes:
        window_frames: how many frames of the other stream's past each position attends to, the newest ones.
    """

    window_frames: int = 25

    def may_attend(self, query: jax.Array, key: jax.Array) -> jax.Array:
        """See `GridAligner.may_attend`; position `key` holds frame key - 1."""
        return super().may_attend(query, key) & (key > query - self.window_frames)

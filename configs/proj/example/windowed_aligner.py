"""The mutual aligner with a short memory: each stream looks at the last second of the other, and not further.

Question of this fork: does harmony need the far past? A door that slams is heard in the room for a second;
the room itself does not change. Source: our choice, made up as an example.
"""

import jax

from dualdub_jax.models.aligners.grid import MutualAligner


class WindowedMutualAligner(MutualAligner):
    """As `MutualAligner`, of which it has the parameters, with a window.

    Attributes:
        window_frames: how many frames of the other stream's past each position sees, the newest ones.
    """

    window_frames: int = 25

    def may_look(self, asking: jax.Array, asked: jax.Array) -> jax.Array:
        """See `MutualAligner.may_look`; position `asked` holds frame asked - 1."""
        return super().may_look(asking, asked) & (asked > asking - self.window_frames)

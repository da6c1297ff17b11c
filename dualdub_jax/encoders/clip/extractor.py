"""CLIP as a frozen feature extractor: one vector a frame.

Source: the paper (its section on the multimodal encoder) encodes every third picture by a frozen CLIP. Which
of CLIP's two vectors it takes is not stated; both are offered.
"""

from typing import Any

from dualdub_jax.encoders.clip.tower import ClipConfig, ClipTower
from dualdub_jax.encoders.image_tower import TowerExtractor, from_sizes
from dualdub_jax.errors import UserError

_VECTORS = ("projected", "token")


class ClipExtractor(TowerExtractor):
    """Implements `encoders.base.FeatureExtractor`; frames are cropped to squares, bicubically."""

    def __init__(
        self,
        path: str = "",
        frame_rate_hz: str = "25/3",
        vector: str = "projected",
        dtype: str = "float32",
    ) -> None:
        """Reads converted weights.

        Args:
            path: folder of `dualdub convert`.
            frame_rate_hz: frames a second; the default is every third of 25.
            vector: "projected", CLIP's image embedding (512 numbers in ViT-B/32), or "token", the class token
                before the projection (768). Neither is normalised.
            dtype: of the computation, "float32" or "bfloat16".

        Raises:
            UserError: no such folder, weights of another model, an unknown vector or dtype.
        """
        if vector not in _VECTORS:
            raise UserError(f"clip(vector={vector!r}): expected {' or '.join(map(repr, _VECTORS))}")

        def bind(sizes: dict[str, Any]) -> tuple[ClipConfig, Any]:
            config = from_sizes(ClipConfig, sizes)
            if vector == "projected" and not config.embedding_dim:
                raise UserError(f"{path}: is a tower without its projection; use clip(vector='token')")
            tower, index = ClipTower(config), _VECTORS.index(vector)
            return config, lambda params, images: tower.apply({"params": params}, images)[index]

        super().__init__("clip", path, frame_rate_hz, dtype, vector, bind)

"""The frozen feature extractor of a config, for data preparation and dubbing."""

from dualdub_jax.config import Config
from dualdub_jax.encoders.base import FEATURE_EXTRACTORS, FeatureExtractor, video_inputs
from dualdub_jax.errors import UserError


def make_extractor(config: Config) -> FeatureExtractor | None:
    """The extractor that a config names; None for a model that reads pixels.

    Raises:
        UserError: the model reads features and the config has no extractor, or one of another dimension.
    """
    if "video_features" not in video_inputs(config.model):
        return None
    if not config.video_features.extractor:
        raise UserError(
            "config.video_features.extractor: is empty, but the encoder config.model.video.kind="
            f"{config.model.video.kind} reads features; set it to the import path of a FeatureExtractor"
        )
    extractor = FEATURE_EXTRACTORS.make(config.video_features.extractor)
    if extractor.dim != config.model.video.feature_dim:
        raise UserError(
            f"config.model.video.feature_dim: is {config.model.video.feature_dim}, but "
            f"{config.video_features.extractor} computes {extractor.dim}; set it to {extractor.dim}"
        )
    return extractor

"""Contracts of the encoders; a fork's class implements these methods and no others (docs/forking.md).

Linen modules are constructed with the annotated fields, as keywords, and with `name`.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from dualdub_jax.config import GridConfig, ModelConfig
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import Array, Batch


class VideoEncoder(Protocol):
    """Encodes video to one vector per grid frame; selected by `config.model.video.kind`.

    The class attribute `inputs` lists the optional rows of `Batch` that it reads, such as ("video",) or
    ("video_features",); others are not loaded. Default: ("video",).
    """

    config: ModelConfig

    def __call__(self, batch: Batch) -> Float[Array, "B T D"]:
        """Encodes the batch's video.

        Returns:
            float[B, T, D] with D = `config.width`. Frames outside the clip must not depend on its content;
            rows without a video are arbitrary, the aligner replaces them by a learned null.
        """
        ...


class ScriptEncoder(Protocol):
    """Encodes script tokens to vectors of the prefix; selected by `config.model.script_encoder`."""

    config: ModelConfig

    def __call__(
        self, tokens: Int[Array, "B L"], mask: Bool[Array, "B L"], has_script: Bool[Array, " B"]
    ) -> tuple[Float[Array, "B L_prefix D"], Bool[Array, "B L_prefix"]]:
        """Encodes scripts.

        Args:
            tokens: int32[B, L] in [0, vocabulary size).
            mask: bool[B, L], True for tokens of the script.
            has_script: bool[B], False where the script is unknown.

        Returns:
            Vectors float[B, L', D] and their mask bool[B, L'], True where valid.
        """
        ...


class SpeakerEncoder(Protocol):
    """Encodes a reference recording to vectors of the prefix; selected by `config.model.speaker_encoder`."""

    config: ModelConfig
    grid: GridConfig

    def __call__(
        self, voice: Float[Array, "B S"], voice_mask: Bool[Array, "B R"], has_voice: Bool[Array, " B"]
    ) -> Float[Array, "B vectors D"]:
        """Encodes reference recordings.

        Args:
            voice: float32[B, R * samples_per_frame], samples in [-1, 1] at `grid.sample_rate_hz`.
            voice_mask: bool[B, R], True for grid frames that the recording covers.
            has_voice: bool[B], False without a reference.

        Returns:
            float[B, vectors, D]; without a reference learned nulls, or zeros.
        """
        ...


class FeatureExtractor(Protocol):
    """Frozen video features, such as CLIP's: a plain class, selected by `config.video_features.extractor`.

    Attributes:
        frame_spec: rate and size of its input frames, and its own preprocessing: fit and filter. Data
            preparation and dubbing use it alike.
        dim: D_video.
        fingerprint: identifies weights and preprocessing; keys cached features.
    """

    frame_spec: FrameSpec
    dim: int
    fingerprint: str

    def extract(self, frames: UInt8[np.ndarray, "n size size 3"]) -> Float[np.ndarray, "n D_video"]:
        """Computes features: uint8[n, size, size, 3], RGB -> float32[n, D_video]."""
        ...


VIDEO_ENCODERS = Slot(
    "config.model.video.kind",
    VideoEncoder,
    ("config",),
    {
        "pixels": "dualdub_jax.encoders.pixels:PixelVideoEncoder",
        "features": "dualdub_jax.encoders.features:FeatureVideoEncoder",
    },
)
SCRIPT_ENCODERS = Slot(
    "config.model.script_encoder",
    ScriptEncoder,
    ("config",),
    {"embedding": "dualdub_jax.encoders.script:TokenEmbedding"},
)
SPEAKER_ENCODERS = Slot(
    "config.model.speaker_encoder",
    SpeakerEncoder,
    ("config", "grid"),
    {
        "attention_pooling": "dualdub_jax.encoders.speaker:AttentionPoolingEncoder",
        "mean_pooling": "dualdub_jax.encoders.mean_pooling:MeanPoolingEncoder",
    },
)
FEATURE_EXTRACTORS = Slot(
    "config.video_features.extractor",
    FeatureExtractor,
    (),
    {
        "clip": "dualdub_jax.encoders.clip.extractor:ClipExtractor",
        "siglip": "dualdub_jax.encoders.siglip:SiglipExtractor",
    },
)


def video_inputs(config: ModelConfig) -> tuple[str, ...]:
    """The optional rows of `Batch` that the config's video encoder reads."""
    found, _ = VIDEO_ENCODERS.find(config.video.kind)
    return tuple(getattr(found, "inputs", ("video",)))

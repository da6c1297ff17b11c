"""Contracts of the encoders; a fork's class needs what stands here and nothing else (docs/forking.md).

Linen modules are constructed with the fields annotated here, as keywords, and with `name`.
"""

from typing import Any, Protocol

import jax
import numpy as np

from dualdub_jax.config import GridConfig, ModelConfig
from dualdub_jax.media.frames import FrameSpec
from dualdub_jax.parts.slot import Slot
from dualdub_jax.types import Batch


class VideoEncoder(Protocol):
    """Video to one vector a grid frame; `config.model.video.kind`.

    The class attribute `inputs` names the rows of `Batch` that it reads, such as ("video",) or
    ("video_features",): the other optional rows are not loaded. Absent: ("video",).
    """

    config: ModelConfig

    def __call__(self, batch: Batch) -> jax.Array:
        """Encodes the batch's video.

        Returns:
            float[B, T, D] with D = `config.width`; frames outside the clip carry no information of it, and
            clips without a video carry nothing: the aligner replaces them by its null.
        """
        ...


class ScriptEncoder(Protocol):
    """Script tokens to vectors of the language model's prefix; `config.model.script_encoder`."""

    config: ModelConfig

    def __call__(self, tokens: jax.Array, mask: jax.Array, has_script: jax.Array) -> tuple[Any, Any]:
        """Encodes scripts.

        Args:
            tokens: int32[B, L].
            mask: bool[B, L], True for tokens of the script.
            has_script: bool[B].

        Returns:
            float[B, L', D] and bool[B, L'], True where the prefix is valid.
        """
        ...


class SpeakerEncoder(Protocol):
    """A reference recording to vectors of the language model's prefix; `config.model.speaker_encoder`."""

    config: ModelConfig
    grid: GridConfig

    def __call__(self, voice: jax.Array, voice_mask: jax.Array, has_voice: jax.Array) -> jax.Array:
        """Encodes reference recordings.

        Args:
            voice: float32[B, R * samples_per_frame], samples in [-1, 1] at `grid.sample_rate_hz`.
            voice_mask: bool[B, R], True for grid frames that the recording covers.
            has_voice: bool[B].

        Returns:
            float[B, vectors, D]; learned nulls for an absent voice.
        """
        ...


class FeatureExtractor(Protocol):
    """Frozen video features, such as CLIP's; `config.video_features.extractor`. A plain class, not a module.

    Attributes:
        frame_spec: rate and size of the frames that it takes.
        dim: D_video.
        fingerprint: changes whenever its features do: weights, preprocessing.
    """

    frame_spec: FrameSpec
    dim: int
    fingerprint: str

    def extract(self, frames: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3], RGB -> float32[n, D_video]."""
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
    {"attention_pooling": "dualdub_jax.encoders.speaker:AttentionPoolingEncoder"},
)
FEATURE_EXTRACTORS = Slot("config.video_features.extractor", FeatureExtractor, ())


def video_inputs(config: ModelConfig) -> tuple[str, ...]:
    """The optional rows of `Batch` that the config's video encoder reads."""
    found, _ = VIDEO_ENCODERS.find(config.video.kind)
    return tuple(getattr(found, "inputs", ("video",)))

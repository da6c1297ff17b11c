"""The CASP model: two BEATs encoders, attention pooling, projections, a temperature, contrastive loss.

Source: the paper and the public DualBench repository; reimplemented.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dualdub_jax.casp.beats import Beats, layer_norm, linear
from dualdub_jax.casp.kaldi_fbank import HOP_LENGTH, WINDOW_LENGTH
from dualdub_jax.config import CaspConfig

PyTree = Any  # parameters: nested dictionaries of arrays

MAX_LOG_SCALE = math.log(100.0)


class Casp(nn.Module):
    """Embeds speech and background such that the cosine measures their harmony."""

    config: CaspConfig

    def setup(self) -> None:
        self.speech_encoder = StemEncoder(self.config, name="speech")
        self.background_encoder = StemEncoder(self.config, name="background")
        self.logit_scale = self.param(
            "logit_scale",
            nn.with_logical_partitioning(nn.initializers.constant(self.config.initial_log_scale), ()),
            (),
            jnp.float32,
        )

    def __call__(self, speech: jax.Array, background: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """Similarity logits of all speech stems with all background stems.

        Args:
            speech: float32[B, S], prepared as in `waveform.py`.
            background: float32[B, S].

        Returns:
            float32[B, B], cosines times the logit scale, one row per speech stem; and named intermediates:
            "speech" and "background" float32[B, D], unit norm; "scale" float32[].
        """
        speech, background = self.embed_speech(speech), self.embed_background(background)
        scale = jnp.exp(self.logit_scale)
        logits = scale * jnp.einsum("SD,AD->SA", speech, background, precision="highest")
        return logits, {"speech": speech, "background": background, "scale": scale}

    def embed_speech(self, waveform: jax.Array) -> jax.Array:
        """float32[B, S] -> float32[B, D], unit norm."""
        return self.speech_encoder(waveform)[0]

    def embed_background(self, waveform: jax.Array) -> jax.Array:
        """float32[B, S] -> float32[B, D], unit norm."""
        return self.background_encoder(waveform)[0]


class StemEncoder(nn.Module):
    """BEATs, pooling and projection of one stem: float32[B, S] -> float32[B, D] of unit norm."""

    config: CaspConfig

    @nn.compact
    def __call__(self, waveform: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        width = self.config.encoder.width
        patches, out = Beats(self.config.encoder, name="encoder")(waveform)
        pooled = AttentionPooling(name="pooling")(patches)
        hidden = linear(2 * width, ("embed", "mlp"), "project_up")(pooled)
        hidden = nn.gelu(layer_norm("project_norm")(hidden), approximate=False)
        embedding = linear(width, ("mlp", "embed"), "project_down")(hidden)
        length = jnp.maximum(jnp.linalg.norm(embedding, axis=-1, keepdims=True), 1e-12)
        return embedding / length, out | {"encoded": patches, "pooled": pooled}


class AttentionPooling(nn.Module):
    """The mean of vectors with learned attention weights: float32[B, L, D] -> float32[B, D]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = linear(x.shape[-1], ("embed", "mlp"), "hidden")(x)
        hidden = nn.gelu(layer_norm("norm")(hidden), approximate=False)
        weights = nn.softmax(linear(1, ("embed", "patch"), "score")(hidden)[..., 0], axis=-1)
        return jnp.einsum("BL,BLD->BD", weights, x)


def contrastive_loss(logits: jax.Array, is_pair: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Symmetric cross-entropy over both retrieval directions.

    Args:
        logits: float32[B, B], matched pairs on the diagonal.
        is_pair: bool[B], True for valid pairs. Others (a silent stem) are neither queries nor candidates.

    Returns:
        Loss float32[] in nats, and top-1 accuracy float32[], both averaged over the directions.
    """
    labels = jnp.arange(len(logits))
    weight = is_pair / jnp.maximum(jnp.sum(is_pair), 1)
    loss, accuracy = 0.0, 0.0
    for direction in (logits, logits.T):
        offered = jnp.where(is_pair[None, :], direction, -1e9)
        loss += 0.5 * jnp.sum(weight * optax.softmax_cross_entropy_with_integer_labels(offered, labels))
        accuracy += 0.5 * jnp.sum(weight * (jnp.argmax(offered, axis=-1) == labels))
    return loss, accuracy


def least_num_samples(config: CaspConfig) -> int:
    """Length of the shortest valid waveform in samples: one patch in time."""
    return WINDOW_LENGTH + (config.encoder.patch_size - 1) * HOP_LENGTH


def abstract_params(config: CaspConfig) -> PyTree:
    """Shapes of CASP's parameters, without allocating them."""
    stem = jnp.zeros((1, least_num_samples(config)))
    return jax.eval_shape(lambda: nn.unbox(Casp(config).init(jax.random.key(0), stem, stem)["params"]))

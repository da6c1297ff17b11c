"""UTMOS, the strong learner of 2022: predicted naturalness of speech, 1 to 5.

| module | kernel | output |
|---|---|---|
| `encoder`: wav2vec 2.0 base | see wav2vec2.py | float32[B, T, 768] |
| concatenated with fixed vectors of domain and judge | | [B, T, 1024] |
| `forward_lstm`, `backward_lstm` | [1024, 4 × 512], [512, 4 × 512] | [B, T, 1024] |
| `hidden`: linear, ReLU; `score` | [1024, 2048], [2048, 1] | [B, T] |
| mean over time, × 2 + 3 | | [B] |

Source: Saeki et al. (2022), "UTMOS: UTokyo-SaruLab system for VoiceMOS Challenge 2022".
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.encoders.audio.wav2vec2 import Wav2Vec2, Wav2Vec2Config, dense
from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


@dataclasses.dataclass(frozen=True)
class UtmosConfig:
    """Sizes; the defaults are those of the published checkpoint."""

    encoder: Wav2Vec2Config = dataclasses.field(default_factory=Wav2Vec2Config)
    condition_width: int = 256  # vectors of domain and judge together
    lstm_width: int = 512
    hidden_width: int = 2048


class Utmos(nn.Module):
    """Predicts a mean opinion score; the table above has the shapes.

    Attributes:
        config: sizes.
    """

    config: UtmosConfig = UtmosConfig()

    @nn.compact
    @checked
    def __call__(self, waveform: Float[Array, "B S"], lengths: Int[Array, " B"]) -> Float[Array, " B"]:
        """Predicts.

        Args:
            waveform: float32[B, S] at 16 kHz, not normalised; past a row's length it is ignored.
            lengths: int32[B], samples of each row, at least 400.

        Returns:
            float32[B], about 1 (bad) to 5 (natural).
        """
        config = self.config
        states, lengths = Wav2Vec2(config.encoder, name="encoder")(waveform, lengths)
        x = states[-1]
        init = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("embed",))
        condition = self.param("condition", init, (config.condition_width,))
        x = jnp.concatenate([x, jnp.broadcast_to(condition, (*x.shape[:2], len(condition)))], axis=-1)
        forward, backward = (
            nn.RNN(
                nn.OptimizedLSTMCell(config.lstm_width, name=name),
                reverse=name == "backward_lstm",
                keep_order=True,
            )(x, seq_lengths=lengths)
            for name in ("forward_lstm", "backward_lstm")
        )
        x = jnp.concatenate([forward, backward], axis=-1)
        hidden = nn.relu(dense(config.hidden_width, "hidden", ("embed", "mlp"))(x))
        scores = dense(1, "score", ("mlp", "patch"))(hidden)[..., 0]
        is_frame = jnp.arange(scores.shape[1]) < lengths[:, None]
        return jnp.where(is_frame, scores, 0.0).sum(axis=1) / lengths * 2.0 + 3.0

"""Formulas over an audio tagger's outputs, as the public `audioldm_eval` computes them.

Source: github.com/haoheliu/audioldm_eval, its metrics `isc` and `kl` (revision 8dc07ee); the Fréchet distance
is `frechet.frechet_distance`.
"""

from collections.abc import Sequence

import numpy as np

NUM_SPLITS = 10
_SHUFFLE_SEED = 2020
_EPSILON = 1e-6  # added to the generated clip's probabilities


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64[K] of float[K], which sum to 1."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return shifted / shifted.sum()


def divergence(true_logits: np.ndarray, logits: np.ndarray) -> float:
    """KL divergence of the true clip's class distribution from the generated one's, nats.

    At most 13.8 per unit of probability, since 1e-6 is added to the generated distribution.

    Args:
        true_logits: float[K] of the true clip.
        logits: float[K] of the generated clip.
    """
    true, generated = softmax(true_logits), softmax(logits)
    logs = np.log(true, out=np.zeros_like(true), where=true > 0)
    return float(np.sum(true * (logs - np.log(generated + _EPSILON))))


def inception_score(logits: Sequence[np.ndarray]) -> float:
    """Mean over 10 splits of exp(mean KL divergence from the split's mean distribution).

    Clips are shuffled with a fixed seed first, so the score depends on their order.

    Args:
        logits: float[K] of each clip.

    Returns:
        At least 1; NaN below 10 clips.
    """
    count = len(logits)
    if count < NUM_SPLITS:
        return float("nan")
    order = np.random.RandomState(_SHUFFLE_SEED).permutation(count)
    probabilities = np.stack([softmax(logits[i]) for i in order])
    scores = []
    for i in range(NUM_SPLITS):
        chunk = probabilities[i * count // NUM_SPLITS : (i + 1) * count // NUM_SPLITS]
        logs = np.log(chunk, out=np.zeros_like(chunk), where=chunk > 0)
        scores.append(np.exp(np.mean(np.sum(chunk * (logs - np.log(chunk.mean(axis=0))), axis=1))))
    return float(np.mean(scores))

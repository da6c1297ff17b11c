"""Tokens at the rate of latents: which tokens a latent reads, with which weights.

Latent i covers [i, i + 1) * R in units of tokens, with R tokens a latent. Indices are exact for any rates and
any position in a track, since they are computed from integers on the host.

| kind | tokens of latent i | Source |
|---|---|---|
| "nearest" | floor(i * R), the one at its beginning | the paper: floor(i * T / L), R = T / L |
| "linear" | two, by the distance of their middles from the latent's | our choice |
| "mean" | all that it covers, by how much of them it covers | our choice |
"""

from fractions import Fraction

import numpy as np

RESAMPLINGS = ("nearest", "linear", "mean")


def token_weights(
    latents: np.ndarray, tokens_per_latent: Fraction, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of latents.

    Args:
        latents: int64[...], absolute indices.
        tokens_per_latent: R.
        kind: of `RESAMPLINGS`.

    Returns:
        Absolute token indices int64[..., n], which may lie outside of a track, and float32[..., n]; weights
        sum to 1.
    """
    p, q = tokens_per_latent.numerator, tokens_per_latent.denominator
    if kind == "nearest":
        index = latents * p // q
        return index[..., None], np.ones((*index.shape, 1), np.float32)
    if kind == "linear":
        doubled = (2 * latents + 1) * p - q  # the latent's middle among the tokens' middles, times 2q
        low = doubled // (2 * q)
        high_weight = (doubled - low * 2 * q) / (2 * q)
        weights = np.stack([1 - high_weight, high_weight], axis=-1).astype(np.float32)
        return np.stack([low, low + 1], axis=-1), weights
    first, end = latents * p, (latents + 1) * p  # in units of 1/q tokens
    num_covered = -(-p // q) + 1
    index = first[..., None] // q + np.arange(num_covered)
    covered = np.minimum((index + 1) * q, end[..., None]) - np.maximum(index * q, first[..., None])
    return index, (np.maximum(covered, 0) / p).astype(np.float32)

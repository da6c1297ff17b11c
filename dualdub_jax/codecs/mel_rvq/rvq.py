"""Residual vector quantisation with codebooks learned by exponential moving averages.

Each of Q codebooks quantises the residual of the previous ones. In training the codebooks are state: `start`
initialises them by k-means on latents of an unquantised model; `update` moves each entry to the moving
average of the vectors assigned to it, and restarts unused entries at random vectors of the batch. All
functions are pure, and every sum over the batch is a matrix product, so that statistics are reduced over
devices under a mesh. Source: EMA codebooks after van den Oord et al. (2017), restarts after Dhariwal et al.
(2020), residual stages after Zeghidour et al. (2021); the implementation is our own.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dualdub_jax.parts.shapes import checked
from dualdub_jax.types import Array


@flax.struct.dataclass
class RVQState:
    """Codebooks and their running statistics.

    Attributes:
        codebooks: float32[Q, K, D].
        counts: float32[Q, K], moving average of the number of vectors per batch assigned to each entry.
        sums: float32[Q, K, D], moving average of the sum of those vectors.
    """

    codebooks: jax.Array
    counts: jax.Array
    sums: jax.Array


def init_rvq(num_codebooks: int, codebook_size: int, dim: int) -> RVQState:
    """Zero codebooks, to be initialised by `start`.

    Args:
        num_codebooks: Q.
        codebook_size: K.
        dim: D.
    """
    return RVQState(
        codebooks=jnp.zeros((num_codebooks, codebook_size, dim)),
        counts=jnp.ones((num_codebooks, codebook_size)),
        sums=jnp.zeros((num_codebooks, codebook_size, dim)),
    )


def continued(codebooks: jax.Array, num_vectors: int) -> RVQState:
    """State of trained codebooks, with statistics of even use.

    Args:
        codebooks: float32[Q, K, D].
        num_vectors: of a batch.
    """
    counts = jnp.full(codebooks.shape[:2], num_vectors / codebooks.shape[1])
    return RVQState(codebooks=codebooks, counts=counts, sums=codebooks * counts[..., None])


def nearest(vectors: jax.Array, codebook: jax.Array) -> jax.Array:
    """Index of the nearest entry in Euclidean distance.

    Args:
        vectors: float32[..., D].
        codebook: float32[K, D].

    Returns:
        int32[...] in [0, K).
    """
    # |v|² is constant over entries.
    distance = jnp.sum(codebook**2, axis=-1) - 2.0 * vectors @ codebook.T
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


@checked
def quantize(
    latents: Float[Array, "*batch D"], codebooks: Float[Array, "Q K D"]
) -> tuple[Int[Array, "*batch Q"], Float[Array, "*batch D"]]:
    """Quantises latents, codebook by codebook.

    Args:
        latents: float32[..., D].
        codebooks: float32[Q, K, D].

    Returns:
        Codes int32[..., Q], and the quantised latents float32[..., D], the sum of the selected entries.
    """

    def stage(residual: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes = nearest(residual, codebook)
        return residual - codebook[codes], codes

    residual, codes = jax.lax.scan(stage, latents, codebooks)
    return jnp.moveaxis(codes, 0, -1), latents - residual


@checked
def dequantize(codes: Int[Array, "*batch Q"], codebooks: Float[Array, "Q K D"]) -> Float[Array, "*batch D"]:
    """Sum of the selected entries.

    Args:
        codes: int32[..., Q] in [0, K).
        codebooks: float32[Q, K, D].

    Returns:
        float32[..., D].
    """
    num_codebooks = codebooks.shape[0]
    return sum(codebooks[q][codes[..., q]] for q in range(num_codebooks))


def start(
    state: RVQState, samples: jax.Array, rng: jax.Array, dims: jax.Array, num_iterations: int = 10
) -> RVQState:
    """Initialises all codebooks by k-means, each on the residual of the previous ones.

    Args:
        state: of the same sizes; its values are replaced.
        samples: float32[N, D] latents, N at least the codebook size.
        rng: a key.
        dims: float32[Q, D], 1 for dimensions that a codebook quantises, 0 where its entries stay 0.
        num_iterations: of Lloyd's algorithm.
    """
    size = state.codebooks.shape[1]

    def stage(residual: jax.Array, inputs: tuple) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        key, dims = inputs
        part = residual * dims
        seed_key, dead_key = jax.random.split(key)
        codebook = jax.random.choice(seed_key, part, (size,), replace=False)

        def iterate(codebook: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            counts, sums = _statistics(part, nearest(part, codebook), size)
            spare = jax.random.choice(key, part, (size,), replace=False)
            return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1.0)[:, None], spare), None

        codebook, _ = jax.lax.scan(iterate, codebook, jax.random.split(dead_key, num_iterations))
        codes = nearest(part, codebook)
        counts, _ = _statistics(part, codes, size)
        return residual - codebook[codes], (codebook, counts)

    keys = jax.random.split(rng, state.codebooks.shape[0])
    _, (codebooks, counts) = jax.lax.scan(stage, samples, (keys, dims))
    # Counts of at least one delay the restart of entries that k-means left empty.
    counts = jnp.maximum(counts / samples.shape[0] * size, 1.0)
    return RVQState(codebooks=codebooks, counts=counts, sums=codebooks * counts[..., None])


def update(
    state: RVQState,
    latents: jax.Array,
    rng: jax.Array,
    dims: jax.Array,
    decay: float,
    least_count: float = 0.05,
) -> tuple[RVQState, jax.Array, jax.Array]:
    """Quantises a batch with the current codebooks, then updates the codebooks.

    Args:
        state: codebooks and statistics.
        latents: float32[N, D].
        rng: a key, for restarts.
        dims: as for `start`.
        decay: of the moving averages, per step.
        least_count: an entry whose average count falls below this is restarted at a random vector.

    Returns:
        The new state, codes int32[N, Q], and the latents float32[N, D] quantised with the old codebooks.
    """
    size = state.codebooks.shape[1]

    def stage(residual: jax.Array, inputs: tuple) -> tuple[jax.Array, tuple]:
        codebook, counts, sums, key, dims = inputs
        part = residual * dims
        codes = nearest(part, codebook)
        batch_counts, batch_sums = _statistics(part, codes, size)
        counts = decay * counts + (1.0 - decay) * batch_counts
        sums = decay * sums + (1.0 - decay) * batch_sums
        is_dead = counts < least_count
        spare = part[jax.random.randint(key, (size,), 0, part.shape[0])]
        moved = jnp.where(is_dead[:, None], spare, sums / jnp.maximum(counts, least_count)[:, None])
        # The average count, so that a restarted entry is not restarted again at the next step.
        counts = jnp.where(is_dead, residual.shape[0] / size, counts)
        return residual - codebook[codes], (moved, counts, moved * counts[:, None], codes)

    keys = jax.random.split(rng, state.codebooks.shape[0])
    stages = (state.codebooks, state.counts, state.sums, keys, dims)
    residual, (codebooks, counts, sums, codes) = jax.lax.scan(stage, latents, stages)
    return RVQState(codebooks, counts, sums), jnp.moveaxis(codes, 0, -1), latents - residual


def perplexity(counts: jax.Array) -> jax.Array:
    """Effective number of entries in use: float32[..., K] counts -> float32[...]."""
    probability = counts / jnp.sum(counts, axis=-1, keepdims=True)
    entropy = -jnp.sum(probability * jnp.log(jnp.maximum(probability, 1e-10)), axis=-1)
    return jnp.exp(entropy)


def _statistics(vectors: jax.Array, codes: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Number of vectors assigned to each entry, float32[K], and their sums, float32[K, D]."""
    chosen = jax.nn.one_hot(codes, size, dtype=vectors.dtype)
    return jnp.sum(chosen, axis=0), jnp.einsum("NK,ND->KD", chosen, vectors)

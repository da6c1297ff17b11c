"""Residual vector quantisation: codebooks learnt by moving averages, not by gradients.

Each of Q codebooks quantises what the ones before it left over. In training the codebooks are state:
`start` places them by k-means on latents collected from an unquantised model, `update` moves each entry
to the running mean of the vectors that chose it, and puts entries that nobody chooses onto random vectors
of the batch. Everything is pure, and every sum over the batch is a matrix product, so that under a mesh the
statistics of all devices add up by themselves. Source: EMA codebooks after van den Oord et al. (2017),
restarts after Dhariwal et al. (2020), residual stages after Zeghidour et al. (2021); code ours.
"""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class RVQState:
    """Codebooks and their running statistics.

    Attributes:
        codebooks: float32[Q, K, D].
        counts: float32[Q, K], running mean of how many vectors of a batch chose each entry.
        sums: float32[Q, K, D], running mean of the sum of those vectors.
    """

    codebooks: jax.Array
    counts: jax.Array
    sums: jax.Array


def init_rvq(num_codebooks: int, codebook_size: int, dim: int) -> RVQState:
    """Codebooks of zeros, to be placed by `start`."""
    return RVQState(
        codebooks=jnp.zeros((num_codebooks, codebook_size, dim)),
        counts=jnp.ones((num_codebooks, codebook_size)),
        sums=jnp.zeros((num_codebooks, codebook_size, dim)),
    )


def nearest(vectors: jax.Array, codebook: jax.Array) -> jax.Array:
    """Index of the nearest entry.

    Args:
        vectors: float32[..., D].
        codebook: float32[K, D].

    Returns:
        int32[...].
    """
    # |v|² is the same for all entries and is left out.
    distance = jnp.sum(codebook**2, axis=-1) - 2.0 * vectors @ codebook.T
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


def quantize(latents: jax.Array, codebooks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Quantises stage by stage.

    Args:
        latents: float32[..., D].
        codebooks: float32[Q, K, D].

    Returns:
        codes int32[..., Q], and the sum of the chosen entries float32[..., D].
    """

    def stage(residual: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes = nearest(residual, codebook)
        return residual - codebook[codes], codes

    residual, codes = jax.lax.scan(stage, latents, codebooks)
    return jnp.moveaxis(codes, 0, -1), latents - residual


def dequantize(codes: jax.Array, codebooks: jax.Array) -> jax.Array:
    """Sum of the entries that `codes` name: int32[..., Q], float32[Q, K, D] -> float32[..., D]."""
    num_codebooks = codebooks.shape[0]
    return sum(codebooks[q][codes[..., q]] for q in range(num_codebooks))


def start(
    state: RVQState, samples: jax.Array, rng: jax.Array, dims: jax.Array, num_iterations: int = 10
) -> RVQState:
    """Places all codebooks by k-means, each on what the stages before it left over.

    Args:
        state: gives the sizes; its content is replaced.
        samples: float32[N, D] latents, N at least the codebook size.
        rng: a key.
        dims: float32[Q, D], 1 where a codebook has a say and 0 where its entries stay 0.
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
    # One count an entry at least: an entry that k-means left empty is given a chance before a restart.
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
    """Quantises a batch with the present codebooks, then moves the codebooks towards it.

    Args:
        state: codebooks and statistics.
        latents: float32[N, D].
        rng: a key, for restarts.
        dims: as for `start`.
        decay: of the running means, per step.
        least_count: an entry whose running count falls below this is restarted on a random vector.

    Returns:
        The new state, codes int32[N, Q], and the quantised latents float32[N, D] under the old codebooks.
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
        # A restarted entry begins with the count of an average one, lest it dies again at once.
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
    """How many vectors chose each entry, float32[K], and their sums, float32[K, D]."""
    chosen = jax.nn.one_hot(codes, size, dtype=vectors.dtype)
    return jnp.sum(chosen, axis=0), jnp.einsum("NK,ND->KD", chosen, vectors)

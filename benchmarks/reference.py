"""Float64 references for losses whose optax formula cannot be run in float64."""

import jax
import jax.numpy as jnp


def ntxent(embeddings: jax.Array, labels: jax.Array) -> jax.Array:
    """NT-Xent by one matrix product.

    The gradient of optax's formula holds [batch, batch, features] arrays: 6 GB in
    float64 for 1024 embeddings of 256 features.
    """
    unit = embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = unit @ unit.T / 0.07
    same = labels[:, None] == labels[None, :]
    positive = same & ~jnp.eye(len(labels), dtype=bool)
    negatives = jnp.where(same, -jnp.inf, similarity)
    against = jax.nn.logsumexp(negatives, axis=1, keepdims=True)
    losses = jnp.logaddexp(similarity, against) - similarity
    return jnp.where(positive, losses, 0.0).sum() / positive.sum()

"""Float64 references for losses that optax's formula in float64 is not one for.

Each takes the name of the dtype that the arguments were rounded to before it.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy


def kl_divergence(dtype: str, log_probs: jax.Array, targets: jax.Array) -> jax.Array:
    """Kullback-Leibler without the defect of the masses, if rounding explains it.

    Probabilities rounded to bfloat16 miss 1 by as much as near-equal distributions
    differ: the docstring of `jaxloss.kl_divergence` has the bound.
    """
    eps = float(jnp.finfo(dtype).eps)
    return _kl(log_probs, targets, 2 * eps + _rounding(log_probs, eps))


def kl_divergence_with_log_targets(
    dtype: str, log_probs: jax.Array, log_targets: jax.Array
) -> jax.Array:
    """The same from the logarithms of the targets."""
    rounding = _rounding(log_probs, float(jnp.finfo(dtype).eps))
    return _kl(log_probs, jnp.exp(log_targets), 2 * rounding)


def _rounding(log_probs: jax.Array, eps: float) -> float:
    return (2 + math.log(log_probs.shape[-1])) * eps


def _kl(log_probs: jax.Array, targets: jax.Array, rounding: float) -> jax.Array:
    mass = jnp.sum(targets, axis=-1)
    defect = mass - jnp.sum(jnp.exp(log_probs), axis=-1)
    literal = jnp.sum(xlogy(targets, targets) - targets * log_probs, axis=-1)
    # Held fixed: the gradient is that of the definition.
    fixed = jax.lax.stop_gradient(defect)
    return literal - jnp.where(jnp.abs(fixed) <= rounding * mass, fixed, 0)


def ntxent(dtype: str, embeddings: jax.Array, labels: jax.Array) -> jax.Array:
    """NT-Xent by one matrix product.

    The gradient of optax's formula holds [batch, batch, features] arrays: 6 GB in
    float64 for 1024 embeddings of 256 features.
    """
    del dtype  # Rounding enters by the arguments alone.
    unit = embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = unit @ unit.T / 0.07
    same = labels[:, None] == labels[None, :]
    positive = same & ~jnp.eye(len(labels), dtype=bool)
    negatives = jnp.where(same, -jnp.inf, similarity)
    against = jax.nn.logsumexp(negatives, axis=1, keepdims=True)
    losses = jnp.logaddexp(similarity, against) - similarity
    return jnp.where(positive, losses, 0.0).sum() / positive.sum()

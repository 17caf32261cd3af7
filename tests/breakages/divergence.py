"""Breakages of the divergences."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "the gradient of KL with the wrong sign",
        "_core/relative_entropy.py",
        "slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, -t)",
        "slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, t)",
        f"{LAWS} -k kl_divergence",
    ),
]

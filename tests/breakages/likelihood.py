"""Breakages of the likelihoods."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "the weight by the variance is not held fixed",
        "_losses/likelihood_real.py",
        "jax.lax.stop_gradient(jnp.exp(power * log_variance_))",
        "jnp.exp(power * log_variance_)",
        "tests/test_likelihood.py -k held_fixed",
    ),
    Breakage(
        "the weight by the variance has the inverse of it",
        "_losses/likelihood_real.py",
        "jnp.exp(power * log_variance_)",
        "jnp.exp(-power * log_variance_)",
        f"{LAWS} -k gaussian_nll",
    ),
    Breakage(
        "what a normal bin holds, in the place of what it lacks",
        "_core/normal_interval.py",
        "-jnp.log1p(-_around(x).lacking)",
        "-jnp.log(1 - _around(x).lacking)",
        f"{LAWS} -k discretized_gaussian",
    ),
    Breakage(
        "the slope of a narrow bin around the mean cancels",
        "_core/normal_interval.py",
        "_around(x).slope, _beside(x).slope)",
        "_around(x).slope, x.near + _beside(x).moment(1))",
        f"{LAWS} -k discretized_gaussian",
    ),
    Breakage(
        "the curvature of a normal bin takes a moment for the variance",
        "_core/normal_interval.py",
        "inner, 1 - beside.variance)",
        "inner, 1 - beside.moment(2))",
        f"{LAWS} -k discretized_gaussian",
    ),
    Breakage(
        "the last normal bin ends",
        "_losses/likelihood_discretized.py",
        "is_open = x.is_first | x.is_last",
        "is_open = x.is_first",
        f"{LAWS} -k discretized_gaussian",
    ),
]

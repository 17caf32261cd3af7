"""Quantum cross entropies, on real symmetric matrices."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case

SIZE = 3


def symmetric(rng):
    a = rng.normal(size=(BATCH, SIZE, SIZE))
    return (a + np.swapaxes(a, 1, 2)) / 2


def states(rng, purity=1.0):
    """Density matrices, with eigenvalues far from each other or not."""
    _, vectors = np.linalg.eigh(symmetric(rng))
    p = rng.dirichlet(np.full(SIZE, 1 / purity), size=BATCH) * 0.9 + 0.1 / SIZE
    return np.einsum("bik,bk,bjk->bij", vectors, p, vectors)


def logits_and_states(rng, scale):
    h = symmetric(rng)
    match scale:
        case "tiny":
            # All eigenvalues nearly equal, and for one example just equal.
            h = 1e-4 * h
            h[0] = 0
        case "wide":
            h = 5 * h
        case "offset":
            h = h + 1e3 * np.eye(SIZE)
    return h, states(rng)


def two_states(rng, scale):
    sigma, rho = states(rng), states(rng, 3.0)
    if scale == "tiny":
        rho = 0.999 * sigma + 0.001 * rho
    return sigma, rho


def eigen(a):
    values, vectors = mp.eigsy(mp.matrix(((a + a.T) / 2).tolist()))
    return list(values), vectors


def apply(f, a):
    """A function of a symmetric matrix."""
    values, vectors = eigen(a)
    result = np.empty((SIZE, SIZE), object)
    for i in range(SIZE):
        for j in range(SIZE):
            result[i, j] = mp.fsum(
                vectors[i, k] * f(values[k]) * vectors[j, k] for k in range(SIZE)
            )
    return result


def trace(a, b):
    return mp.fsum(np.ravel((a + a.T) / 2 * b))


def cross_entropy(h, rho):
    values, _ = eigen(h)
    peak = max(values)
    partition = peak + mp.log(mp.fsum(mp.exp(v - peak) for v in values))
    return mp.fsum(np.diag(rho)) * partition - trace(h, rho)


def cross_entropy_gradient(h, rho):
    boltzmann = apply(mp.exp, h - h[0, 0] * np.eye(SIZE, dtype=int))
    sigma = boltzmann / mp.fsum(np.diag(boltzmann))
    return mp.fsum(np.diag(rho)) * sigma - (rho + rho.T) / 2


def density_cross_entropy(sigma, rho):
    return -trace(rho, apply(mp.log, sigma))


def density_cross_entropy_by_state(sigma, rho):
    return -apply(mp.log, sigma)


def relative_entropy(sigma, rho):
    return trace(rho, apply(mp.log, rho) - apply(mp.log, sigma))


def relative_entropy_by_state(sigma, rho):
    eye = np.eye(SIZE, dtype=int)
    return apply(mp.log, rho) - apply(mp.log, sigma) + eye


def size(a):
    return float(max(abs(v) for v in np.ravel(a)))


IN_NATS = {
    "density_matrix_cross_entropy",
    "quantum_cross_entropy",
    "quantum_relative_entropy",
}


def spread(h, rho):
    """Eigenvalues and eigenvectors are good to a rounding of the whole matrix."""
    middle = mp.fsum(np.diag(h)) / SIZE
    return 1e-6 * (1 + size(h - middle * np.eye(SIZE, dtype=int)))


# The same of a density matrix, whose logarithm has slopes up to 1 / smallest
# eigenvalue, here 30.
NEAR = 3e-6

CASES = [
    Case(
        name="quantum_cross_entropy",
        inputs=logits_and_states,
        formula=cross_entropy,
        gradient=cross_entropy_gradient,
        event=(2, 2),
        scales=("tiny", "unit", "wide", "offset"),
        floor=spread,
    ),
    Case(
        name="quantum_cross_entropy",
        variant="by state",
        inputs=logits_and_states,
        formula=cross_entropy,
        gradient=None,
        event=(2, 2),
        argument=1,
        scales=("tiny", "unit", "wide"),
        hessian=False,  # linear
        floor=spread,
    ),
    Case(
        name="density_matrix_cross_entropy",
        inputs=two_states,
        formula=density_cross_entropy,
        gradient=None,
        event=(2, 2),
        scales=("tiny", "unit"),
        # The curvature of the logarithm is up to 1 / (smallest eigenvalue)².
        floor=lambda sigma, rho: 30 * NEAR,
    ),
    Case(
        name="density_matrix_cross_entropy",
        variant="by state",
        inputs=two_states,
        formula=density_cross_entropy,
        gradient=density_cross_entropy_by_state,
        event=(2, 2),
        argument=1,
        scales=("tiny", "unit"),
        hessian=False,  # linear
        floor=lambda sigma, rho: NEAR,
    ),
    Case(
        name="quantum_relative_entropy",
        inputs=two_states,
        formula=relative_entropy,
        gradient=None,
        event=(2, 2),
        scales=("tiny", "unit"),
        floor=lambda sigma, rho: 30 * NEAR,
    ),
    Case(
        name="quantum_relative_entropy",
        variant="by state",
        inputs=two_states,
        formula=relative_entropy,
        gradient=relative_entropy_by_state,
        event=(2, 2),
        argument=1,
        scales=("tiny", "unit"),
        floor=lambda sigma, rho: 30 * NEAR,
    ),
]

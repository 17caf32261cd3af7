"""Quantum cross entropies: complex states, equal eigenvalues, diagonal matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import linalg

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

RNG = np.random.default_rng(0)
SIZE = 4
LOSSES = (
    jaxloss.quantum_cross_entropy,
    jaxloss.density_matrix_cross_entropy,
    jaxloss.quantum_relative_entropy,
)


def close(actual, expected, rtol=1e-9, atol=1e-10):
    np.testing.assert_allclose(
        np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol
    )


def hermitian(scale=1.0):
    a = RNG.normal(size=(SIZE, SIZE)) + 1j * RNG.normal(size=(SIZE, SIZE))
    return scale * (a + a.conj().T) / 2


def state():
    rho = linalg.expm(hermitian())
    return rho / np.trace(rho)


H, RHO, SIGMA = hermitian(), state(), state()


def test_definitions_with_complex_states():
    sigma = linalg.expm(H) / np.trace(linalg.expm(H))
    exact = -np.trace(RHO @ linalg.logm(sigma)).real
    j = jnp.asarray
    close(jaxloss.quantum_cross_entropy(j(H), j(RHO)), exact)
    close(jaxloss.density_matrix_cross_entropy(j(sigma), j(RHO)), exact)
    entropy = -np.trace(RHO @ linalg.logm(RHO)).real
    close(jaxloss.quantum_relative_entropy(j(sigma), j(RHO)), exact - entropy)
    bits = jaxloss.quantum_cross_entropy(j(H), j(RHO), base=2)
    close(bits, exact / np.log(2))
    narrow = jaxloss.quantum_cross_entropy(
        j(H.astype(np.complex64)), j(RHO.astype(np.complex64))
    )
    assert narrow.dtype == jnp.float32
    close(narrow, exact, 1e-5)


def test_complex_gradient_is_sigma_minus_rho():
    sigma = linalg.expm(H) / np.trace(linalg.expm(H))
    gradient = jax.grad(jaxloss.quantum_cross_entropy)(jnp.asarray(H), jnp.asarray(RHO))
    close(np.conj(gradient), sigma - RHO)


@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_along_complex_lines(loss):
    """First and second derivatives against differences, in both arguments."""
    first = H if loss is jaxloss.quantum_cross_entropy else SIGMA
    a, b = hermitian(0.1), hermitian(0.1)

    def along(t, s):
        return loss(jnp.asarray(first) + t * a, jnp.asarray(RHO) + s * b)

    check = functools.partial(check_grads, order=2, modes=("fwd", "rev"))
    check(along, (0.0, 0.0), rtol=1e-5, atol=1e-6, eps=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("values", [[1, 1, 1, 1], [1, 1, 2, 2], [1, 1 + 1e-9, 3, 3]])
def test_equal_eigenvalues_have_derivatives(loss, values):
    """What differences give, where the eigenvectors have no derivative."""
    unitary = linalg.expm(1j * hermitian())
    first = unitary @ np.diag(np.asarray(values, float)) @ unitary.conj().T
    if loss is not jaxloss.quantum_cross_entropy:
        first = first / np.trace(first)
    a = hermitian(0.05)

    def along(t):
        return loss(jnp.asarray(first) + t * a, jnp.asarray(RHO))

    step = 1e-4
    ends = [float(along(t)) for t in (-step, 0.0, step)]
    slope = float(jax.grad(along)(0.0))
    close(slope, (ends[2] - ends[0]) / (2 * step), 1e-5, 1e-7)
    curvature = float(jax.grad(jax.grad(along))(0.0))
    close(curvature, (ends[2] - 2 * ends[1] + ends[0]) / step**2, 1e-4, 1e-5)
    close(jax.jvp(jax.grad(along), (0.0,), (1.0,))[1], curvature)


def test_diagonal_matrices_are_distributions():
    x = jnp.asarray(RNG.normal(size=(3, SIZE)))
    p, q = (jnp.asarray(RNG.dirichlet(np.ones(SIZE), size=3)) for _ in range(2))
    diagonal = jax.vmap(jnp.diag)
    close(
        jaxloss.quantum_cross_entropy(diagonal(x), diagonal(p)),
        jaxloss.softmax_cross_entropy(x, p),
        1e-13,
    )
    close(
        jaxloss.density_matrix_cross_entropy(diagonal(q), diagonal(p)),
        -jnp.sum(p * jnp.log(q), axis=1),
        1e-13,
    )
    close(
        jaxloss.quantum_relative_entropy(diagonal(q), diagonal(p)),
        jaxloss.kl_divergence(jnp.log(q), p),
        1e-12,
    )


def test_a_confident_model_keeps_its_digits():
    """As the softmax does: value, gradient and curvature of a row that is right."""
    x = np.asarray([30.0, 0, -1, 2], np.float32)
    one_hot = np.eye(SIZE, dtype=np.float32)[0]

    def rows(x):
        return jaxloss.softmax_cross_entropy(x, jnp.asarray(one_hot))

    def matrices(x):
        rho = jnp.diag(jnp.asarray(one_hot))
        return jaxloss.quantum_cross_entropy(jnp.diag(x), rho)

    for order in range(3):
        f, g = rows, matrices
        for _ in range(order):
            f, g = (jax.grad(lambda x, h=h: jnp.sum(h(x))) for h in (f, g))
        close(g(jnp.asarray(x)), f(jnp.asarray(x)), 3e-6, 0)


def test_offsets_cancel():
    shifted = H + 1e6 * np.eye(SIZE)
    close(
        jaxloss.quantum_cross_entropy(jnp.asarray(shifted), jnp.asarray(RHO)),
        jaxloss.quantum_cross_entropy(jnp.asarray(H), jnp.asarray(RHO)),
    )


def test_relative_entropy_of_states_that_are_close():
    """Half the quadratic form of the difference, not a difference of entropies."""
    for size in (0.0, 1e-3, 1e-5):
        near = RHO + size * (SIGMA - RHO)
        value = float(
            jaxloss.quantum_relative_entropy(jnp.asarray(near), jnp.asarray(RHO))
        )
        e, u = np.linalg.eigh(RHO)
        d = u.conj().T @ (near - RHO) @ u
        equal = np.isclose(e[:, None], e[None, :])
        slope = np.where(
            equal,
            1 / e[:, None],
            (np.log(e[:, None]) - np.log(e)) / np.where(equal, 1, e[:, None] - e),
        )
        quadratic = (slope * np.abs(d) ** 2).sum() / 2
        assert value >= 0
        close(value, quadratic, 100 * size, 1e-16)


def test_pure_states():
    ground = np.diag([1.0, 0, 0, 0])
    unitary = linalg.expm(1j * hermitian())
    ground = jnp.asarray(unitary @ ground @ unitary.conj().T)
    other = jnp.asarray(unitary @ np.diag([0, 1.0, 0, 0]) @ unitary.conj().T)
    for loss in LOSSES[1:]:
        close(loss(ground, ground), 0, 0, 1e-12)
        assert np.isposinf(loss(ground, other))
    mixed = jnp.eye(SIZE, dtype=complex) / SIZE
    close(jaxloss.quantum_relative_entropy(mixed, ground), np.log(SIZE))
    negative = jnp.diag(jnp.asarray([1.5, -0.5, 0, 0]))
    assert np.isnan(jaxloss.density_matrix_cross_entropy(negative, jnp.eye(4) / 4))


def test_masks_and_errors():
    h = jnp.stack([jnp.asarray(H), jnp.full((SIZE, SIZE), jnp.nan + 0j)])
    rho = jnp.stack([jnp.asarray(RHO)] * 2)
    keep = jnp.asarray([True, False])
    for loss in LOSSES:
        first = h if loss is LOSSES[0] else h.at[0].set(SIGMA)
        masked = functools.partial(loss, where=keep)
        value = masked(first, rho)
        close(value[0], loss(first[0], rho[0]), 1e-12)
        assert value[1] == 0
        gradient = jax.grad(lambda x, f=masked: jnp.sum(f(x, rho)))(first)
        assert np.isfinite(gradient).all() and (np.asarray(gradient[1]) == 0).all()
        with pytest.raises(ValueError, match="of square matrices"):
            loss(h[..., :2], rho)
        with pytest.raises(TypeError, match="floating-point or complex"):
            loss(jnp.ones((2, 2), int), rho)

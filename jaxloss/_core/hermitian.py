"""Functions of Hermitian matrices, with the exact derivatives at equal eigenvalues too.

A function of a matrix acts on its eigenvalues, f(A) = U f(λ) U†, and its derivative is
that of Daleckii and Krein, df = U (F ∘ U† dA U) U†, with the divided differences

    F_ij = (f(λ_i) - f(λ_j)) / (λ_i - λ_j),      F_ij = f'(λ_i) where the two are equal.

The derivative of the eigenvectors, which does not exist there, is taken for no first
and no second derivative of a loss. Of a matrix that is not Hermitian the Hermitian part
counts, so gradients are Hermitian.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import rows
from jaxloss._core.numerics import unknown
from jaxloss._core.relative_entropy import bregman
from jaxloss._core.types import Array


class Spectrum(NamedTuple):
    """Eigenvalues, ascending, and the eigenvectors as columns."""

    values: Array
    vectors: Array


def hermitian(a: Array) -> Array:
    """The Hermitian part."""
    return (a + dagger(a)) / 2


def dagger(a: Array) -> Array:
    """The conjugate transpose."""
    return jnp.conj(jnp.swapaxes(a, -1, -2))


def inner(a: Array, b: Array) -> Array:
    """Tr a† b, its real part: for Hermitian ones that of a b."""
    return jnp.sum(jnp.real(jnp.conj(a) * b), axis=(-2, -1))


def trace(a: Array) -> Array:
    """Of a Hermitian matrix: real."""
    return jnp.sum(_diagonal(a), axis=-1)


def _diagonal(a: Array) -> Array:
    return jnp.real(jnp.diagonal(a, axis1=-2, axis2=-1))


def spectrum(a: Array) -> Spectrum:
    """Primal only: what is differentiated is left to the caller's rule."""
    # Around the mean of the eigenvalues, of which they have the digits; exactly, if
    # the matrix is a multiple of the identity.
    mean = _mean(a)
    around = hermitian(a) - _multiple(mean, a)
    values, vectors = jnp.linalg.eigh(around, symmetrize_input=False)
    return Spectrum(values + mean[..., None], vectors)


def _mean(a: Array) -> Array:
    """The mean of the eigenvalues."""
    return trace(a) / max(a.shape[-1], 1)


def _multiple(number: Array, like: Array) -> Array:
    """A real multiple of the identity."""
    eye = jnp.broadcast_to(jnp.eye(like.shape[-1], dtype=like.dtype), like.shape)
    return number[..., None, None].astype(like.dtype) * eye


def _into(basis: Spectrum, a: Array) -> Array:
    """A matrix in the basis of the eigenvectors."""
    return _product(_product(dagger(basis.vectors), hermitian(a)), basis.vectors)


def _back(basis: Spectrum, a: Array) -> Array:
    """From the basis of the eigenvectors, Hermitian to the last place."""
    return hermitian(_product(_product(basis.vectors, a), dagger(basis.vectors)))


def _times(number: Array, a: Array) -> Array:
    return number[..., None, None].astype(a.dtype) * a


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _with_diagonal(a: Array, diagonal: Array) -> Array:
    eye = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=bool), a.shape)
    return jnp.where(eye, diagonal[..., None].astype(a.dtype), a)


# ------------------------------------------------------------------ Gibbs states


def _gibbs_spectrum(h: Array) -> Spectrum:
    # What all eigenvalues have in common does not matter to a Gibbs state.
    return spectrum(h - _multiple(_mean(h), h))


@jax.custom_jvp
def gibbs_nll(h: Array, rho: Array) -> Array:
    """-Tr ρ log σ for σ = e^H / Tr e^H: Tr ρ · log Tr e^H - Tr ρ H."""
    # The softmax cross entropy of the eigenvalues, with the diagonal of ρ in their
    # basis: no term of it is negative, for what rounding makes so is none.
    basis = _gibbs_spectrum(h)
    t = _diagonal(_into(basis, rho))
    t = jnp.where((t < 0) & (t > -_rounding(rho)), 0, t)
    return jnp.squeeze(rows.soft_nll(basis.values, t, -1), -1)


def _gibbs_nll_jvp(primals, tangents):
    # <Tr ρ · σ - ρ, dH>, and <-log σ, dρ> with -log σ = log Tr e^H - H.
    (h, rho), (dh, drho) = primals, tangents
    dloss = jnp.zeros(h.shape[:-2], jnp.real(h).dtype)
    if not isinstance(dh, SymbolicZero):
        dloss += inner(gibbs_surplus(h, rho), hermitian(dh))
    if not isinstance(drho, SymbolicZero):
        dloss += inner(gibbs_energy(h) + unknown(rho), hermitian(drho))
    return gibbs_nll(h, rho), dloss


gibbs_nll.defjvp(_gibbs_nll_jvp, symbolic_zeros=True)


@jax.custom_jvp
def gibbs_surplus(h: Array, rho: Array) -> Array:
    """Tr ρ · σ - ρ, the matrix of p - y, whose diagonal does not cancel."""
    basis = _gibbs_spectrum(h)
    inside = _into(basis, rho)
    t = _diagonal(inside)
    diagonal = jax.grad(lambda x: jnp.sum(rows.soft_nll(x, t, -1)))(basis.values)
    return _back(basis, _with_diagonal(-inside, diagonal))


def _gibbs_surplus_jvp(primals, tangents):
    (h, rho), (dh, drho) = primals, tangents
    dsurplus = jnp.zeros_like(rho)
    if not isinstance(dh, SymbolicZero):
        dsurplus += _times(trace(rho), gibbs_tangent(h, dh))
    if not isinstance(drho, SymbolicZero):
        drho = hermitian(drho)
        dsurplus += _times(trace(drho), gibbs(h)) - drho
    return gibbs_surplus(h, rho), dsurplus


gibbs_surplus.defjvp(_gibbs_surplus_jvp, symbolic_zeros=True)


@jax.custom_jvp
def gibbs(h: Array) -> Array:
    """σ = e^H / Tr e^H."""
    basis = _gibbs_spectrum(h)
    p = rows.softmax(basis.values, -1).p
    return _back(basis, _with_diagonal(jnp.zeros_like(h), p))


@gibbs.defjvp
def _(primals, tangents):
    (h,), (dh,) = primals, tangents
    return gibbs(h), gibbs_tangent(h, dh)


def gibbs_tangent(h: Array, dh: Array) -> Array:
    """dσ, linear in dH. (By H it differs only as the eigenvectors do.)"""
    # Beside the diagonal, p_i - p_j over λ_i - λ_j is the larger p times
    # (1 - e^-d) / d for their distance d; on it the derivative of the softmax.
    basis = _gibbs_spectrum(h)
    p = rows.softmax(basis.values, -1).p
    inside = _into(basis, dh)
    distance = jnp.abs(basis.values[..., :, None] - basis.values[..., None, :])
    near = distance == 0
    ratio = -jnp.expm1(-distance) / jnp.where(near, 1, distance)
    larger = jnp.maximum(p[..., :, None], p[..., None, :])
    slopes = jnp.where(near, 1, ratio) * larger
    _, dp = jax.jvp(
        lambda x: rows.softmax(x, -1).p, (basis.values,), (_diagonal(inside),)
    )
    return _back(basis, _with_diagonal(slopes.astype(h.dtype) * inside, dp))


@jax.custom_jvp
def gibbs_energy(h: Array) -> Array:
    """-log σ = log Tr e^H - H."""
    values = _gibbs_spectrum(h).values
    partition = jnp.squeeze(rows.log_sum_exp(values, -1), -1) + _mean(h)
    return _multiple(partition, h) - hermitian(h)


@gibbs_energy.defjvp
def _(primals, tangents):
    (h,), (dh,) = primals, tangents
    dh = hermitian(dh)
    return gibbs_energy(h), _multiple(inner(gibbs(h), dh), h) - dh


def _rounding(rho: Array) -> Array:
    """Of the diagonal of a matrix in another basis."""
    size = jnp.sqrt(inner(rho, rho))
    return (8 * rho.shape[-1] * jnp.finfo(size.dtype).eps * size)[..., None]


# ------------------------------------------------------------------ density matrices


def _density_spectrum(a: Array) -> Spectrum:
    """The spectrum of a matrix without negative eigenvalues.

    What rounding makes of the eigenvalue 0, of either sign, is 0 again. Eigenvalues
    further below are none of such a matrix: NaN.
    """
    values, vectors = spectrum(a)
    largest = jnp.max(jnp.abs(values), axis=-1, keepdims=True, initial=0)
    rounding = 4 * a.shape[-1] * jnp.finfo(values.dtype).eps * largest
    values = jnp.where(jnp.abs(values) <= rounding, 0, values)
    return Spectrum(jnp.where(values < 0, jnp.nan, values), vectors)


def _log_slopes(a: Array, b: Array) -> Array:
    """(log a - log b) / (a - b), 1 / a where they are equal."""
    # atanh(x) / x · 2 / (a + b) for x = (a - b) / (a + b).
    total, equal = a + b, a == b
    x = (a - b) / jnp.where(total == 0, 1, total)
    ratio = jnp.where(equal, 1, jnp.arctanh(x) / jnp.where(equal, 1, x))
    return ratio * 2 / total


# Gauss-Legendre nodes on [0, 1] for the triangle below.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def _log_bends(a: Array, b: Array, c: Array) -> Array:
    """The second divided difference of the logarithm, about -1 / 2a²."""
    # The difference of two slopes over the largest distance; where that is small, the
    # integral of log'' over the triangle with these corners (Hermite and Genocchi).
    high = jnp.maximum(jnp.maximum(a, b), c)
    low = jnp.minimum(jnp.minimum(a, b), c)
    middle = jnp.maximum(jnp.minimum(a, b), jnp.minimum(jnp.maximum(a, b), c))
    near = high - low < 0.5 * high
    gap = jnp.where(near, 1, high - low)
    far = (_log_slopes(high, middle) - _log_slopes(middle, low)) / gap
    integral = jnp.zeros_like(high)
    for u, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        for v, share in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
            point = high - u * (high - middle) - u * v * (middle - low)
            integral -= weight * share * u / jnp.square(jnp.where(near, point, 1))
    return jnp.where(near, integral, far)


@jax.custom_jvp
def log(a: Array) -> Array:
    """The logarithm of a positive matrix."""
    basis = _density_spectrum(a)
    return _back(basis, _with_diagonal(jnp.zeros_like(a), jnp.log(basis.values)))


@log.defjvp
def _(primals, tangents):
    (a,), (da,) = primals, tangents
    return log(a), _log_tangent(a, da)


def _log_tangent(a: Array, da: Array) -> Array:
    basis = _density_spectrum(a)
    s = basis.values
    slopes = _log_slopes(s[..., :, None], s[..., None, :])
    return _back(basis, slopes.astype(a.dtype) * _into(basis, da))


@jax.custom_jvp
def log_tangent(a: Array, e: Array) -> Array:
    """The derivative of the logarithm at a, towards e."""
    basis = _density_spectrum(a)
    s, inside = basis.values, _into(basis, e)
    slopes = _log_slopes(s[..., :, None], s[..., None, :])
    # Where there is nothing, an infinite slope of it is nothing.
    nothing = jnp.isinf(slopes) & (jnp.abs(inside) <= _rounding(e)[..., None])
    return _back(basis, jnp.where(nothing, 0, slopes).astype(a.dtype) * inside)


def _log_tangent_jvp(primals, tangents):
    # The second derivative, Σ_k f_ikj (A_ik E_kj + E_ik A_kj) in the eigenbasis, with
    # the second divided differences f.
    (a, e), (da, de) = primals, tangents
    dtangent = jnp.zeros_like(a)
    if not isinstance(da, SymbolicZero):
        basis = _density_spectrum(a)
        s = basis.values
        bends = _log_bends(
            s[..., :, None, None], s[..., None, :, None], s[..., None, None, :]
        )
        x, y = _into(basis, da), _into(basis, e)
        pairs = x[..., :, :, None] * y[..., None, :, :]
        pairs += y[..., :, :, None] * x[..., None, :, :]
        dtangent += _back(basis, jnp.sum(bends.astype(a.dtype) * pairs, axis=-2))
    if not isinstance(de, SymbolicZero):
        dtangent += _log_tangent(a, de)
    return log_tangent(a, e), dtangent


log_tangent.defjvp(_log_tangent_jvp, symbolic_zeros=True)


@jax.custom_jvp
def density_nll(sigma: Array, rho: Array) -> Array:
    """-Tr ρ log σ, with 0 · log 0 = 0."""
    basis = _density_spectrum(sigma)
    t = _diagonal(_into(basis, rho))
    # In the null space of σ, rounding is all that ρ may have.
    nothing = (basis.values == 0) & (jnp.abs(t) <= _rounding(rho))
    terms = jnp.where(nothing, 0, t * -jnp.log(jnp.where(nothing, 1, basis.values)))
    return jnp.sum(terms, axis=-1)


def _density_nll_jvp(primals, tangents):
    # The derivative of log at σ is symmetric: <ρ, dlog(dσ)> = <dlog(ρ), dσ>.
    (sigma, rho), (dsigma, drho) = primals, tangents
    dloss = jnp.zeros(sigma.shape[:-2], jnp.real(sigma).dtype)
    if not isinstance(dsigma, SymbolicZero):
        dloss -= inner(log_tangent(sigma, rho), hermitian(dsigma))
    if not isinstance(drho, SymbolicZero):
        dloss -= inner(log(sigma) + unknown(rho), hermitian(drho))
    return density_nll(sigma, rho), dloss


density_nll.defjvp(_density_nll_jvp, symbolic_zeros=True)


@jax.custom_jvp
def relative_entropy(sigma: Array, rho: Array) -> Array:
    """Tr ρ (log ρ - log σ)."""
    # With the overlaps O_ij = |<u_i, v_j>|² of the eigenvectors of ρ and σ, whose rows
    # and columns add up to 1, Σ O_ij (r_i log(r_i / s_j) - r_i + s_j), no term of which
    # is negative, and the difference of the traces.
    model, target = _density_spectrum(sigma), _density_spectrum(rho)
    overlap = _product(dagger(target.vectors), model.vectors)
    overlap = jnp.square(jnp.abs(overlap))
    r, s = jnp.broadcast_arrays(target.values[..., :, None], model.values[..., None, :])
    none, empty = r == 0, s == 0
    ratio = jnp.log(jnp.where(empty, 1, s) / jnp.where(none, 1, r))
    close = jnp.abs(s - r) < 0.5 * r
    near = jnp.log1p(jnp.where(close, (s - r) / jnp.where(none, 1, r), 0))
    ratio = jnp.where(empty, -jnp.inf, jnp.where(close, near, ratio))
    terms = jnp.where(none, s, bregman(r, ratio, s))
    rounding = (8 * rho.shape[-1] * jnp.finfo(overlap.dtype).eps) ** 2
    terms = jnp.where(overlap <= rounding, 0, overlap * terms)
    # States have the same trace: what is within rounding of that is not counted.
    defect = jnp.sum(_diagonal(rho) - _diagonal(sigma), axis=-1)
    rounding = 4 * rho.shape[-1] * jnp.finfo(defect.dtype).eps
    defect = jnp.where(jnp.abs(defect) <= rounding * trace(rho), 0, defect)
    return jnp.sum(terms, axis=(-2, -1)) + defect


def _relative_entropy_jvp(primals, tangents):
    # -dlog_σ(ρ), and log ρ - log σ + 1.
    (sigma, rho), (dsigma, drho) = primals, tangents
    dloss = jnp.zeros(sigma.shape[:-2], jnp.real(sigma).dtype)
    if not isinstance(dsigma, SymbolicZero):
        dloss -= inner(log_tangent(sigma, rho), hermitian(dsigma))
    if not isinstance(drho, SymbolicZero):
        drho = hermitian(drho)
        dloss += inner(log(rho) - log(sigma), drho) + trace(drho)
    return relative_entropy(sigma, rho), dloss


relative_entropy.defjvp(_relative_entropy_jvp, symbolic_zeros=True)

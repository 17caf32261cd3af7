"""Cross entropies of quantum states: Hermitian matrices in the place of rows."""

import jax.numpy as jnp

from jaxloss._core.hermitian import density_nll, gibbs_nll, relative_entropy
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check


@public
def quantum_cross_entropy(
    logits: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Quantum cross entropy of a state and a model given by its logits.

    .. math::
        \ell = -\operatorname{Tr} \rho \log \sigma = \operatorname{Tr}\rho\, \log
        \operatorname{Tr} e^{H} - \operatorname{Tr} \rho H,
        \qquad \sigma = \frac{e^{H}}{\operatorname{Tr} e^{H}}

    Args:
      logits: :math:`H`, real symmetric or complex Hermitian, floating or complex, shape
        `[..., d, d]`; of a matrix that is not Hermitian the Hermitian part.
      targets: the state :math:`\rho`: Hermitian, non-negative, with the trace 1,
        floating or complex, the shape of `logits`.
      where: mask of the losses' shape, the pairs of matrices kept. Axes may be 1.
      weights: weight of each pair, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for inputs in double
      precision), real, shape `[...]`, or a scalar when reduced.

    Numerics:
      The softmax cross entropy of the eigenvalues, in whose basis the diagonal of
      :math:`\rho` stands; for diagonal matrices it is `softmax_cross_entropy` to the
      last place. Absolute errors are of the size of a rounding of the spread of the
      eigenvalues, whatever they have in common. No matrix exponential or logarithm is
      formed.

    Gradient:
      :math:`\partial \ell / \partial H = \operatorname{Tr}\rho\; \sigma - \rho`, the
      matrix form of :math:`p - y`, and :math:`\partial \ell / \partial \rho = -\log
      \sigma`, also where eigenvalues are equal; so is the second derivative, by the
      divided differences of Daleckii and Krein. Third derivatives exist at different
      eigenvalues only. As everywhere in JAX, the gradient by a complex matrix is the
      conjugate of the matrix given here.

    Raises:
      TypeError: `logits` or `targets` neither floating nor complex, a traced static
        option.
      ValueError: matrices that are not square, shapes that differ, an unknown reduction
        or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[1.0, 0.5], [0.5, -1.0]])
      >>> state = jnp.array([[0.8, 0.1], [0.1, 0.2]])
      >>> print(f"{jaxloss.quantum_cross_entropy(logits, state, base=2):.4f}")
      0.7496

    References:
      Shangnan, *Quantum Cross Entropy and Maximum Likelihood Principle*,
      arXiv:2102.11887; Daleckii, Krein, *Integration and differentiation of functions
      of Hermitian operators*, 1965.

    Elsewhere: none of the usual libraries has it; `optax.softmax_cross_entropy` for
    diagonal matrices.
    """
    check = Check("quantum_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, rho, keep = _matrices(check, where, 0, logits=logits, targets=targets)
    loss = in_base(gibbs_nll(x, rho), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def density_matrix_cross_entropy(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Quantum cross entropy of a state and a model, both density matrices.

    .. math::
        \ell = -\operatorname{Tr} \rho \log \sigma

    Args:
      predictions: the model :math:`\sigma`: Hermitian, non-negative, with the trace 1,
        real symmetric or complex Hermitian, floating or complex, shape `[..., d, d]`.
      targets: the state :math:`\rho`: Hermitian, non-negative, with the trace 1,
        floating or complex, the shape of `predictions`.
      where: mask of the losses' shape, the pairs of matrices kept. Axes may be 1.
      weights: weight of each pair, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for inputs in double
      precision), real, shape `[...]`, or a scalar when reduced.

    Numerics:
      :math:`0 \log 0 = 0`: where :math:`\sigma` has no mass and :math:`\rho` none
      either, nothing is lost; where :math:`\rho` has some the loss is inf. An
      eigenvalue within rounding of 0 is 0; one below is NaN. There is no epsilon in the
      logarithm. A model that is trained is better given by its logits
      (`quantum_cross_entropy`).

    Gradient:
      :math:`\partial \ell / \partial \sigma = -U (F \circ U^\dagger \rho\, U)\,
      U^\dagger` with :math:`F_{ij} = (\log s_i - \log s_j) / (s_i - s_j)`, :math:`U`
      and :math:`s` the eigenvectors and eigenvalues of :math:`\sigma`; :math:`\partial
      \ell / \partial \rho = -\log \sigma`. Also where eigenvalues are equal, and so is
      the second derivative. As everywhere in JAX, the gradient by a complex matrix is
      the conjugate of the matrix given here.

    Raises:
      TypeError: `predictions` or `targets` neither floating nor complex, a traced
        static option.
      ValueError: matrices that are not square, shapes that differ, an unknown reduction
        or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> model = jnp.array([[0.5, 0.0], [0.0, 0.5]])
      >>> state = jnp.array([[0.8, 0.1], [0.1, 0.2]])
      >>> print(f"{jaxloss.density_matrix_cross_entropy(model, state, base=2):.4f}")
      1.0000

    References:
      Shangnan, *Quantum Cross Entropy and Maximum Likelihood Principle*,
      arXiv:2102.11887.

    Elsewhere: none of the usual libraries has it.
    """
    check = Check("density_matrix_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, rho, keep = _matrices(check, where, 1, predictions=predictions, targets=targets)
    loss = in_base(density_nll(x, rho), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def quantum_relative_entropy(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Quantum relative entropy of a state to a model (Umegaki).

    .. math::
        \ell = \operatorname{Tr} \rho\, (\log \rho - \log \sigma)

    Args:
      predictions: the model :math:`\sigma`: Hermitian, non-negative, with the trace 1,
        real symmetric or complex Hermitian, floating or complex, shape `[..., d, d]`.
      targets: the state :math:`\rho`: Hermitian, non-negative, with the trace 1,
        floating or complex, the shape of `predictions`.
      where: mask of the losses' shape, the pairs of matrices kept. Axes may be 1.
      weights: weight of each pair, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for inputs in double
      precision), real, shape `[...]`, or a scalar when reduced.

    Numerics:
      A sum of non-negative terms over the overlaps of the eigenvectors: never negative
      for states, and accurate for states close to each other, where the two entropies
      cancel. A difference of the traces within rounding is not counted. :math:`0 \log 0
      = 0`; inf where :math:`\rho` has mass and :math:`\sigma` none. Eigenvalues within
      rounding of 0 are 0, those below are NaN.

    Gradient:
      :math:`\partial \ell / \partial \sigma` as for `density_matrix_cross_entropy`,
      :math:`\partial \ell / \partial \rho = \log \rho - \log \sigma + 1`. Also where
      eigenvalues are equal, and so are the second derivatives. As everywhere in JAX,
      the gradient by a complex matrix is the conjugate of the matrix given here.

    Raises:
      TypeError: `predictions` or `targets` neither floating nor complex, a traced
        static option.
      ValueError: matrices that are not square, shapes that differ, an unknown reduction
        or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> model = jnp.array([[0.5, 0.0], [0.0, 0.5]])
      >>> state = jnp.array([[0.8, 0.1], [0.1, 0.2]])
      >>> print(f"{jaxloss.quantum_relative_entropy(model, state):.4f}")
      0.2161

    References:
      Umegaki, *Conditional expectation in an operator algebra IV*, Kodai Math. Sem.
      Rep. 14, 1962.

    Elsewhere: none of the usual libraries has it; `jaxloss.kl_divergence` for diagonal
    matrices.
    """
    check = Check("quantum_relative_entropy")
    check.reduction(reduction)
    check.base(base)
    x, rho, keep = _matrices(check, where, 1, predictions=predictions, targets=targets)
    loss = in_base(relative_entropy(x, rho), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _matrices(
    check: Check, where: Input | None, masked: float, /, **arguments: Input
) -> tuple[Array, Array, Array | None]:
    """Two arrays of square matrices in the dtype of computation; the pairs kept.

    Pairs not kept are multiples of the identity, by `masked` the first and 0 the other.
    """
    arrays = {name: check.hermitian(name, value) for name, value in arguments.items()}
    check.same_shape(**arrays)
    first, second = arrays.values()
    keep, _ = check.where(where, loss=first.shape[:-2])
    wide = any(
        array.dtype in (jnp.float64, jnp.complex128) for array in arrays.values()
    )
    if any(jnp.iscomplexobj(array) for array in arrays.values()):
        dtype = jnp.complex128 if wide else jnp.complex64
    else:
        dtype = jnp.float64 if wide else jnp.float32
    first, second = first.astype(dtype), second.astype(dtype)
    if keep is not None:
        eye = jnp.broadcast_to(jnp.eye(first.shape[-1], dtype=dtype), first.shape)
        kept = keep[..., None, None]
        first = jnp.where(kept, first, masked * eye)
        second = jnp.where(kept, second, 0)
    return first, second, keep

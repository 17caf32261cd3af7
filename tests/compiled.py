"""What is compiled for a row of the table, once for all laws that ask for it.

Compiling is what the tests spend their time on, so that laws share what they can: a
law that needs another function compiles it under `jax.jit` itself. The tests of a row
stand together (`conftest.py`), and what was compiled for it is dropped after the last.
"""

import functools
import inspect
from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.case import Case, Scale
from tests.cases import CASES

Arrays = tuple[np.ndarray, ...]


def draw(case: Case, scale: Scale, dtype) -> Arrays:
    """Inputs of a case, rounded to a dtype, the same in every run."""
    seed = sum(map(ord, f"{case.id}{scale}"))
    arrays = case.inputs(np.random.default_rng(seed), scale)

    def rounded(array: np.ndarray) -> np.ndarray:
        if not np.issubdtype(array.dtype, np.floating):
            return array
        largest = np.max(np.abs(array), initial=0, where=np.isfinite(array))
        if largest > jnp.finfo(dtype).max:  # float16 ends at 65504
            array = array * (2.0**15 / largest)
        return array.astype(dtype)

    return tuple(map(rounded, map(np.asarray, arrays)))


_by_id = {case.id: case for case in CASES}


@functools.cache
def _options_of(case_id: str) -> frozenset[str]:
    return frozenset(inspect.signature(_by_id[case_id].loss).parameters)


def options_of(case: Case) -> frozenset[str]:
    """The names of a loss's arguments."""
    return _options_of(case.id)


def with_options(case: Case, **options):
    """The loss with the options of the case, and others in their place."""
    return functools.partial(case.loss, **{**case.options, **options})


def loss_of(case: Case):
    """The loss of a batch of examples, one or more numbers each."""
    loss = with_options(case)
    return jax.vmap(loss) if case.vmapped else loss


def along(loss, case: Case, arrays):
    """The loss as a function of the argument under test."""
    at = case.argument
    return lambda x: loss(*arrays[:at], x, *arrays[at + 1 :])


def value_and_gradient(loss, case: Case, arrays):
    """Losses, and the gradient of their sum by the argument under test."""

    def total(x):
        value = along(loss, case, arrays)(x)
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(arrays[case.argument])
    return value, gradient


def derivatives(loss, case: Case, arrays, direction):
    """Losses, the gradient of their sum, and their tangents along a direction."""
    x = arrays[case.argument]
    value, tangent = jax.jvp(along(loss, case, arrays), (x,), (direction,))
    _, gradient = value_and_gradient(loss, case, arrays)
    return value, gradient, tangent


def hessian_diagonal(loss, case: Case, arrays):
    """The diagonal of the Hessian of every example, forward over reverse."""
    x, of = arrays[case.argument], along(loss, case, arrays)

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(of(x)))(x)

    def entry(direction):
        row = jnp.broadcast_to(direction.reshape(x.shape[1:]), x.shape)
        column = jax.jvp(gradient, (x,), (row,))[1]
        # Not a product: an entry beyond the largest number must not reach the others.
        chosen = jnp.where(row != 0, column, 0)
        return jnp.sum(chosen.reshape(len(x), -1), axis=1)

    columns = jax.lax.map(entry, jnp.eye(x[0].size, dtype=x.dtype))
    return columns.T.reshape(x.shape)


def signs(x: np.ndarray) -> np.ndarray:
    """A direction of ones and minus ones, the same in every run."""
    rng = np.random.default_rng(0)
    return rng.choice([-1.0, 1.0], size=x.shape).astype(x.dtype)


class Plain(NamedTuple):
    """Of the loss with the options of its case, and no others."""

    value: Any
    gradient: Any
    """Of the sum of the losses, by the argument under test."""
    tangent: Any
    sum: Any = None
    """As the loss reduces; None if it does not, or takes one example."""
    mean: Any = None


class Masked(NamedTuple):
    """Of the loss with a mask; where the loss reduces, with weights too."""

    value: Any
    gradient: Any
    tangent: Any
    weighted: Any = None
    sum: Any = None
    mean: Any = None
    sum_by_weight: Any = None
    mean_gradient: Any = None
    mean_unweighted: Any = None


class Compiled:
    """Compiles for one case, when it is first asked for; gives NumPy arrays."""

    def __init__(self, case: Case):
        self.case = case
        self.arrays = draw(case, case.ordinary, np.float32)
        """Ordinary float32 inputs."""
        takes = options_of(case)
        self.weighs = "weights" in takes
        self.reduces = "reduction" in takes and not case.vmapped
        self.traces: Counter[tuple] = Counter()
        """How often `plain` was traced, by the shapes and dtypes of its inputs."""

    @functools.cached_property
    def _plain(self):
        case = self.case

        def run(arrays, direction) -> Plain:
            self.traces[signature(arrays)] += 1
            found = derivatives(loss_of(case), case, arrays, direction)
            if not self.reduces:
                return Plain(*found)
            total, mean = (
                with_options(case, reduction=reduction)(*arrays)
                for reduction in ("sum", "mean")
            )
            return Plain(*found, total, mean)

        return jax.jit(run)

    def plain(self, arrays: Arrays, direction: np.ndarray | None = None) -> Plain:
        """Value, gradient, tangent and reductions."""
        if direction is None:
            direction = np.ones_like(arrays[self.case.argument])
        return _numpy(self._plain(arrays, direction))

    @functools.cached_property
    def ordinary(self) -> Plain:
        """What `plain` gives at the ordinary inputs."""
        return self.plain(self.arrays)

    @functools.cached_property
    def _masked(self):
        case = self.case

        def run(arrays, where, weights) -> Masked:
            loss, x = with_options(case, where=where), arrays[case.argument]
            value, gradient = value_and_gradient(loss, case, arrays)
            of = along(loss, case, arrays)
            _, tangent = jax.jvp(of, (x,), (jnp.ones_like(x),))
            if not self.reduces:
                return Masked(value, gradient, tangent)

            def reduced(reduction, weights):
                weighed = {"weights": weights} if self.weighs else {}
                return functools.partial(loss, reduction=reduction, **weighed)

            total, by_weight = jax.value_and_grad(
                lambda weights: reduced("sum", weights)(*arrays)
            )(weights)
            mean, mean_gradient = value_and_gradient(
                reduced("mean", weights), case, arrays
            )
            weighted = reduced("none", weights)(*arrays)
            unweighted = functools.partial(loss, reduction="mean")(*arrays)
            return Masked(
                *(value, gradient, tangent, weighted),
                *(total, mean, by_weight, mean_gradient, unweighted),
            )

        return jax.jit(run)

    def masked(self, arrays: Arrays, where, weights=None) -> Masked:
        """The same under a mask, and reduced under a mask and weights."""
        if weights is None:
            weights = np.ones_like(self.ordinary.value)
        return _numpy(self._masked(arrays, where, weights))

    @functools.cached_property
    def _hessian(self):
        case = self.case

        def run(arrays):
            return hessian_diagonal(loss_of(case), case, arrays)

        return jax.jit(run)

    def hessian(self, arrays: Arrays) -> np.ndarray:
        """The diagonal of the Hessian of every example, forward over reverse."""
        return _numpy(self._hessian(arrays))


def _numpy(tree):
    return jax.tree.map(np.asarray, tree)


def signature(arrays) -> tuple:
    """The shapes and dtypes for which a function is traced."""
    return tuple((a.shape, str(a.dtype)) for a in arrays)


@functools.lru_cache(maxsize=1)
def _compiled(case_id: str) -> Compiled:
    return Compiled(_by_id[case_id])


def compiled(case: Case) -> Compiled:
    """What is compiled for a case: kept until another case is asked for."""
    return _compiled(case.id)

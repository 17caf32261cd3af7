"""How each other package is given a row's numbers, and asked for its derivatives."""

import functools
import importlib
import operator
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
import jaxloss.metrics
from tests.parity.row import Row, cotangent


class Evaluation(NamedTuple):
    value: Any
    gradients: Any


def by_jax(call: Callable, function: Callable, row: Row, dtype) -> Evaluation:
    inputs, fixed = row.arrays(dtype)

    @jax.jit
    def both(inputs, fixed):
        value, pullback = jax.vjp(lambda *x: call(function, *x, *fixed), *inputs)
        return value, pullback(jnp.asarray(cotangent(value.shape), value.dtype))

    value, gradients = both(tuple(map(jnp.asarray, inputs)), [*map(jnp.asarray, fixed)])
    return Evaluation(value, gradients)


def ours(row: Row, dtype) -> Evaluation:
    done = by_jax(row.call, operator.attrgetter(row.ours)(jaxloss), row, dtype)
    assert done.value.dtype == dtype, done.value.dtype
    return done


def by_torch(function: Callable, row: Row, dtype) -> Evaluation:
    import torch

    inputs, fixed = row.arrays(dtype)
    inputs = [torch.tensor(x, requires_grad=True) for x in inputs]
    value = row.their_call(function, *inputs, *map(torch.tensor, fixed))
    weights = torch.tensor(cotangent(value.shape), dtype=value.dtype)
    (value * weights).sum().backward()
    return Evaluation(value.detach().numpy(), [x.grad.numpy() for x in inputs])


def by_keras(loss: Callable, row: Row, dtype) -> Evaluation:
    loss = functools.partial(loss, reduction=None, dtype=np.dtype(dtype).name)
    return by_jax(row.their_call, loss, row, dtype)


def by_jax_too(function: Callable, row: Row, dtype) -> Evaluation:
    return by_jax(row.their_call, function, row, dtype)


def by_numpy(function: Callable, row: Row, dtype) -> Evaluation:
    """In float64, on the inputs as the dtype has them; there are no derivatives."""
    inputs, fixed = row.arrays(dtype)
    wide = [x.astype(float) if x.dtype == dtype else x for x in (*inputs, *fixed)]
    return Evaluation(row.their_call(function, *wide), None)


class Peer(NamedTuple):
    """
    Args:
      heading: of its migration table.
      modules: where the names of the table are looked up; by their own name, if they
        are to be in front.
      evaluate: `evaluate(function, row, dtype)`.
    """

    heading: str
    modules: tuple[str, ...]
    evaluate: Callable[[Callable, Row, Any], Evaluation]
    named: bool = False


PEERS = {
    "torch": Peer(
        "torch.nn.functional and torch.nn",
        ("torch.nn", "torch.nn.functional"),
        by_torch,
    ),
    "torchvision": Peer(
        "torch.nn.functional and torch.nn", ("torchvision",), by_torch, named=True
    ),
    "keras": Peer("keras.losses", ("keras.losses",), by_keras),
    "rax": Peer("rax", ("rax",), by_jax_too),
    "jaxopt": Peer("jaxopt", ("jaxopt",), by_jax_too),
    "sklearn": Peer("scikit-learn", ("sklearn.metrics",), by_numpy),
    "scipy": Peer(
        "scipy",
        ("scipy.special", "scipy.stats", "scipy.spatial"),
        by_numpy,
        named=True,
    ),
}


def imported(package: str) -> dict[str, Any]:
    """The names of a package, or a test that says aloud that it did not run."""
    peer, names = PEERS[package], {}
    with warnings.catch_warnings():
        # What they say while they are imported (jaxopt: that it has ended).
        warnings.simplefilter("ignore")
        try:
            for name in peer.modules:
                module = importlib.import_module(name)
                last = name.rpartition(".")[2]
                names |= {last: module} if peer.named else vars(module)
        except (ImportError, RuntimeError) as error:
            pytest.skip(
                f"NOT RUN: {package} cannot be imported ({error}); `make parity` "
                "installs all but torchvision, whose wheels are for torch with CUDA"
            )
    return names


def theirs(package: str, row: Row, dtype) -> Evaluation:
    # A name of the migration table is an expression: `loss.huber_loss`.
    function = eval(row.expression or row.theirs, imported(package))
    return PEERS[package].evaluate(function, row, dtype)

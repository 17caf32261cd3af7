"""A public function is one program: compiled when called, a part when traced."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss._core.compiled import compiled
from jaxloss._core.explained import collecting
from tests.cases import CASES
from tests.compiled import draw, with_options

F32 = np.float32

# What is called operation by operation, and why.
LOOK_AT_VALUES = {"binary_dice_loss", "dice_loss", "multiclass_generalized_dice_loss"}
CLOSE_OVER_ARRAYS = {"make_fenchel_young_loss", "linear_loss"}
ASK_WHAT_IS_MAPPED = {
    "clip_loss",
    "info_nce_loss",
    "linear_distillation_loss",
    "linear_log_probs",
    "linear_softmax_cross_entropy",
    "siglip_loss",
}
WARN_EACH_TIME = {"convex_kl_divergence"}
AS_IT_IS = LOOK_AT_VALUES | CLOSE_OVER_ARRAYS | ASK_WHAT_IS_MAPPED | WARN_EACH_TIME
FIRST = {case.name: case for case in reversed(CASES)}


@pytest.mark.parametrize("name", sorted(set(FIRST) - AS_IT_IS))
def test_is_one_program_that_has_its_name(name: str):
    case = FIRST[name]
    arrays = draw(case, case.ordinary, F32)
    arrays = tuple(a[0] for a in arrays) if case.vmapped else arrays
    steps = jax.make_jaxpr(with_options(case))(*arrays).eqns
    # A case with a call of its own does something with arguments or result.
    assert case.call or len(steps) == 1
    assert name in [step.params.get("name") for step in steps]


@pytest.mark.parametrize("name", sorted(LOOK_AT_VALUES))
def test_looks_at_values_that_are_known(name: str):
    probs = jnp.full((2, 4, 4, 3), 2.0)
    off = {"binary_dice_loss": "apply_sigmoid"}.get(name, "apply_softmax")
    with pytest.raises(ValueError, match="valid probability distributions"):
        getattr(jaxloss, name)(probs, jnp.zeros_like(probs), **{off: False})


# ------------------------------------------------------------------ when it is traced


class Counted:
    """A function, compiled, and what it was traced with."""

    def __init__(self):
        self.traced = []

        def loss(x, y=None, *, option=0.0, tree=()):
            self.traced.append((y, option, tree))
            return jnp.sum(x)

        self.loss = compiled(loss)

    def __call__(self, *args, **options) -> int:
        """How often it was traced after this call."""
        self.loss(*args, **options)
        return len(self.traced)


X = np.ones(3, F32)


def test_new_numbers_in_arrays_are_no_new_program():
    call = Counted()
    assert call(X) == call(2 * X) == call(jnp.asarray(X)) == 1
    assert call(X, option=F32(1)) == call(X, option=F32(2)) == 2
    assert call(X, option=X) == call(X, option=2 * X) == 3


def test_new_values_shapes_and_dtypes_are():
    call = Counted()
    calls = (
        lambda: call(X),
        lambda: call(X[:2]),
        lambda: call(X.astype(np.float16)),
        lambda: call(X, option=2.0),
        lambda: call(X, option=float("nan")),
        lambda: call(X, option=1),
        lambda: call(X, option=1.0),
        lambda: call(X, option=True),
        lambda: call(X, option=np.True_),
        lambda: call(X, option=-0.0),
        lambda: call(X, tree=(1, 2)),
        lambda: call(X, tree=[1, 2]),
        lambda: call(X, tree=(X, 2)),
        lambda: call(X, tree=(2, X)),
        lambda: call(X, y=X),
    )
    assert [each() for each in calls] == [*range(1, len(calls) + 1)]
    assert {each() for each in calls} == {len(calls)}


def test_what_is_neither_array_nor_plain_is_passed_on():
    call = Counted()
    function = object()
    assert call(X, tree=(function,)) == 1
    assert call(X, tree=(function,)) == 2
    assert call.traced[0][2][0] is function


def test_without_arrays_nothing_is_compiled():
    seen = []
    function = compiled(lambda nats: seen.append(nats) or nats)
    assert function(1.5) == 1.5
    assert seen == [1.5]


def test_all_is_told_while_someone_listens():
    call = Counted()
    with collecting():
        assert call(X) == 1
        assert call(X) == 2


def test_explain_is_told_again_and_again():
    shapes = jax.ShapeDtypeStruct((4, 5), F32), jax.ShapeDtypeStruct((4,), np.int32)
    loss = jaxloss.softmax_cross_entropy_with_integer_labels
    loss(jnp.zeros((4, 5), F32), jnp.zeros(4, np.int32))
    for _ in range(2):
        assert len(jaxloss.explain(lambda *a: jnp.sum(loss(*a)), *shapes)) == 1


def test_errors_are_those_of_the_function():
    with pytest.raises(ValueError, match=r"squared_error.*`targets`"):
        jaxloss.squared_error(X, X[:2])
    with pytest.raises(TypeError, match=r"squared_error.*`predictions`"):
        jaxloss.squared_error([1.0, 2.0], X)


def test_signature_name_and_text_are_kept():
    loss = jaxloss.huber_loss
    assert loss.__name__ == "huber_loss"
    assert "Huber" in loss.__doc__
    assert list(inspect.signature(loss).parameters)[:3] == [
        *("predictions", "targets", "delta")
    ]

"""Laws that every public loss keeps, run over the table: grammar, masks, transforms.

What a law needs is read off a loss's signature: a loss with `where` keeps the laws of
masks, and so on. No law is skipped in silence: a loss that lacks an option has no test
for it, and `test_grammar.py` says which loss must have which.
"""

import functools
import inspect
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.case import BATCH, Case
from tests.cases import CASES, law_marks
from tests.test_accuracy import draw, loss_of

# The same mathematics in another order of operations: a few roundings of float32.
ROUNDING = 2e-6


def options_of(case: Case) -> set[str]:
    return set(inspect.signature(case.loss).parameters)


def over(*needed: str, batched: bool = True):
    """The cases whose losses take these options (and a batch of examples)."""
    cases = [
        case
        for case in CASES
        if set(needed) <= options_of(case) and not (batched and case.vmapped)
    ]
    return pytest.mark.parametrize(
        "case",
        [pytest.param(case, id=case.id, marks=law_marks(case)) for case in cases],
    )


def floats(case: Case) -> tuple:
    """Ordinary float32 inputs."""
    scale = "unit" if "unit" in case.scales else case.scales[0]
    return tuple(map(jnp.asarray, draw(case, scale, jnp.float32)))


def with_options(case: Case, **options):
    return functools.partial(case.loss, **{**case.options, **options})


def value_and_gradient(loss, case: Case, arrays):
    """Losses, and the gradient of their sum by the argument under test."""
    at = case.argument

    def total(x):
        value = loss(*arrays[:at], x, *arrays[at + 1 :])
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(arrays[at])
    return value, gradient


@functools.cache
def compiled(case_id: str, *, masked: bool = False):
    """Losses and gradient of a case, compiled once for all laws that need them."""
    case = next(case for case in CASES if case.id == case_id)

    @jax.jit
    def run(arrays, where=None):
        loss = with_options(case, where=where) if masked else loss_of(case)
        return value_and_gradient(loss, case, arrays)

    return run


def close(actual, expected, rtol=ROUNDING):
    """Equal to rounding, relative to the largest entry of the array."""
    expected = np.asarray(expected, np.float64)
    finite = expected[np.isfinite(expected)]
    largest = np.max(np.abs(finite), initial=0.0)
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=rtol * largest + 1e-37
    )


# ------------------------------------------------------------------ transformations


@over(batched=False)
def test_jit_is_eager(case: Case):
    loss, arrays = loss_of(case), floats(case)
    value, gradient = value_and_gradient(loss, case, arrays)
    actual = compiled(case.id)(arrays)
    close(actual[0], value)
    close(actual[1], gradient)


@over()
def test_vmap_is_a_batch(case: Case):
    arrays = floats(case)
    value, gradient = compiled(case.id)(arrays)
    one = functools.partial(value_and_gradient, loss_of(case), case)
    mapped = jax.jit(jax.vmap(lambda *example: one(example)))(*arrays)
    close(mapped[0], value)
    close(mapped[1], gradient)


@over(batched=False)
def test_is_traced_once(case: Case):
    """New values, the same shapes: no second trace."""
    arrays = floats(case)
    function = loss_of(case)
    loss = jax.jit(chex.assert_max_traces(lambda *inputs: function(*inputs), n=1))
    for _ in range(3):
        loss(*arrays)
        arrays = tuple(a + 0 for a in arrays)
    chex.clear_trace_counter()


@over(batched=False)
def test_reverse_over_reverse_is_forward_over_reverse(case: Case):
    arrays, at = floats(case), case.argument
    x = arrays[at]
    direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape), x.dtype)

    def gradient(x):
        inputs = (*arrays[:at], x, *arrays[at + 1 :])
        return value_and_gradient(loss_of(case), case, inputs)[1]

    forward = jax.jit(lambda: jax.jvp(gradient, (x,), (direction,))[1])()
    reverse = jax.jit(lambda: jax.grad(lambda x: jnp.sum(gradient(x) * direction))(x))()
    # Second derivatives take more roundings, as in the Hessian's tolerance.
    close(reverse, forward, rtol=1e-5)


@over(batched=False)
def test_works_without_x64(case: Case):
    arrays = floats(case)
    value, gradient = jax.jit(
        functools.partial(value_and_gradient, loss_of(case), case)
    )(arrays)
    with jax.enable_x64(False):
        narrow = jax.jit(functools.partial(value_and_gradient, loss_of(case), case))(
            tuple(
                a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(jnp.int32)
                for a in arrays
            )
        )
    assert value.dtype == narrow[0].dtype == jnp.float32
    close(narrow[0], value)
    close(narrow[1], gradient)


@over(batched=False)
def test_checkpoint_changes_nothing(case: Case):
    arrays = floats(case)
    again = jax.jit(
        functools.partial(value_and_gradient, jax.checkpoint(loss_of(case)), case)
    )
    for actual, expected in zip(again(arrays), compiled(case.id)(arrays), strict=True):
        close(actual, expected)


@over(batched=False)
def test_numbers_may_be_traced(case: Case):
    """Hyperparameters take traced arrays, and mean the same."""
    parameters = inspect.signature(case.loss).parameters
    settings = {
        name: case.options.get(name, parameter.default)
        for name, parameter in parameters.items()
        if name not in ("base", "axis", "log_epsilon", "blank_id")
    }
    numbers = {
        name: jnp.float32(value)
        for name, value in settings.items()
        if isinstance(value, float)
    }
    if "power" in numbers:
        numbers.pop("power")
    arrays = floats(case)

    @jax.jit
    def traced(numbers):
        loss = with_options(case, **numbers)
        return (jax.vmap(loss) if case.vmapped else loss)(*arrays)

    close(traced(numbers), compiled(case.id)(arrays)[0])


# ------------------------------------------------------------------ values


@over(batched=False)
def test_nan_is_loud(case: Case):
    """A NaN that is not masked reaches the value and the gradient of its example."""
    arrays, at = floats(case), case.argument
    x = arrays[at]
    poisoned = x.at[(0,) * x.ndim].set(jnp.nan)
    inputs = (*arrays[:at], poisoned, *arrays[at + 1 :])
    value, gradient = compiled(case.id)(inputs)
    clean = compiled(case.id)(arrays)
    per_example = np.asarray(value).reshape(len(x), -1)
    assert np.isnan(per_example[0]).any(), per_example
    assert np.isnan(np.asarray(gradient[0])).any(), gradient[0]
    assert not np.isnan(per_example[1:]).any()
    close(value[1:], clean[0][1:])
    close(gradient[1:], clean[1][1:])


@over()
def test_empty_batch(case: Case):
    arrays = tuple(a[:0] for a in floats(case))
    value, gradient = compiled(case.id)(arrays)
    assert value.shape[0] == 0 and value.dtype == jnp.float32
    chex.assert_equal_shape([gradient, arrays[case.argument]])


@over("reduction")
def test_empty_batch_reduces_to_zero(case: Case):
    arrays = tuple(a[:0] for a in floats(case))
    for reduction in ("sum", "mean"):
        assert with_options(case, reduction=reduction)(*arrays) == 0


@over("base")
def test_base_is_a_unit(case: Case):
    arrays = floats(case)
    nats, _ = compiled(case.id)(arrays)
    for base in (2, 10):
        close(with_options(case, base=base)(*arrays), nats / math.log(base))


with_twin = [case for case in CASES if case.optax is not None]


@pytest.mark.parametrize("case", with_twin, ids=[case.id for case in with_twin])
def test_agrees_with_optax(case: Case):
    """Where optax is accurate, at unit scale, its numbers are ours."""
    arrays = floats(case)
    twin = jax.vmap(case.optax) if case.vmapped else case.optax
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = twin(*arrays)
    actual, _ = compiled(case.id)(arrays)
    np.testing.assert_allclose(
        actual, np.asarray(expected), rtol=case.optax_rtol, atol=case.optax_rtol
    )


# ------------------------------------------------------------------ masks


def garbage(array, keep, value):
    """The array with garbage in the examples that are not kept."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        value = 10**6 if jnp.issubdtype(array.dtype, jnp.integer) else True
    kept = keep.reshape(-1, *[1] * (array.ndim - 1))
    return jnp.where(kept, array, jnp.asarray(value, array.dtype))


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf, 3e38])
@over("where")
def test_masked_examples_are_not_there(case: Case, value: float):
    """Value, gradient and tangent are those of the examples kept."""
    keep = np.arange(BATCH) % 3 != 1
    arrays, at = floats(case), case.argument
    spoiled = tuple(garbage(a, jnp.asarray(keep), value) for a in arrays)
    # Examples are independent (`test_vmap_is_a_batch`): without the others, the kept
    # ones are what they are beside them.
    whole = compiled(case.id)(arrays)
    mask = np.broadcast_to(keep.reshape(-1, *[1] * (whole[0].ndim - 1)), whole[0].shape)
    actual = compiled(case.id, masked=True)(spoiled, mask)
    for got, expected in zip(actual, whole, strict=True):
        got = np.asarray(got)
        close(got[keep], expected[keep])
        assert (got[~keep] == 0).all(), got

    @jax.jit
    def tangent(spoiled, mask):
        def loss(x):
            inputs = (*spoiled[:at], x, *spoiled[at + 1 :])
            return with_options(case, where=mask)(*inputs)

        return jax.jvp(loss, (spoiled[at],), (jnp.ones_like(spoiled[at]),))[1]

    if np.isnan(value):
        along = np.asarray(tangent(spoiled, mask))
        assert np.isfinite(along).all()
        assert (along[~keep] == 0).all()


@over("where")
def test_masks_of_numbers_and_of_size_one(case: Case):
    arrays = floats(case)
    expected, _ = compiled(case.id)(arrays)
    ones = (1,) * expected.ndim
    for mask in (np.ones(ones, np.int32), np.ones(ones, np.float32)):
        close(compiled(case.id, masked=True)(arrays, mask)[0], expected)


@over("where", "reduction")
def test_nothing_kept_is_zero(case: Case):
    """0 and gradient 0, quietly while NaN are hunted, for inputs of any size."""
    for scale in {"unit", "saturated"} & set(case.scales):
        arrays = tuple(map(jnp.asarray, draw(case, scale, jnp.float32)))
        mask = jnp.zeros(compiled(case.id)(arrays)[0].shape, bool)
        with jax.debug_nans(True):
            for reduction in ("none", "sum", "mean"):
                loss = with_options(case, where=mask, reduction=reduction)
                value, gradient = value_and_gradient(loss, case, arrays)
                assert (np.asarray(value) == 0).all()
                assert (np.asarray(gradient) == 0).all()


@over("where", "axis")
def test_removed_entries_are_not_there(case: Case):
    """A mask of the output's rank removes entries, from predictions and targets."""
    arrays = floats(case)
    if case.event[0] != 1:
        return
    size = arrays[0].shape[-1]
    removed = size - 1
    keep = jnp.arange(size) != removed
    entries = jnp.broadcast_to(keep, arrays[0].shape)
    fewer, spoiled = [], []
    for array, event in zip(arrays, case.event, strict=True):
        if event == 1 and jnp.issubdtype(array.dtype, jnp.floating):
            fewer.append(array[..., :removed])
            spoiled.append(jnp.where(entries, array, jnp.nan))
        else:
            # Labels of the classes that stay.
            array = array % removed if event == 0 else array[..., :removed]
            fewer.append(array)
            spoiled.append(array)
    options = dict(case.options)
    if options.get("class_weights") is not None:
        options["class_weights"] = options["class_weights"][:removed]
    if np.ndim(options.get("alpha", 0)) == 1:
        options["alpha"] = options["alpha"][:removed]
    loss = functools.partial(case.loss, **options)
    expected = jax.jit(functools.partial(value_and_gradient, loss, case))(tuple(fewer))
    actual = compiled(case.id, masked=True)(tuple(spoiled), entries)
    close(actual[0], expected[0])
    close(actual[1][..., :removed], expected[1])
    assert (np.asarray(actual[1])[..., removed] == 0).all()


@over("axis")
def test_axis_is_only_a_place(case: Case):
    arrays = floats(case)
    if case.event[0] != 1:
        return
    moved = tuple(
        jnp.moveaxis(a, -1, 0) if event == 1 else a
        for a, event in zip(arrays, case.event, strict=True)
    )
    value, gradient = compiled(case.id)(arrays)
    loss = with_options(case, axis=0)
    actual = jax.jit(functools.partial(value_and_gradient, loss, case))(moved)
    close(actual[0], value)
    close(jnp.moveaxis(actual[1], 0, -1), gradient)


# ------------------------------------------------------------------ reduction


@over("where", "weights", "reduction")
def test_reductions_agree(case: Case):
    """sum = Σwℓ, mean = Σwℓ / Σw over what is kept; weights multiply."""
    arrays = floats(case)
    losses = np.asarray(compiled(case.id)(arrays)[0], np.float64)
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 2, size=losses.shape).astype(np.float32)
    keep = rng.uniform(size=losses.shape) < 0.7
    wide = np.where(keep, weights.astype(np.float64) * losses, 0)
    apply = functools.partial(with_options(case), *arrays)
    close(apply(weights=weights, where=keep), wide)
    close(apply(weights=weights, where=keep, reduction="sum"), wide.sum())
    close(apply(reduction="sum"), losses.sum())
    if "class_weights" not in case.options:
        total = np.where(keep, weights.astype(np.float64), 0).sum()
        close(apply(weights=weights, where=keep, reduction="mean"), wide.sum() / total)
        close(apply(reduction="mean"), losses.mean())


@over("weights", "reduction")
def test_weights_have_derivatives_and_zero_weighs_nothing(case: Case):
    arrays = floats(case)
    losses, _ = compiled(case.id)(arrays)
    weights = jnp.zeros_like(losses)
    by_weight = jax.grad(
        lambda w: with_options(case, reduction="sum")(*arrays, weights=w)
    )(weights)
    close(by_weight, losses)
    value, gradient = value_and_gradient(
        with_options(case, weights=weights, reduction="mean"), case, arrays
    )
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


# ------------------------------------------------------------------ bad input


def message(case: Case, error, *arrays, jit: bool, **options) -> str:
    """The text of the error that these inputs raise."""
    loss = with_options(case, **options)
    with pytest.raises(error) as caught:
        (jax.jit(loss) if jit else loss)(*arrays)
    text = str(caught.value)
    assert f"jaxloss.{case.name}: " in text, text
    return text


def names(case: Case) -> list[str]:
    return list(inspect.signature(case.loss).parameters)


both_ways = pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])


@over()
def test_python_numbers_and_lists_are_refused(case: Case):
    arrays = floats(case)
    for bad in (1.0, [1.0, 2.0]):
        text = message(case, TypeError, bad, *arrays[1:], jit=False)
        assert f"`{names(case)[0]}`" in text and "jnp.asarray" in text
        assert f"Python {type(bad).__name__}" in text


@both_ways
@over()
def test_integer_predictions_are_refused(case: Case, jit: bool):
    arrays = floats(case)
    bad = arrays[0].astype(jnp.int32)
    text = message(case, TypeError, bad, *arrays[1:], jit=jit)
    assert f"`{names(case)[0]}`" in text and "int32" in text and "astype" in text


@both_ways
@over()
def test_shapes_are_exact(case: Case, jit: bool):
    """(B,) against (B, 1) is an error, whatever would broadcast."""
    arrays = floats(case)
    if len(arrays) == 1 or case.own_shapes:
        return
    for bad in (arrays[1][..., None], arrays[1][:1]):
        text = message(case, ValueError, arrays[0], bad, *arrays[2:], jit=jit)
        assert f"`{names(case)[1]}`" in text and str(bad.shape) in text


@both_ways
@over("reduction")
def test_an_unknown_reduction_is_refused(case: Case, jit: bool):
    text = message(case, ValueError, *floats(case), jit=jit, reduction="average")
    assert "`reduction`" in text and "'mean'" in text and "'average'" in text


@both_ways
@over("where")
def test_a_mask_of_another_rank_is_refused(case: Case, jit: bool):
    arrays = floats(case)
    bad = jnp.ones((BATCH,) * 5, bool)
    text = message(case, ValueError, *arrays, jit=jit, where=bad)
    assert "`where`" in text and str(bad.shape) in text and "rank" in text


@both_ways
@over("weights")
def test_weights_of_another_shape_are_refused(case: Case, jit: bool):
    bad = jnp.ones((BATCH + 1, 2, 3))
    text = message(case, ValueError, *floats(case), jit=jit, weights=bad)
    assert "`weights`" in text and str(bad.shape) in text


@over("axis")
def test_a_traced_axis_is_refused(case: Case):
    arrays = floats(case)
    with pytest.raises(TypeError, match="static_argnames='axis'"):
        jax.jit(lambda axis: with_options(case, axis=axis)(*arrays))(0)


@both_ways
@over("axis")
def test_an_axis_out_of_range_is_refused(case: Case, jit: bool):
    text = message(case, ValueError, *floats(case), jit=jit, axis=7)
    assert "`axis`" in text and "7" in text


@both_ways
@over("base")
def test_a_bad_base_is_refused(case: Case, jit: bool):
    text = message(case, ValueError, *floats(case), jit=jit, base=1)
    assert "`base`" in text and "bits" in text

"""Laws that every public loss keeps, run over the table: grammar, masks, transforms.

What a law needs is read off a loss's signature: a loss with `where` keeps the laws of
masks, and so on. No law is skipped in silence: a loss that lacks an option has no test
for it, and `test_grammar.py` says which loss must have which. On which rows and in
which run a law is run, `selection.py` says; `compiled.py` compiles once for all laws.
"""

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import selection
from tests.case import BATCH, Case
from tests.cases import CASES
from tests.compiled import (
    compiled,
    draw,
    loss_of,
    options_of,
    signature,
    value_and_gradient,
    with_options,
)

# The same mathematics in another order of operations: a few roundings of float32.
ROUNDING = 2e-6


def over(*needed: str, of: selection.Of, batched: bool = True, when=None):
    """The cases whose losses take these options (and a batch of examples).

    Args:
      needed: names of arguments.
      of: what makes the law hold (`selection.py`).
      batched: leave out the losses of one example.
      when: a further condition, `case -> bool`.
    """
    return pytest.mark.parametrize(
        "case",
        selection.parameters(
            [
                (case.id, (case,), selection.law_runs(case, of))
                for case in CASES
                if set(needed) <= options_of(case)
                and not (batched and case.vmapped)
                and (when is None or when(case))
            ]
        ),
    )


def jitted(loss, case: Case, arrays):
    """Losses and gradient, compiled for one law."""
    run = jax.jit(functools.partial(value_and_gradient, loss, case))
    return jax.tree.map(np.asarray, run(arrays))


def close(actual, expected, rtol=ROUNDING):
    """Equal to rounding, relative to the largest entry of the array."""
    expected = np.asarray(expected, np.float64)
    finite = expected[np.isfinite(expected)]
    largest = np.max(np.abs(finite), initial=0.0)
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=rtol * largest + 1e-37
    )


# ------------------------------------------------------------------ transformations


@over(of="machinery", batched=False)
def test_jit_is_eager(case: Case):
    """Operation by operation, on JAX arrays, the loss is what it is compiled."""
    arrays = tuple(map(jnp.asarray, compiled(case).arrays))
    value, gradient = value_and_gradient(loss_of(case), case, arrays)
    expected = compiled(case).ordinary
    close(value, expected.value)
    close(gradient, expected.gradient)


def one_of_a_batch(case: Case):
    """The loss of one example, with the options of the batch's."""
    if case.vmapped:
        return with_options(case)
    rank = compiled(case).ordinary.value.ndim
    # An option for each of the losses is one for each of an example's.
    options = {
        name: option[0] if np.ndim(option) == rank and len(option) == 1 else option
        for name, option in case.options.items()
    }
    return functools.partial(case.loss, **options)


@over(of="loss", batched=False)
def test_numpy_arrays_are_taken(case: Case):
    """Arrays whose values are known while a caller's function is traced."""
    arrays, expected = compiled(case).arrays, compiled(case).ordinary.value
    mapped = jax.eval_shape(lambda: jax.vmap(one_of_a_batch(case))(*arrays))
    assert mapped.dtype == jnp.float32
    assert mapped.shape == expected.shape
    if case.vmapped:
        arrays, expected = tuple(a[0] for a in arrays), expected[0]
    value = jax.eval_shape(lambda: with_options(case)(*arrays))
    assert value.dtype == jnp.float32
    assert value.shape == expected.shape


@over(of="program")
def test_vmap_is_a_batch(case: Case):
    arrays = compiled(case).arrays
    one = functools.partial(value_and_gradient, one_of_a_batch(case), case)
    value, gradient = jax.jit(jax.vmap(lambda *example: one(example)))(*arrays)
    expected = compiled(case).ordinary
    close(value, expected.value)
    close(gradient, expected.gradient)


@over(of="loss", batched=False)
def test_is_traced_once(case: Case):
    """New values, the same shapes: no second trace."""
    these = compiled(case)
    arrays = these.arrays
    for _ in range(3):
        these.plain(arrays)
        arrays = tuple(a + a.dtype.type(0) for a in arrays)
    assert these.traces[signature(arrays)] == 1


@over(of="machinery", batched=False)
def test_reverse_over_reverse_is_forward_over_reverse(case: Case):
    arrays, at = compiled(case).arrays, case.argument
    x = arrays[at]
    direction = np.random.default_rng(1).normal(size=x.shape).astype(x.dtype)

    def gradient(x):
        inputs = (*arrays[:at], x, *arrays[at + 1 :])
        return value_and_gradient(loss_of(case), case, inputs)[1]

    forward = jax.jit(lambda x: jax.jvp(gradient, (x,), (direction,))[1])(x)
    reverse = jax.jit(jax.grad(lambda x: jnp.sum(gradient(x) * direction)))(x)
    # Second derivatives take more roundings, as in the Hessian's tolerance.
    close(reverse, forward, rtol=1e-5)


def narrow(array):
    """Without x64 integers have 32 bits."""
    return array.astype(np.int32) if array.dtype == np.int64 else array


@over(of="loss", batched=False)
def test_dtypes_and_x64(case: Case):
    """Traced in every dtype, and without x64, where no 64-bit type may be asked for."""
    both = functools.partial(value_and_gradient, loss_of(case), case)
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64):
        arrays = draw(case, case.ordinary, dtype)
        value, gradient = jax.eval_shape(both, arrays)
        computed = jnp.float64 if dtype is jnp.float64 else jnp.float32
        assert value.dtype == computed
        assert gradient.dtype == arrays[case.argument].dtype
    with jax.enable_x64(False):
        value, gradient = jax.eval_shape(
            both, tuple(map(narrow, compiled(case).arrays))
        )
    assert value.dtype == gradient.dtype == jnp.float32


@over(of="machinery", batched=False)
def test_works_without_x64(case: Case):
    with jax.enable_x64(False):
        arrays = tuple(map(narrow, compiled(case).arrays))
        value, gradient = jitted(loss_of(case), case, arrays)
    expected = compiled(case).ordinary
    assert value.dtype == expected.value.dtype == jnp.float32
    close(value, expected.value)
    close(gradient, expected.gradient)


@over(of="machinery", batched=False)
def test_checkpoint_changes_nothing(case: Case):
    loss = jax.checkpoint(loss_of(case))
    value, gradient = jitted(loss, case, compiled(case).arrays)
    close(value, compiled(case).ordinary.value)
    close(gradient, compiled(case).ordinary.gradient)


def numbers_of(case: Case) -> dict[str, np.floating]:
    """The hyperparameters of a case that may be arrays."""
    parameters = inspect.signature(case.loss).parameters
    settings = {
        name: case.options.get(name, parameter.default)
        for name, parameter in parameters.items()
        if name not in ("base", "axis", "log_epsilon", "blank_id", "power")
    }
    return {
        name: np.float32(value)
        for name, value in settings.items()
        if isinstance(value, float)
    }


@over(of="program", batched=False, when=numbers_of)
def test_numbers_may_be_traced(case: Case):
    """Hyperparameters may be arrays, and mean the same. They have derivatives, and no
    NaN of one is hidden."""
    numbers = numbers_of(case)

    @jax.jit
    def traced(numbers, arrays):
        loss = with_options(case, **numbers)
        return (jax.vmap(loss) if case.vmapped else loss)(*arrays)

    value = traced(numbers, compiled(case).arrays)
    close(value, compiled(case).ordinary.value)
    # Infinite ones too: at the end of a range, say.
    slopes = jax.jit(jax.grad(lambda *given: jnp.sum(traced(*given))))
    for name, slope in slopes(numbers, compiled(case).arrays).items():
        assert not np.isnan(slope), name
    # Of those that the case gives, and so uses. (On which entries, their values say.)
    for name in numbers.keys() & case.options.keys():
        spoiled = numbers | {name: np.float32(np.nan)}
        assert np.isnan(traced(spoiled, compiled(case).arrays)).any(), name


# ------------------------------------------------------------------ values


@over(of="row", batched=False)
def test_nan_is_loud(case: Case):
    """A NaN that is not masked reaches the value and the gradient of its example."""
    arrays, at = compiled(case).arrays, case.argument
    poisoned = arrays[at].copy()
    poisoned[(0,) * poisoned.ndim] = np.nan
    actual = compiled(case).plain((*arrays[:at], poisoned, *arrays[at + 1 :]))
    clean = compiled(case).ordinary
    per_example = actual.value.reshape(len(poisoned), -1)
    assert np.isnan(per_example[0]).any(), per_example
    assert np.isnan(actual.gradient[0]).any(), actual.gradient[0]
    assert not np.isnan(per_example[1:]).any()
    close(actual.value[1:], clean.value[1:])
    close(actual.gradient[1:], clean.gradient[1:])
    # So does one of any other argument. (On which entries of it a loss depends, a
    # label may say.)
    for i, array in enumerate(arrays):
        if i != at and jnp.issubdtype(array.dtype, jnp.inexact):
            poisoned = array.copy()
            poisoned[0] = np.nan
            others = *arrays[:i], poisoned, *arrays[i + 1 :]
            value = compiled(case).plain(others).value
            assert np.isnan(value[0]).any(), (i, value[0])


@over(of="loss")
def test_empty_batch(case: Case):
    """No examples have no losses, and their sum and mean are 0."""
    actual = compiled(case).plain(tuple(a[:0] for a in compiled(case).arrays))
    assert actual.value.shape == (0, *compiled(case).ordinary.value.shape[1:])
    assert actual.value.dtype == jnp.float32
    assert actual.gradient.shape == (0, *compiled(case).ordinary.gradient.shape[1:])
    if compiled(case).reduces:
        assert actual.sum == actual.mean == 0


@over("base", of="loss")
def test_base_is_a_unit(case: Case):
    @jax.jit
    def in_bases(arrays):
        return [with_options(case, base=base)(*arrays) for base in (2, 10)]

    nats = compiled(case).ordinary.value
    for base, value in zip((2, 10), in_bases(compiled(case).arrays), strict=True):
        close(value, nats / math.log(base))


@pytest.mark.parametrize(
    "case",
    selection.parameters(
        [
            (case.id, (case,), selection.once_runs(case))
            for case in CASES
            if case.optax is not None
        ]
    ),
)
def test_agrees_with_optax(case: Case):
    """Where optax is accurate, at unit scale, its numbers are ours."""
    arrays = tuple(map(jnp.asarray, compiled(case).arrays))
    twin = jax.vmap(case.optax) if case.vmapped else case.optax
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = jax.jit(twin)(*arrays)
    np.testing.assert_allclose(
        compiled(case).ordinary.value,
        np.asarray(expected),
        rtol=case.optax_rtol,
        atol=case.optax_rtol,
    )


# ------------------------------------------------------------------ masks


def like(mask, array):
    """A mask of the examples, spread over the axes of an array."""
    return np.broadcast_to(mask.reshape(-1, *[1] * (array.ndim - 1)), array.shape)


def garbage(array, keep, value):
    """The array with garbage in the examples that are not kept."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        value = 10**6 if jnp.issubdtype(array.dtype, jnp.integer) else True
    return np.where(like(keep, array), array, np.asarray(value, array.dtype))


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf, 3e38])
@over("where", of="row")
def test_masked_examples_are_not_there(case: Case, value: float):
    """Value, gradient and tangent are those of the examples kept."""
    keep = np.arange(BATCH) % 3 != 1
    spoiled = tuple(garbage(a, keep, value) for a in compiled(case).arrays)
    # Examples are independent (`test_vmap_is_a_batch`): without the others, the kept
    # ones are what they are beside them.
    whole = compiled(case).ordinary
    actual = compiled(case).masked(spoiled, like(keep, whole.value))
    for got, expected in (
        (actual.value, whole.value),
        (actual.gradient, whole.gradient),
    ):
        close(got[keep], expected[keep])
        assert (got[~keep] == 0).all(), got
    if np.isnan(value):
        assert np.isfinite(actual.tangent).all()
        assert (actual.tangent[~keep] == 0).all()


@over("where", of="machinery")
def test_masks_of_numbers_and_of_size_one(case: Case):
    expected = compiled(case).ordinary.value

    @jax.jit
    def masked(arrays, where):
        return with_options(case, where=where)(*arrays)

    for dtype in (np.int32, np.float32):
        mask = np.ones((1,) * expected.ndim, dtype)
        close(masked(compiled(case).arrays, mask), expected)


@over("where", "reduction", of="row")
def test_nothing_kept_is_zero(case: Case):
    """0 and gradient 0, for inputs of any size."""
    mask = np.zeros(compiled(case).ordinary.value.shape, bool)
    for scale in {case.ordinary, "saturated"} & set(case.scales):
        arrays = draw(case, scale, jnp.float32)
        for number in (n for n in compiled(case).masked(arrays, mask) if n is not None):
            assert (number == 0).all()


@over("where", "reduction", of="machinery")
def test_nothing_kept_is_zero_while_nan_are_hunted(case: Case):
    """No step on the way makes a NaN, which `jax_debug_nans` would report."""
    mask = jnp.zeros(compiled(case).ordinary.value.shape, bool)
    for scale in {case.ordinary, "saturated"} & set(case.scales):
        arrays = tuple(map(jnp.asarray, draw(case, scale, jnp.float32)))
        with jax.debug_nans(True):
            for reduction in ("none", "sum", "mean"):
                loss = with_options(case, where=mask, reduction=reduction)
                value, gradient = value_and_gradient(loss, case, arrays)
                assert (np.asarray(value) == 0).all()
                assert (np.asarray(gradient) == 0).all()


def is_a_row(case: Case) -> bool:
    """Whether the loss runs along the last axis of its first argument."""
    return case.event[0] == 1


@over("where", "axis", of="program", when=is_a_row)
def test_removed_entries_are_not_there(case: Case):
    """A mask of the output's rank removes entries, from predictions and targets."""
    arrays = compiled(case).arrays
    size = arrays[0].shape[-1]
    removed = size - 1
    entries = np.broadcast_to(np.arange(size) != removed, arrays[0].shape)
    fewer, spoiled = [], []
    for array, event in zip(arrays, case.event, strict=True):
        if event == 1 and jnp.issubdtype(array.dtype, jnp.floating):
            # An example that keeps nothing of its target contributes nothing, which is
            # another contract: here it is given a target that stays.
            nothing = np.all(array[..., :removed] == 0, axis=-1)
            array = np.where(nothing[..., None], array[..., ::-1], array)
            fewer.append(array[..., :removed])
            spoiled.append(np.where(entries, array, np.float32(np.nan)))
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
    value, gradient = jitted(loss, case, tuple(fewer))
    actual = jitted(with_options(case, where=entries), case, tuple(spoiled))
    close(actual[0], value)
    if case.event[case.argument] == 0:  # By one number for all entries.
        close(actual[1], gradient)
    else:
        close(actual[1][..., :removed], gradient)
        assert (actual[1][..., removed] == 0).all()


@over("axis", of="program", when=is_a_row)
def test_axis_is_only_a_place(case: Case):
    moved = tuple(
        np.moveaxis(a, -1, 0) if event == 1 else a
        for a, event in zip(compiled(case).arrays, case.event, strict=True)
    )
    value, gradient = jitted(with_options(case, axis=0), case, moved)
    expected = compiled(case).ordinary
    close(value, expected.value)
    close(np.moveaxis(gradient, 0, -1), expected.gradient)


# ------------------------------------------------------------------ reduction


@over("where", "weights", "reduction", of="row")
def test_reductions_agree(case: Case):
    """sum = Σwℓ, mean = Σwℓ / Σw over what is kept; weights multiply."""
    arrays, plain = compiled(case).arrays, compiled(case).ordinary
    losses = plain.value.astype(np.float64)
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 2, size=losses.shape).astype(np.float32)
    keep = rng.uniform(size=losses.shape) < 0.7
    actual = compiled(case).masked(arrays, keep, weights)
    wide = np.where(keep, weights.astype(np.float64) * losses, 0)
    close(actual.weighted, wide)
    close(actual.sum, wide.sum())
    close(plain.sum, losses.sum())
    if "class_weights" not in case.options:
        close(actual.mean, wide.sum() / weights.astype(np.float64)[keep].sum())
        close(plain.mean, losses.mean())
        close(actual.mean_unweighted, losses[keep].mean())
        alike = compiled(case).masked(arrays, keep)
        close(alike.mean_gradient, alike.gradient.astype(np.float64) / keep.sum())


@over("where", "weights", "reduction", of="loss")
def test_weights_have_derivatives_and_zero_weighs_nothing(case: Case):
    losses = compiled(case).ordinary.value
    keep = np.ones(losses.shape, bool)
    actual = compiled(case).masked(
        compiled(case).arrays, keep, weights=np.zeros_like(losses)
    )
    close(actual.sum_by_weight, losses)
    assert actual.mean == 0
    assert (actual.mean_gradient == 0).all()


# ------------------------------------------------------------------ bad input


def message(case: Case, error, *arrays, jit: bool, **options) -> str:
    """The text of the error that these inputs raise, known or traced."""
    loss = with_options(case, **options)
    with pytest.raises(error) as caught:
        if jit:
            jax.eval_shape(loss, *arrays)
        else:
            jax.eval_shape(lambda: loss(*arrays))
    text = str(caught.value)
    assert f"jaxloss.{case.name}: " in text, text
    return text


def names(case: Case) -> list[str]:
    return list(inspect.signature(case.loss).parameters)


both_ways = pytest.mark.parametrize("jit", [False, True], ids=["known", "traced"])


@over(of="loss")
def test_python_numbers_and_lists_are_refused(case: Case):
    arrays = compiled(case).arrays
    for bad in (1.0, [1.0, 2.0]):
        text = message(case, TypeError, bad, *arrays[1:], jit=False)
        assert f"`{names(case)[0]}`" in text and "jnp.asarray" in text
        assert f"Python {type(bad).__name__}" in text


@both_ways
@over(of="loss")
def test_integer_predictions_are_refused(case: Case, jit: bool):
    arrays = compiled(case).arrays
    bad = arrays[0].astype(np.int32)
    text = message(case, TypeError, bad, *arrays[1:], jit=jit)
    assert f"`{names(case)[0]}`" in text and "int32" in text and "astype" in text


@both_ways
@over(of="loss", when=lambda case: len(case.event) > 1 and not case.own_shapes)
def test_shapes_are_exact(case: Case, jit: bool):
    """(B,) against (B, 1) is an error, whatever would broadcast."""
    arrays = compiled(case).arrays
    for bad in (arrays[1][..., None], arrays[1][:1]):
        text = message(case, ValueError, arrays[0], bad, *arrays[2:], jit=jit)
        assert f"`{names(case)[1]}`" in text and str(bad.shape) in text


@both_ways
@over("reduction", of="loss")
def test_an_unknown_reduction_is_refused(case: Case, jit: bool):
    arrays = compiled(case).arrays
    text = message(case, ValueError, *arrays, jit=jit, reduction="average")
    assert "`reduction`" in text and "'mean'" in text and "'average'" in text


@both_ways
@over("where", of="loss")
def test_a_mask_of_another_rank_is_refused(case: Case, jit: bool):
    bad = np.ones((BATCH,) * 5, bool)
    text = message(case, ValueError, *compiled(case).arrays, jit=jit, where=bad)
    assert "`where`" in text and str(bad.shape) in text and "rank" in text


@both_ways
@over("weights", of="loss")
def test_weights_of_another_shape_are_refused(case: Case, jit: bool):
    bad = np.ones((BATCH + 1, 2, 3))
    text = message(case, ValueError, *compiled(case).arrays, jit=jit, weights=bad)
    assert "`weights`" in text and str(bad.shape) in text


@over("axis", of="loss")
def test_a_traced_axis_is_refused(case: Case):
    arrays = compiled(case).arrays
    with pytest.raises(TypeError, match="static_argnames='axis'"):
        jax.eval_shape(lambda axis: with_options(case, axis=axis)(*arrays), 0)


@both_ways
@over("axis", of="loss")
def test_an_axis_out_of_range_is_refused(case: Case, jit: bool):
    text = message(case, ValueError, *compiled(case).arrays, jit=jit, axis=7)
    assert "`axis`" in text and "7" in text


@both_ways
@over("base", of="loss")
def test_a_bad_base_is_refused(case: Case, jit: bool):
    text = message(case, ValueError, *compiled(case).arrays, jit=jit, base=1)
    assert "`base`" in text and "bits" in text

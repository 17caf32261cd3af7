"""Regressions of the residual losses and of the cosine pair."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

ELEMENTWISE = ("squared_error", "l2_loss", "huber_loss", "log_cosh")


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def derivative(loss, order=1):
    """The derivative of an elementwise loss of one argument."""
    for _ in range(order):
        loss = jax.grad(lambda x, loss=loss: jnp.sum(loss(x)))
    return jax.jit(loss)


def close(actual, expected, rtol):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=rtol)


# ------------------------------------------------------------------ Huber


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("delta", [1.0, 10.0, 100.0, 1e4])
def test_w48_huber_gradient_is_not_quantised(dtype, delta):
    e = jnp.asarray([1e-4, 1e-3, 0.01, 0.1, 0.5], dtype)
    huber = functools.partial(jaxloss.huber_loss, delta=delta)
    chex.assert_trees_all_equal(derivative(huber)(e), e)
    tiny = f32(1e-30, 1e-8)
    chex.assert_trees_all_equal(derivative(huber)(tiny), tiny)
    # Uncompiled too: XLA may cancel what is added and subtracted again.
    eager = jax.grad(lambda e: jnp.sum(huber(e)))
    chex.assert_trees_all_equal(eager(tiny), tiny)


@pytest.mark.parametrize("wrap", [float, jnp.float32])
def test_w49_infinite_delta_is_the_l2_loss(wrap):
    huber = functools.partial(jaxloss.huber_loss, delta=wrap(np.inf))
    e = f32(0, 1e-3, -2, 1e18, np.inf)
    chex.assert_trees_all_equal(huber(e), jaxloss.l2_loss(e))
    chex.assert_trees_all_equal(derivative(huber)(e), e)


def test_w49_hessian_beside_delta_is_one_or_zero():
    e = f32(0, 0.5, 0.999, 1.001, 7)
    close(derivative(jaxloss.huber_loss, 2)(e), [1, 1, 1, 0, 0], 0)
    assert float(derivative(jaxloss.huber_loss, 2)(f32(1.0))[0]) in (0, 1)


def test_w49_negative_delta_is_refused():
    with pytest.raises(ValueError, match=r"`delta` must be a number in \[0, inf\)"):
        jaxloss.huber_loss(f32(1), delta=-1.0)
    traced = jax.jit(lambda delta: jaxloss.huber_loss(f32(1), delta=delta))
    assert np.isnan(traced(jnp.float32(-1)))
    by_prediction = jax.grad(lambda e, d: jaxloss.huber_loss(e, delta=d))
    assert np.isnan(by_prediction(jnp.float32(1), jnp.float32(-1)))


def test_huber_derivative_by_delta():
    e = f32(0.3, -3, 7, 2)
    by_delta = jax.jit(jax.grad(lambda d: jnp.sum(jaxloss.huber_loss(e, delta=d))))
    close(by_delta(jnp.float32(2)), 6, 1e-7)
    per_entry = jax.grad(
        lambda d: jnp.sum(
            jaxloss.huber_loss(e, delta=d, where=jnp.asarray([True, True, False, True]))
        )
    )
    close(per_entry(f32(2, 2, np.nan, 2)), [0, 1, 0, 0], 0)
    # The mixed derivative: the clipped residual moves with delta.
    mixed = jax.grad(
        lambda d: jnp.sum(
            jax.grad(lambda e: jaxloss.huber_loss(e, delta=d))(jnp.float32(-3))
        )
    )
    assert mixed(jnp.float32(2)) == -1


def test_huber_edges():
    e = f32(np.inf, -np.inf, np.nan)
    close(jaxloss.huber_loss(e), [np.inf, np.inf, np.nan], 0)
    close(derivative(jaxloss.huber_loss)(e), [1, -1, np.nan], 0)
    zero = functools.partial(jaxloss.huber_loss, delta=0.0)
    chex.assert_trees_all_equal(zero(f32(3, np.inf)), f32(0, 0))
    chex.assert_trees_all_equal(derivative(zero)(f32(3, -2)), f32(0, 0))


# ------------------------------------------------------------------ log cosh


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_w50_log_cosh_does_not_cancel(dtype):
    e = jnp.asarray([1e-4, 3e-4, 1e-3, 0.01, 0.1, 0.69, 0.71, 1, 10, 300], dtype)
    x = np.asarray(e, np.float64)
    t = np.tanh(x / 2)
    near = np.log1p(2 * t**2 / (1 - np.minimum(t, 0.9) ** 2))
    exact = np.where(x < 1, near, x + np.log1p(np.exp(-2 * x)) - np.log(2))
    value = jaxloss.log_cosh(e)
    assert value.dtype == jnp.float32
    close(value, exact, 3e-7)
    rounding = float(jnp.finfo(dtype).eps)
    close(derivative(jaxloss.log_cosh)(e), np.tanh(x), 3e-7 + rounding / 2)


def test_w50_log_cosh_curvature():
    e = f32(0, 0.1, 1, 5, 10, 20)
    exact = 1 / np.cosh(np.asarray(e, np.float64)) ** 2
    close(derivative(jaxloss.log_cosh, 2)(e), exact, 1e-6)


def test_log_cosh_edges():
    e = f32(0, np.inf, -np.inf, np.nan, 3e38, 1e-19)
    expected = [0, np.inf, np.inf, np.nan, 3e38, 5e-39]
    close(jaxloss.log_cosh(e)[:5], expected[:5], 1e-7)
    close(derivative(jaxloss.log_cosh)(e), [0, 1, -1, np.nan, 1, 1e-19], 1e-7)


def test_log_cosh_is_even_and_never_negative():
    e = jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32) / 8
    chex.assert_trees_all_equal(jaxloss.log_cosh(e), jaxloss.log_cosh(-e))
    assert (jaxloss.log_cosh(e) >= 0).all()


def test_log_cosh_compiles_to_no_temporaries_under_a_sum():
    e = jax.ShapeDtypeStruct((100_000,), jnp.float32)
    total = jax.jit(lambda p, t: jnp.sum(jaxloss.log_cosh(p, t)))
    memory = total.lower(e, e).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 100_000


# ------------------------------------------------------------------ all residuals


def test_w51_squares_of_half_precision():
    e = jnp.asarray([300.0, 361.0, 6e4], jnp.float16)
    x = np.asarray(e, np.float64)
    close(jaxloss.l2_loss(e), x**2 / 2, 1e-6)
    close(jaxloss.squared_error(e), x**2, 1e-6)
    # And in float32: half a square that is representable, of a square that is not.
    close(jaxloss.l2_loss(f32(2e19)), np.float64(np.float32(2e19)) ** 2 / 2, 1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_w51_equal_infinities_have_no_difference(name):
    loss = getattr(jaxloss, name)
    inf = f32(np.inf, 1)
    assert np.isnan(loss(inf, inf)[0])
    mask = jnp.asarray([False, True])
    with jax.debug_nans(True):
        chex.assert_trees_all_equal(loss(inf, inf, where=mask), f32(0, 0))
        gradient = jax.grad(lambda p: jnp.sum(loss(p, inf, where=mask)))(inf)
    chex.assert_trees_all_equal(gradient, f32(0, 0))


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("jit", [False, True])
def test_w52_nothing_is_broadcast(name, jit):
    loss = getattr(jaxloss, name)
    with pytest.raises(ValueError, match="`targets` must be of the shape"):
        (jax.jit(loss) if jit else loss)(jnp.ones(3), jnp.ones((3, 1)))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_targets_left_out_are_zeros(name):
    loss = getattr(jaxloss, name)
    x = f32(-2, 0, 3)
    chex.assert_trees_all_equal(loss(x), loss(x, jnp.zeros_like(x)))
    chex.assert_trees_all_equal(loss(x), loss(x, jnp.zeros(3, jnp.int32)))
    half = x.astype(jnp.bfloat16)
    assert loss(half).dtype == jnp.float32
    with pytest.raises(TypeError, match="`predictions`"):
        loss(jnp.arange(3))


def test_residuals_on_large_values():
    p, t = f32(1e6 + 0.5, -1e6), f32(1e6, -1e6 - 0.25)
    close(jaxloss.squared_error(p, t), [0.25, 0.0625], 0)
    # bfloat16 is widened before the subtraction.
    p, t = jnp.asarray([256.0], jnp.bfloat16), f32(255.5)
    close(jaxloss.squared_error(p, t), [0.25], 0)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_smallest_residuals_keep_their_gradient(name):
    e = f32(1.2e-38)
    factor = 2 if name == "squared_error" else 1
    close(derivative(getattr(jaxloss, name))(e), factor * np.asarray(e, float), 1e-6)


# ------------------------------------------------------------------ cosines

COSINES = ("cosine_similarity", "cosine_distance")


def value_and_gradients(name, a, b, **options):
    def total(a, b):
        return jnp.sum(getattr(jaxloss, name)(a, b, **options))

    return jax.value_and_grad(total, (0, 1))(a, b)


@pytest.mark.thorough
@pytest.mark.parametrize("name", COSINES)
def test_w44a_zero_vector(name):
    a, b = jnp.zeros((1, 3), jnp.float32), f32(1, 2, 3)[None]
    for first, second in ((a, b), (b, a), (a, a)):
        with jax.debug_nans(True):
            value, gradients = value_and_gradients(name, first, second)
        assert value == (0 if name == "cosine_similarity" else 1)
        chex.assert_trees_all_equal(gradients, (0 * a, 0 * a))


@pytest.mark.thorough
@pytest.mark.parametrize("size", [1e-36, 1e-20, 2e19, 1e36])
def test_w44b_vectors_of_any_length(size):
    a, b = f32(0.3, -0.5, 0.7)[None], f32(0.1, 0.4, 0.6)[None]
    expected, (by_a, _) = value_and_gradients("cosine_similarity", a, b)
    actual, (gradient, _) = value_and_gradients("cosine_similarity", a * size, b / size)
    close(actual, expected, 1e-6)
    if size < 1e30:  # beyond, the gradient falls out of the normal numbers
        close(np.asarray(gradient, np.float64) * size, by_a, 2e-5)
    huge = f32(size, size)[None]
    close(jaxloss.cosine_similarity(huge, huge), [1], 3e-7)


def test_w44b_half_precision():
    for size in (300, 1e-4):
        a = jnp.asarray([[size, 2 * size]], jnp.float16)
        close(jaxloss.cosine_similarity(a, a), [1], 3e-7)


@pytest.mark.parametrize("name", COSINES)
def test_w44c_masked_entries_and_examples(name):
    a, b = f32(1, 2, np.nan)[None], f32(3, 1, np.inf)[None]
    entries = jnp.asarray([[True, True, False]])
    value, gradients = value_and_gradients(name, a, b, where=entries)
    expected, fewer = value_and_gradients(name, a[:, :2], b[:, :2])
    assert value == expected
    for gradient, exact in zip(gradients, fewer, strict=True):
        chex.assert_trees_all_equal(gradient[:, :2], exact)
        assert gradient[0, 2] == 0
    for mask in (jnp.zeros((1, 3), bool), jnp.zeros(1, bool)):
        with jax.debug_nans(True):
            a, b = f32(1, 2, 3)[None], f32(0, 0, 0)[None]
            value, gradients = value_and_gradients(name, a, b, where=mask)
        assert value == 0
        chex.assert_trees_all_equal(gradients, (0 * entries.astype(a.dtype),) * 2)


@pytest.mark.thorough
@pytest.mark.parametrize("angle", [1e-1, 1e-2, 1e-3, 1e-4])
def test_w44d_distance_of_nearly_parallel_vectors(angle):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(32, 64)).astype(np.float32)
    b = (3.7 * (a + angle * rng.normal(size=a.shape))).astype(np.float32)
    wide = [x.astype(np.longdouble) for x in (a, b)]
    lengths = [np.sqrt((x * x).sum(-1, keepdims=True)) for x in wide]
    u, v = (x / length for x, length in zip(wide, lengths, strict=True))
    distance = ((v - u) ** 2).sum(-1) / 2
    gradient = -((v - u) + distance[:, None] * u) / lengths[0]
    for jit in (lambda f: f, jax.jit):
        value = jit(jaxloss.cosine_distance)(jnp.asarray(a), jnp.asarray(b))
        close(value, distance.astype(float), 5e-7 if angle > 5e-4 else 5e-6)
    for name, sign in (("cosine_distance", 1), ("cosine_similarity", -1)):
        _, (actual, _) = value_and_gradients(name, jnp.asarray(a), jnp.asarray(b))
        error = np.abs(np.asarray(actual) - (sign * gradient).astype(float))
        size = np.sqrt((gradient**2).mean(-1, keepdims=True)).astype(float)
        assert (error <= 2e-6 * size).all()


@pytest.mark.thorough
def test_w44d_distance_to_oneself_and_range():
    a = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 7)), jnp.float32)
    assert (jaxloss.cosine_distance(a, a) == 0).all()
    assert (jaxloss.cosine_distance(a, 4 * a) == 0).all()
    distance = jaxloss.cosine_distance(a, 3 * a)
    assert (distance >= 0).all() and (distance < 1e-13).all()
    for factor in (3, -3):
        similarity = jaxloss.cosine_similarity(a, factor * a)
        assert (jnp.abs(similarity) <= 1).all()
    assert (jaxloss.cosine_distance(a, -a) <= 2).all()


@pytest.mark.thorough
def test_epsilon_is_the_least_squared_length():
    a, b = f32(0.3, 0.4)[None], f32(3, 4)[None]
    close(jaxloss.cosine_similarity(a, b, epsilon=1.0), [0.5], 1e-6)
    close(jaxloss.cosine_distance(a, b, epsilon=1.0), [0.5], 1e-6)
    # A linear function of a short vector, also at 0.
    _, (gradient, _) = value_and_gradients("cosine_similarity", 0 * a, b, epsilon=0.25)
    close(gradient, [[1.2, 1.6]], 1e-6)
    by_epsilon = jax.grad(
        lambda e: jnp.sum(jaxloss.cosine_similarity(a, b, epsilon=e))
    )(jnp.float32(1))
    close(by_epsilon, -0.25, 1e-6)
    assert np.isnan(jaxloss.cosine_distance(a, b, epsilon=jnp.float32(-1)))
    with pytest.raises(ValueError, match="`epsilon`"):
        jaxloss.cosine_distance(a, b, epsilon=-1.0)


@pytest.mark.thorough
def test_cosines_of_several_axes():
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32) for _ in range(2))
    for axis, shape in (((0, 2), (3,)), (None, ()), (1, (2, 4))):
        chex.assert_shape(jaxloss.cosine_distance(a, b, axis=axis), shape)
    close(
        jaxloss.cosine_similarity(a, b, axis=None),
        jaxloss.cosine_similarity(a.reshape(-1), b.reshape(-1)),
        1e-6,
    )

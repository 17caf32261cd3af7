"""Regressions of the robust, asymmetric and relative losses."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics
from jax.test_util import check_grads
from scipy import special

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

ROBUST = (
    "absolute_error",
    "smooth_l1_loss",
    "pseudo_huber_loss",
    "charbonnier_loss",
    "robust_loss",
    "cauchy_loss",
    "welsch_loss",
    "geman_mcclure_loss",
    "tukey_biweight_loss",
    "epsilon_insensitive_loss",
)
EDGES = (0.0, 1e-30, -1e-30, 1e-6, 0.5, -1.0, 7.0, 1e6, -1e25, 3e38, np.inf, -np.inf)


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def of_residual(name: str, **options):
    """A loss as a function of the residual alone."""
    loss = getattr(jaxloss, name)
    return jax.jit(lambda e: loss(e, jnp.zeros_like(e), **options))


def slope(loss):
    return jax.jit(jax.grad(lambda e: jnp.sum(loss(e))))


def close(actual, expected, rtol=1e-6):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=rtol)


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", ROBUST)
def test_robust_losses_have_limits_and_no_nan(name):
    """From 0 to infinity: never negative, never falling, and never NaN."""
    loss = of_residual(name)
    e = f32(*sorted(abs(v) for v in EDGES))
    value, gradient = np.asarray(loss(e)), np.asarray(slope(loss)(e))
    assert not np.isnan(value).any(), value
    assert not np.isnan(gradient).any(), gradient
    assert (value >= 0).all() and (value[1:] >= value[:-1]).all()
    assert (gradient >= 0).all() and gradient[0] == 0
    # Even, and so is the size of the gradient.
    chex.assert_trees_all_equal(loss(-e), loss(e))
    chex.assert_trees_all_equal(slope(loss)(-e), -slope(loss)(e))


@pytest.mark.parametrize("name", ROBUST)
def test_a_hyperparameter_per_entry_may_hold_anything_where_masked(name):
    loss = getattr(jaxloss, name)
    option = {
        "smooth_l1_loss": "beta",
        "pseudo_huber_loss": "delta",
        "charbonnier_loss": "epsilon",
        "epsilon_insensitive_loss": "epsilon",
        "absolute_error": None,
    }.get(name, "scale")
    if option is None:
        return
    e, keep = f32(0.5, -3, 2), jnp.asarray([True, False, True])

    def total(size):
        options = {option: size}
        return loss(e, jnp.zeros_like(e), where=keep, reduction="sum", **options)

    value, by_size = jax.value_and_grad(total)(f32(1, np.nan, 0.5))
    assert np.isfinite(value)
    assert np.isfinite(by_size).all() and by_size[1] == 0
    close(value, loss(e[::2], jnp.zeros(2), **{option: f32(1, 0.5)}).sum())


@pytest.mark.parametrize(
    ("name", "option", "bad"),
    [
        ("smooth_l1_loss", "beta", -1.0),
        ("pseudo_huber_loss", "delta", 0.0),
        ("charbonnier_loss", "epsilon", -1.0),
        ("robust_loss", "scale", 0.0),
        ("cauchy_loss", "scale", 0.0),
        ("welsch_loss", "scale", -1.0),
        ("geman_mcclure_loss", "scale", 0.0),
        ("tukey_biweight_loss", "scale", 0.0),
        ("quantile_loss", "quantile", 1.0),
        ("quantile_loss", "delta", -1.0),
        ("quantile_loss", "smoothing", -1.0),
        ("expectile_loss", "expectile", 0.0),
        ("epsilon_insensitive_loss", "epsilon", -0.5),
        ("absolute_percentage_error", "epsilon", -0.5),
    ],
)
def test_hyperparameters_out_of_range(name, option, bad):
    loss = getattr(jaxloss, name)
    with pytest.raises(ValueError, match=f"`{option}` must be a number in"):
        loss(f32(1), f32(2), **{option: bad})

    def traced(prediction, value):
        return jnp.sum(loss(prediction, f32(2), **{option: value}))

    value, gradient = jax.value_and_grad(traced)(f32(1), jnp.float32(bad))
    assert np.isnan(value) and np.isnan(gradient).all()


def test_derivatives_by_the_scale_do_not_cancel():
    """By central differences in float64 at ordinary residuals, and the leading terms
    (of the fourth order in the residual) at tiny ones."""
    e = np.array([0.03, 0.7, -2.0, 9.0])
    for name, option, tiny in (
        ("pseudo_huber_loss", "delta", lambda r: r**4 / 4),
        ("cauchy_loss", "scale", lambda r: r**4 / 2),
        ("welsch_loss", "scale", lambda r: r**4 / 2),
        ("geman_mcclure_loss", "scale", lambda r: r**4),
        ("tukey_biweight_loss", "scale", lambda r: r**4),
    ):
        loss = getattr(jaxloss, name)

        def total(size, e, loss=loss, option=option):
            return jnp.sum(loss(e, jnp.zeros_like(e), **{option: size}))

        h, size = 1e-5, 1.5
        numeric = (
            total(size + h, jnp.asarray(e)) - total(size - h, jnp.asarray(e))
        ) / (2 * h)
        by_size = jax.jit(jax.grad(total))
        close(by_size(jnp.float64(size), jnp.asarray(e)), numeric, 1e-8)
        close(by_size(jnp.float32(2), f32(1e-4)), 2 * tiny(np.float32(5e-5)), 1e-6)


# ------------------------------------------------------------------ Barron's loss


def test_robust_loss_by_its_shape():
    """The closed-form derivative by alpha, at its limits and beside them."""
    e = jnp.asarray([0.01, 0.3, 1.0, 4.0, 50.0])
    loss = functools.partial(jaxloss.robust_loss, targets=jnp.zeros_like(e))
    jacobian = jax.jit(jax.jacfwd(lambda a: loss(e, alpha=a)))
    h = 1e-5
    for alpha in (-12.0, -2.0, -1e-3, 0.0, 1e-3, 0.5, 1.0, 1.5, 2.5):
        numeric = (loss(e, alpha=alpha + h) - loss(e, alpha=alpha - h)) / (2 * h)
        np.testing.assert_allclose(
            jacobian(jnp.float64(alpha)), numeric, rtol=1e-6, atol=1e-12
        )
    # A vertical tangent, loudly; and flat at either end.
    assert np.isposinf(jacobian(jnp.float64(2))).all()
    assert (np.asarray(jacobian(jnp.float64(-np.inf))) == 0).all()


def test_robust_loss_second_derivatives_by_the_shape():
    e, h = jnp.asarray([0.3, 1.0, 4.0]), 1e-5
    loss = functools.partial(jaxloss.robust_loss, targets=jnp.zeros_like(e))
    first = jax.jit(jax.jacfwd(lambda a: loss(e, alpha=a)))
    second = jax.jit(jax.jacfwd(jax.jacfwd(lambda a: loss(e, alpha=a))))
    for alpha in (-3.0, 0.0, 1.0):
        numeric = (first(alpha + h) - first(alpha - h)) / (2 * h)
        np.testing.assert_allclose(second(alpha), numeric, rtol=1e-5, atol=1e-12)


def test_robust_loss_is_each_of_its_members():
    e = f32(0.01, -0.4, 1.5, -30)
    zero, c = jnp.zeros_like(e), 2.0

    def barron(alpha):
        return jaxloss.robust_loss(e, zero, alpha=alpha, scale=c)

    root = 2**0.5 * c
    close(barron(2.0), jaxloss.l2_loss(e) / c**2)
    close(barron(1.0), jaxloss.pseudo_huber_loss(e, zero, delta=c) / c**2)
    close(barron(0.0), jaxloss.cauchy_loss(e, zero, scale=root) / c**2)
    close(barron(-np.inf), jaxloss.welsch_loss(e, zero, scale=root) / c**2)
    close(barron(-2.0), jaxloss.geman_mcclure_loss(e, zero, scale=2 * c) / c**2)


def test_robust_loss_is_scipy_s_cauchy():
    """scipy's ρ(z) = log(1 + z) of z = e², whose half it adds up."""
    e = np.array([0.3, -2.0, 5.0])
    cost = scipy.optimize.least_squares(lambda _: e, [0.0], loss="cauchy").cost
    ours = jaxloss.cauchy_loss(jnp.asarray(e), jnp.zeros(3), scale=1.0)
    close(ours.sum(), cost, 1e-12)


# ------------------------------------------------------------------ smooth L1, Huber


def test_smooth_l1_is_huber_over_beta():
    e = f32(-3, -0.5, 0, 1e-20, 0.7, 1.0, 1e20)
    zero = jnp.zeros_like(e)
    for beta in (0.5, 1.0, 20.0):
        huber = jaxloss.huber_loss(e, zero, delta=beta) / beta
        close(jaxloss.smooth_l1_loss(e, zero, beta=beta), huber)


def test_smooth_l1_without_a_bowl_is_the_absolute_error():
    e = f32(-3, 0, 1e-30, 2)
    for beta in (0.0, jnp.float32(0)):
        loss = of_residual("smooth_l1_loss", beta=beta)
        chex.assert_trees_all_equal(loss(e), jnp.abs(e))
        chex.assert_trees_all_equal(slope(loss)(e), jnp.sign(e))


def test_smooth_l1_by_beta():
    e = f32(0.5, -3)
    by_beta = jax.grad(
        lambda beta: jaxloss.smooth_l1_loss(e, jnp.zeros(2), beta=beta).sum()
    )
    close(by_beta(jnp.float32(2)), -(0.25**2) / 2 - 0.5)


def test_torch_s_smooth_l1():
    torch = pytest.importorskip("torch", reason="compares with torch itself")
    e = np.linspace(-3, 3, 13)
    theirs = torch.nn.functional.smooth_l1_loss(
        torch.tensor(e), torch.zeros(13), beta=0.7, reduction="none"
    )
    ours = jaxloss.smooth_l1_loss(jnp.asarray(e), jnp.zeros(13), beta=0.7)
    close(ours, theirs.numpy(), 1e-12)


# ------------------------------------------------------------------ root mean square


def test_root_mean_squared_error_at_a_perfect_fit():
    """The naive root has a gradient of NaN there."""
    x = f32(1, 2, 3)
    value, gradient = jax.value_and_grad(jaxloss.root_mean_squared_error)(x, x)
    assert value == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros(3))
    hessian = jax.hessian(jaxloss.root_mean_squared_error)(x, x)
    assert np.isfinite(hessian).all()


def test_root_mean_squared_error_neither_overflows_nor_vanishes():
    for size in (1e-30, 1e30):
        x = f32(3, 4) * size
        close(jaxloss.root_mean_squared_error(x, jnp.zeros(2)), size * 12.5**0.5)
        gradient = jax.grad(jaxloss.root_mean_squared_error)(x, jnp.zeros(2))
        close(gradient, np.array([3, 4]) / (2 * 12.5**0.5))


def test_root_mean_squared_error_counts_what_is_kept():
    x = f32(3, np.nan, 4).reshape(1, 3)
    keep = jnp.asarray([[True, False, True]])
    loss = jaxloss.root_mean_squared_error(x, jnp.zeros((1, 3)), where=keep)
    close(loss, [12.5**0.5])
    # A row of which nothing is kept does not count in the mean.
    two = jnp.concatenate([x, x])
    keep = jnp.concatenate([keep, jnp.zeros_like(keep)])
    mean = jaxloss.root_mean_squared_error(
        two, jnp.zeros((2, 3)), where=keep, reduction="mean"
    )
    close(mean, 12.5**0.5)


def test_root_mean_squared_error_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 7, 3))
    ours = jaxloss.root_mean_squared_error(jnp.asarray(p), jnp.asarray(y), axis=0)
    theirs = sklearn.metrics.root_mean_squared_error(y, p, multioutput="raw_values")
    close(ours, theirs, 1e-12)
    whole = jaxloss.root_mean_squared_error(jnp.asarray(p), jnp.asarray(y), axis=None)
    close(whole, np.sqrt(((p - y) ** 2).mean()), 1e-12)


# ------------------------------------------------------------------ asymmetric


def test_half_of_the_usual_losses_at_the_middle():
    p, t = f32(1, -2, 0.5), f32(0, 1, 0.5)
    chex.assert_trees_all_equal(
        2 * jaxloss.quantile_loss(p, t), jaxloss.absolute_error(p, t)
    )
    chex.assert_trees_all_equal(
        2 * jaxloss.expectile_loss(p, t), jaxloss.squared_error(p, t)
    )


def test_quantile_loss_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 50))
    for level in (0.1, 0.8):
        ours = jaxloss.quantile_loss(
            jnp.asarray(p), jnp.asarray(y), quantile=level, reduction="mean"
        )
        theirs = sklearn.metrics.mean_pinball_loss(y, p, alpha=level)
        close(ours, theirs, 1e-12)


def test_quantile_loss_derivatives_by_the_level_and_at_a_perfect_fit():
    p, t = f32(1, 2, 3), f32(4, 2, 1)
    by_level = jax.jacfwd(lambda level: jaxloss.quantile_loss(p, t, quantile=level))
    chex.assert_trees_all_equal(by_level(jnp.float32(0.25)), t - p)
    gradient = jax.grad(lambda p: jaxloss.quantile_loss(p, t, quantile=0.25).sum())(p)
    chex.assert_trees_all_equal(gradient, f32(-0.25, 0.25, 0.75))


@pytest.mark.parametrize("option", ["delta", "smoothing"])
def test_a_quantile_loss_rounded_off_by_nothing(option):
    """A number 0 is no option at all; an array of zeros has the same values."""
    p, t = f32(1, 2, 3, 1e30), f32(4, 2, 1, -1e30)

    def loss(p, **options):
        return jaxloss.quantile_loss(p, t, quantile=0.25, **options)

    plain = str(jax.make_jaxpr(loss)(p))
    assert str(jax.make_jaxpr(lambda p: loss(p, **{option: 0.0}))(p)) == plain
    slope = jax.grad(lambda p, **options: jnp.sum(loss(p, **options)))
    for zeros in (jnp.float32(0), jnp.zeros(1), jnp.zeros(4)):
        chex.assert_trees_all_equal(loss(p, **{option: zeros}), loss(p))
        # The mean of both sides at a perfect fit, where the quadratic one has 0.
        kept = np.asarray([True, option == "smoothing", True, True])
        actual, expected = slope(p, **{option: zeros}), slope(p)
        chex.assert_trees_all_equal(actual[kept], expected[kept])
        assert np.isfinite(actual).all()


def test_one_rounds_a_quantile_loss_off_from_below_and_one_from_above():
    e, zero = jnp.linspace(-3, 3, 61), jnp.zeros(61)
    loss = functools.partial(jaxloss.quantile_loss, e, zero, quantile=0.7)
    assert (loss(delta=0.5) <= loss()).all()
    excess = np.asarray(loss(smoothing=0.5) - loss())
    assert (excess > 0).all() and excess.argmax() == 30
    close(excess[30], 0.5 * np.log(2), 1e-15)


def test_a_smooth_quantile_loss_far_from_its_kink_is_the_sharp_one():
    """Whatever the smoothing: quotients of the two may be beyond all floats."""
    e = f32(1e30, -1e30, 1e-30, -1e-30, 0)
    x = np.asarray(e, np.float64)

    def loss(p, smoothing):
        return jaxloss.quantile_loss(
            p, jnp.zeros_like(p), quantile=0.25, smoothing=smoothing
        )

    slope = jax.grad(lambda p, smoothing: jnp.sum(loss(p, smoothing)))
    for smoothing in (1e-36, 1e-20, 1e20, 1e30):
        beta = jnp.float32(smoothing)
        bump = smoothing * np.log1p(np.exp(-np.abs(x) / smoothing))
        close(loss(e, beta), np.maximum(-0.25 * x, 0.75 * x) + bump, 5e-7)
        p = special.expit(x / smoothing)
        # At -1e30 / 1e30 it is 0.27 - 0.25, of which 0.27 is rounded.
        close(slope(e, beta), p - 0.25, 2e-6)
        _, curvature = jax.jvp(lambda p, b=beta: slope(p, b), (e,), (jnp.ones_like(e),))
        close(curvature, p * special.expit(-x / smoothing) / smoothing, 1e-6)


def test_a_smooth_quantile_loss_of_an_infinite_residual_has_its_limits():
    def loss(p):
        return jaxloss.quantile_loss(p, f32(0, 0), quantile=0.25, smoothing=0.5)

    infinite = f32(np.inf, -np.inf)
    close(loss(infinite), [np.inf, np.inf])
    close(jax.grad(lambda p: jnp.sum(loss(p)))(infinite), [0.75, -0.25])


def test_derivatives_of_a_smooth_quantile_loss_by_its_options():
    e, zero = jnp.asarray([-40.0, -0.3, 0, 0.5, 7]), jnp.zeros(5)

    def loss(level, smoothing):
        return jaxloss.quantile_loss(
            e, zero, quantile=level, smoothing=smoothing, reduction="sum"
        )

    by_level, by_smoothing = jax.grad(loss, (0, 1))(0.25, 0.5)
    p = special.expit(np.asarray(e) / 0.5)
    close(by_level, -np.sum(e), 1e-14)
    close(by_smoothing, np.sum(special.entr(p) + special.entr(1 - p)), 1e-13)
    check_grads(loss, (0.25, 0.5), order=2)


def test_levels_and_smoothings_of_their_own():
    p, t = jnp.zeros((2, 3)), jnp.ones((2, 3))
    levels = jnp.asarray([[0.125, 0.5, 0.75]])
    smoothings = jnp.asarray([[0.5], [2.0]])
    both = jaxloss.quantile_loss(p, t, quantile=levels, smoothing=smoothings)
    close(both, levels + smoothings * np.log1p(np.exp(-1 / smoothings)), 1e-14)


def test_a_kink_is_rounded_off_in_one_way():
    with pytest.raises(ValueError, match="`smoothing` must be left out where `delta`"):
        jaxloss.quantile_loss(f32(1), f32(2), delta=0.5, smoothing=0.5)


def test_quantile_levels_run_along_an_axis():
    p, t = jnp.zeros((2, 3)), jnp.ones((2, 3))
    levels = f32(0.125, 0.5, 0.75).reshape(1, 3)
    chex.assert_trees_all_equal(
        jaxloss.quantile_loss(p, t, quantile=levels),
        jnp.broadcast_to(levels, (2, 3)),
    )
    with pytest.raises(ValueError, match="fits the losses"):
        jaxloss.quantile_loss(p, t, quantile=levels[0])


def test_epsilon_insensitive_power_is_one_or_two():
    with pytest.raises(ValueError, match="`power` must be one of 1, 2"):
        jaxloss.epsilon_insensitive_loss(f32(1), f32(2), power=3)


# ------------------------------------------------------------------ relative


def test_log_error_does_not_cancel():
    t = f32(1e-8, 1.0, 1e6)
    p = t * (1 + f32(2.0**-20))
    exact = np.log1p(np.asarray(p, np.float64)) - np.log1p(np.asarray(t, np.float64))
    close(jaxloss.squared_log_error(p, t), exact**2, 1e-6)


def test_log_error_edges():
    p, t = f32(-1, -1.5, 0, np.inf), f32(0, 0, -1, 1)
    expected = [np.inf, np.nan, np.inf, np.inf]
    close(jaxloss.squared_log_error(p, t), expected)


def test_relative_errors_are_scikit_learn_s():
    rng = np.random.default_rng(0)
    y, p = rng.lognormal(size=(2, 50))
    arrays = jnp.asarray(p), jnp.asarray(y)
    close(
        jaxloss.squared_log_error(*arrays, reduction="mean"),
        sklearn.metrics.mean_squared_log_error(y, p),
        1e-12,
    )
    close(
        jaxloss.absolute_percentage_error(*arrays, reduction="mean"),
        100 * sklearn.metrics.mean_absolute_percentage_error(y, p),
        1e-12,
    )


def test_percentages_of_nothing():
    p, t = f32(0, 1), f32(0, 0)
    close(jaxloss.absolute_percentage_error(p, t), [0, np.inf])
    close(jaxloss.absolute_percentage_error(p, t, epsilon=0.5), [0, 200])
    close(jaxloss.symmetric_absolute_percentage_error(p, t), [0, 200])
    for loss in (
        functools.partial(jaxloss.absolute_percentage_error, epsilon=0.5),
        jaxloss.symmetric_absolute_percentage_error,
    ):
        gradient = jax.grad(lambda p, loss=loss: loss(p, t).sum())(p)
        assert gradient[0] == 0 and np.isfinite(gradient).all()


def test_opposite_signs_are_200_percent_and_flat():
    p, t = f32(0.3, -1e-3, 5e20), f32(-7, 1e6, -1e-3)
    loss, gradient = jax.jit(
        lambda p: (
            jaxloss.symmetric_absolute_percentage_error(p, t),
            jax.grad(lambda p: jaxloss.symmetric_absolute_percentage_error(p, t).sum())(
                p
            ),
        )
    )(p)
    chex.assert_trees_all_equal(loss, f32(200, 200, 200))
    chex.assert_trees_all_equal(gradient, jnp.zeros(3))


def test_symlog_is_smooth_at_zero():
    by_target = jax.grad(lambda t: jaxloss.symlog_squared_error(f32(1), t).sum())
    chex.assert_trees_all_equal(by_target(f32(0)), f32(-2))

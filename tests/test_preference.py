"""Preferences: variants at their limits, identities, and the fused head."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss._core.preference import VARIANTS

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

REFERENCE = ("reference_chosen_log_probs", "reference_rejected_log_probs")
PAIRED = ("hinge", "ipo", "robust", "sigmoid", "exo", "discopop")
"""Variants that see the margin only."""


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=atol
    )


def dpo(chosen, rejected, of_chosen, of_rejected, **options):
    reference = dict(zip(REFERENCE, (of_chosen, of_rejected), strict=True))
    return jaxloss.dpo_loss(chosen, rejected, **reference, **options)


def of_margin(h, **options):
    """The loss where only the chosen answer differs from the reference, by h."""
    zero = jnp.zeros_like(h)
    return dpo(h, zero, zero, zero, **options)


def smoothing(variant):
    return {"label_smoothing": 0.125} if variant == "exo" else {}


# ------------------------------------------------------------------ DPO


def test_long_answers_lose_nothing():
    """Log-ratios of answers of thousands of tokens, summed to the last place."""
    arrays = f32(-8000.125), f32(-8000.0625), f32(-3000.3), f32(-3000.2378)
    chosen, rejected, of_chosen, of_rejected = (
        np.asarray(x, np.float64) for x in arrays
    )
    margin = (chosen - of_chosen) - (rejected - of_rejected)
    rounded = (arrays[0] - arrays[2]) - (arrays[1] - arrays[3])
    assert abs(np.asarray(rounded, np.float64) / margin - 1) > 0.01
    close(dpo(*arrays, variant="ipo", beta=1e8), (margin - 5e-9) ** 2, 2e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_margins_of_any_size_are_no_nan(variant):
    """DiscoPOP's e^-d times a sigmoid, written out, is NaN from d = -90 on."""
    h = f32(-3e4, -900, -90, 90, 900, 3e4)
    options = {"variant": variant, "beta": 1.0, **smoothing(variant)}
    loss = functools.partial(of_margin, **options)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss)))(h)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_discopop_far_below_is_the_logistic_loss():
    d = f32(-900, -90, -20)
    value = of_margin(d, variant="discopop", beta=1.0)
    close(value, -np.asarray(d, np.float64))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_reference_has_no_gradient(variant):
    pair = f32(-3.0), f32(-4.0), f32(-3.5), f32(-3.0)
    loss = functools.partial(dpo, variant=variant, **smoothing(variant))
    grads = jax.jit(jax.grad(lambda *x: jnp.sum(loss(*x)), (0, 1, 2, 3)))(*pair)
    assert [bool(jnp.any(g != 0)) for g in grads] == [True, True, False, False]


@pytest.mark.parametrize("variant", PAIRED)
def test_a_margin_s_loss_pulls_both_answers_alike(variant):
    pair = f32(-3.0), f32(-4.0), f32(-3.5), f32(-3.0)
    loss = functools.partial(dpo, variant=variant, **smoothing(variant))
    grads = jax.jit(jax.grad(lambda *x: jnp.sum(loss(*x)), (0, 1)))
    chosen, rejected = grads(*pair)
    close(chosen, -np.asarray(rejected, np.float64))
    assert float(chosen[0]) < 0


def test_smoothing_of_nothing_is_the_plain_loss():
    h = f32(-40, -1, 0, 1, 40)
    plain = of_margin(h)
    for variant in ("sigmoid", "robust"):
        close(of_margin(h, variant=variant, label_smoothing=jnp.float32(0)), plain)
        close(of_margin(h, variant=variant), plain)


def test_smoothing_by_half_is_indifferent():
    """At ε = 1/2 the smoothed loss is even in the margin."""
    h = f32(0.5, 3, 60)
    even = functools.partial(of_margin, label_smoothing=0.5)
    close(even(h), np.asarray(even(-h), np.float64))


def test_exo_is_zero_where_the_odds_are_those_of_the_smoothing():
    odds = np.log(0.875 / 0.125)
    h = jnp.asarray([odds, odds + 1e-3, odds - 1e-3], jnp.float32)
    loss = functools.partial(of_margin, variant="exo", label_smoothing=0.125, beta=1.0)
    value = np.asarray(jax.jit(loss)(h))
    assert value[0] < 1e-14 and (value >= 0).all()
    # Half the variance of the coin times the squared distance.
    distance = np.asarray(h, np.float64)[1:] - odds
    close(value[1:], 0.5 * 0.875 * 0.125 * distance**2, 2e-3)


def test_by_the_smoothing():
    """Derivatives by a traced ε are those of the formula."""
    h = f32(-2.0, 0.3, 5.0)
    step = 1e-6
    for variant in ("sigmoid", "robust", "exo"):

        @jax.jit
        def loss(epsilon, variant=variant):
            h64 = jnp.asarray(h, jnp.float64)
            return of_margin(h64, variant=variant, label_smoothing=epsilon, beta=1.0)

        at = jnp.float64(0.25)
        derivative = jax.jit(jax.jacfwd(loss))(at)
        close(derivative, (loss(at + step) - loss(at - step)) / (2 * step), 1e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"label_smoothing": 0.1, "variant": "hinge"}, "label_smoothing"),
        ({"label_smoothing": 0.5, "variant": "robust"}, "label_smoothing"),
        ({"variant": "exo"}, "label_smoothing"),
        ({"reward_shift": 0.1}, "reward_shift"),
        ({"beta": 0.0}, "beta"),
        ({"variant": "exo_pair"}, "variant"),
    ],
)
def test_what_a_variant_does_not_take_is_refused(options, text):
    with pytest.raises(ValueError, match=f"jaxloss.dpo_loss: `{text}`"):
        of_margin(f32(1.0), **options)


def test_a_traced_option_that_is_not_taken_is_nan():
    loss = jax.jit(lambda e: of_margin(f32(1.0), variant="hinge", label_smoothing=e))
    assert np.isnan(loss(jnp.float32(0.1))).all()
    close(loss(jnp.float32(0)), 0.9)


def test_masked_hyperparameters_may_be_anything():
    beta = f32(0.1, np.nan)
    where = jnp.asarray([True, False])

    def loss(h, beta):
        return of_margin(h, beta=beta, where=where, reduction="sum")

    by_h, by_beta = jax.grad(loss, (0, 1))(f32(1, 2), beta)
    assert np.isfinite(by_h).all() and np.isfinite(by_beta).all()
    assert by_h[1] == by_beta[1] == 0


def test_rewards():
    arrays = f32(-3, -3, -3), f32(-4, -2, -3), f32(-3.5, -3, -3), f32(-3, -3, -3)
    reference = dict(zip(REFERENCE, arrays[2:], strict=True))
    rewards = jaxloss.preference_rewards(*arrays[:2], **reference, beta=0.5)
    close(rewards.chosen, [0.25, 0, 0])
    close(rewards.rejected, [-0.5, 0.5, 0])
    close(rewards.margin, [0.75, -0.5, 0])
    close(rewards.accuracy, [1, 0, 0.5])
    mean = jaxloss.metrics.mean(
        rewards.accuracy, where=jnp.asarray([True, True, False])
    )
    close(mean.value, 0.5)


# ------------------------------------------------------------------ without reference


def test_cpo_is_dpo_of_an_even_reference_and_a_likelihood():
    chosen, rejected = f32(-3, -40, -7.5), f32(-4, -30, -7.25)
    zero = jnp.zeros_like(chosen)
    plain = jaxloss.cpo_loss(chosen, rejected, nll_weight=0.0)
    close(plain, dpo(chosen, rejected, zero, zero))
    whole = jaxloss.cpo_loss(chosen, rejected, nll_weight=0.5, chosen_nll=f32(1, 2, 3))
    close(whole, np.asarray(plain, np.float64) + np.array([0.5, 1, 1.5]))


def test_simpo_with_trl_s_numbers():
    """-log σ(β (a - b - γ / β)) is the same number."""
    a, b = f32(-0.25, -2), f32(-1, -0.5)
    beta, ratio = 0.1, 0.5 / 0.1
    d = beta * (np.asarray(a, np.float64) - np.asarray(b) - ratio)
    close(jaxloss.simpo_loss(a, b, beta=beta, margin=0.5), np.log1p(np.exp(-d)))


def test_orpo_of_an_answer_that_is_almost_certain():
    """log1p(-exp(log p)) is -inf for log p above -6e-8."""
    certain, other = f32(-1e-8, -1e-30), f32(-1.0, -2.0)
    value, (by_certain, by_other) = jax.value_and_grad(
        lambda a, b: jnp.sum(jaxloss.orpo_loss(a, b, beta=1.0)), (0, 1)
    )(other, certain)
    p, q = np.exp(np.asarray(other, np.float64)), np.asarray(certain, np.float64)
    odds = np.log(p / (1 - p)) - np.log(-1 / q)
    close(value, np.sum(-np.log(p) + np.log1p(np.exp(-odds))))
    close(by_certain, -1 - 1 / (1 - p))
    close(by_other, -1 / q)


def test_orpo_above_certainty_is_nan():
    value, gradient = jax.vmap(jax.value_and_grad(jaxloss.orpo_loss))(
        f32(0.5, -1), f32(-1, -1)
    )
    np.testing.assert_array_equal(np.isnan(value), [True, False])
    np.testing.assert_array_equal(np.isnan(gradient), [True, False])
    # Both: the ratio of two negative numbers is positive.
    assert np.isnan(jaxloss.orpo_loss(f32(0.5), f32(0.25))).all()


# ------------------------------------------------------------------ KTO


def kto(x, label, **options):
    return jaxloss.kto_loss(x, label, reference_log_probs=jnp.zeros_like(x), **options)


def test_kto_is_a_loss_for_each_answer():
    """Not for each pair of answers, as a shape of (B, 1) would make it."""
    x, label = f32(1, -2, 3), jnp.asarray([1, 0, 0])
    assert kto(x, label).shape == (3,)
    with pytest.raises(ValueError, match="`labels` must be of the shape"):
        kto(x, label[:, None])


def test_kto_reference_point_has_no_gradient_and_is_not_negative():
    policy, reference = f32(-3, -4, np.nan), f32(-4, -3.5, 0)
    where = jnp.asarray([True, True, False])
    point = functools.partial(jaxloss.kto_reference_point, where=where)
    close(point(policy, reference), 0.25)
    assert point(reference.at[2].set(0), policy) == 0
    assert (np.asarray(jax.grad(point)(policy, reference)) == 0).all()
    by_point = jax.grad(lambda z: kto(f32(1.0), jnp.ones(1), kl=z)[0])
    assert by_point(jnp.float32(0.5)) == 0
    assert point(policy, reference, where=jnp.zeros(3, bool)) == 0
    assert np.isnan(jaxloss.kto_reference_point(policy, reference))


def test_kto_reference_point_of_a_spread_batch():
    policy, reference = f32(-3, -4, -5, -1), f32(-4, -3.5, -7, -1)
    where = jnp.asarray([True, True, True, False])
    whole = jaxloss.kto_reference_point(policy, reference, where=where)

    def part(policy, reference, where):
        return jaxloss.kto_reference_point(
            policy, reference, where=where, axis_name="devices"
        )

    parts = [x.reshape(2, 2) for x in (policy, reference, where)]
    close(jax.vmap(part, axis_name="devices")(*parts), [whole] * 2)


def test_kto_labels_are_loud():
    x = f32(1, 1, 1)
    label = f32(2, -1, np.nan)
    value, gradient = jax.vmap(jax.value_and_grad(kto))(x, label)
    assert np.isnan(value).all() and np.isnan(gradient).all()


def test_kto_by_hand():
    x, label = f32(2, 2, -300), jnp.asarray([True, False, True])
    value = kto(x, label, kl=1.0, beta=0.5, desirable_weight=2.0)
    s = 1 / (1 + np.exp(-0.5))
    close(value, [2 * (1 - s), s, 2])


# ------------------------------------------------------------------ reward models


def test_reward_offsets_cancel():
    w, r = f32(1, 2, -3), f32(0.5, 3, -3)
    loss = jaxloss.reward_model_loss(w + 2.0**20, r + 2.0**20, margin=0.25)
    close(loss, np.asarray(jaxloss.reward_model_loss(w, r, margin=0.25), np.float64))


# ------------------------------------------------------------------ the fused head

B, T, D, V = 3, 4, 5, 7


@pytest.mark.parametrize("variant", ["sigmoid", "ipo"])
def test_dpo_on_the_fused_head_is_dpo_on_logits(variant):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(2, B, T, D)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(D, V)), jnp.float32)
    tokens = jnp.asarray(rng.integers(V, size=(2, B, T)))
    where = jnp.asarray(rng.uniform(size=(2, B, T)) < 0.7).at[..., 0].set(True)
    reference = jnp.asarray(-rng.uniform(3, 9, size=(2, B)), jnp.float32)
    average = variant == "ipo"

    def fused(hidden, kernel):
        token = jaxloss.linear_log_probs(hidden, kernel, tokens, where=where)
        total = jnp.sum(token, axis=-1)
        if average:
            total = total / jnp.sum(where, axis=-1, dtype=jnp.float32)
        return jnp.sum(dpo(*total, *reference, variant=variant))

    def plain(hidden, kernel):
        logits = jnp.matmul(hidden, kernel, precision="highest")
        total = jaxloss.sequence_log_probs(logits, tokens, where=where, average=average)
        return jnp.sum(dpo(*total, *reference, variant=variant))

    actual, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1)))(hidden, kernel) for f in (fused, plain)
    )
    close(actual[0], expected[0], 1e-6)
    for a, e in zip(actual[1], expected[1], strict=True):
        assert np.abs(e).max() > 1e-3
        close(a, e, 1e-5, atol=1e-6)

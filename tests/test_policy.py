"""Policies: clipping at its limits, what is held fixed, averages, the fused head."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=atol
    )


def value_and_slope(loss, x, *arrays):
    """The loss of each entry, and its derivative by the first argument."""
    return jax.jit(jax.vmap(jax.value_and_grad(loss)))(x, *arrays)


# ------------------------------------------------------------------ PPO


def ppo(x, advantage, **options):
    """With log-ratio x."""
    old = jnp.zeros_like(x)
    return jaxloss.ppo_loss(x, advantage, old_log_probs=old, **options)


def test_clipping_by_hand():
    x = jnp.log(f32(2, 2, 0.5, 0.5, 1, 1.1))
    advantage = f32(1, -1, 1, -1, 3, -2)
    value, slope = value_and_slope(ppo, x, advantage)
    close(value, [-1.2, 2, -0.5, 0.8, -3, 2.2])
    # Only what would still gain is clipped.
    close(slope, [0, 2, -0.5, 0, -3, 2.2])


def test_a_ratio_that_overflows_is_clipped():
    x, advantage = f32(1000, 1000, -1000, -1000, 1000), f32(1, 0, -1, 0, -1)
    value, slope = value_and_slope(ppo, x, advantage)
    close(value, [-1.2, 0, 0.8, 0, np.inf])
    close(slope, [0, 0, 0, 0, np.inf])
    value, slope = value_and_slope(functools.partial(ppo, dual_clip=3.0), x, advantage)
    close(value, [-1.2, 0, 0.8, 0, 3])
    close(slope, [0, 0, 0, 0, 0])


def test_what_is_not_worth_anything_still_shows_a_nan():
    value, slope = value_and_slope(ppo, f32(np.nan, 0), f32(0, np.nan))
    assert np.isnan(value).all() and np.isnan(slope).all()


def test_without_old_log_probs_it_is_reinforce():
    x, advantage = f32(-1, -2, -0.1), f32(1, -2, 0.5)
    value, slope = value_and_slope(jaxloss.ppo_loss, x, advantage)
    close(value, -np.asarray(advantage))
    close(slope, -np.asarray(advantage))


def test_bounds_have_derivatives():
    x, advantage = jnp.log(f32(2, 0.5, 9, 1)), f32(3, -2, -1, 5)

    def loss(low, high, cap):
        return jnp.sum(ppo(x, advantage, clip_low=low, clip_high=high, dual_clip=cap))

    close(jax.grad(loss, (0, 1, 2))(f32(0.2)[0], f32(0.2)[0], f32(3)[0]), [-2, -3, 1])


def test_nothing_reaches_the_policy_that_acted_nor_the_advantages():
    arrays = f32(-1, -2), f32(1, -1), f32(-1.1, -2.1)

    def total(loss, new, advantage, old):
        return jnp.sum(loss(new, advantage, old_log_probs=old))

    for loss in (jaxloss.ppo_loss, jaxloss.cispo_loss, jaxloss.sapo_loss):
        grads = jax.grad(functools.partial(total, loss), (0, 1, 2))(*arrays)
        assert [bool(jnp.any(g != 0)) for g in grads] == [True, False, False]


# ------------------------------------------------------------------ CISPO


def test_cispo_has_the_gradient_of_a_weighted_reinforce():
    ratio, advantage = np.array([0.1, 0.5, 2, 20]), np.array([1.0, -1, 2, 3])
    x = jnp.asarray(np.log(ratio), jnp.float32)
    loss = functools.partial(
        lambda x, a: jaxloss.cispo_loss(
            *(x, a), old_log_probs=jnp.zeros_like(x), min_ratio=0.25, max_ratio=4.0
        )
    )
    value, slope = value_and_slope(loss, x, jnp.asarray(advantage, jnp.float32))
    weight = np.clip(ratio, 0.25, 4) * advantage
    close(slope, -weight)
    close(value, -weight * np.log(ratio))


def test_cispo_of_a_ratio_that_overflows_or_is_nan():
    def loss(x, old):
        return jaxloss.cispo_loss(x, jnp.ones_like(x), old_log_probs=old)

    value, slope = value_and_slope(loss, f32(-1, -1), f32(-500, np.nan))
    close(value, [5, np.nan])
    close(slope, [-5, np.nan])


# ------------------------------------------------------------------ SAPO


def test_the_gate_of_a_ratio_that_overflows_is_closed():
    def loss(x, a):
        return jaxloss.sapo_loss(x, a, old_log_probs=jnp.zeros_like(x))

    x, advantage = f32(1000, 90, 1000, -1000, 0), f32(1, -1, 0, 1, 3)
    value, slope = value_and_slope(loss, x, advantage)
    close(value, [-4, 4 / 1.05, 0, -4 / (1 + np.e), -6])
    close(slope, [0, 0, 0, 0, -3])
    curvature = jax.jit(jax.vmap(jax.hessian(loss)))(x, advantage)
    assert np.isfinite(curvature).all()


def test_temperatures_have_derivatives():
    x, advantage = jnp.asarray([0.7, -0.4]), jnp.asarray([2.0, -3.0])

    def loss(*tau):
        names = ("positive_temperature", "negative_temperature")
        return jnp.sum(
            jaxloss.sapo_loss(
                *(x, advantage),
                old_log_probs=jnp.zeros(2),
                **dict(zip(names, tau, strict=True)),
            )
        )

    at, step = (jnp.float64(0.8), jnp.float64(1.3)), 1e-6
    for i, derivative in enumerate(jax.grad(loss, (0, 1))(*at)):
        ends = (
            loss(*(t + by * (j == i) for j, t in enumerate(at))) for by in (step, -step)
        )
        up, down = ends
        close(derivative, (up - down) / (2 * step), 1e-7)


# ------------------------------------------------------------------ values


@pytest.mark.parametrize("place", range(3))
def test_value_clipping_hides_no_nan(place):
    def loss(values, returns, old_values):
        return jaxloss.value_clip_loss(values, returns, old_values=old_values)

    arrays = [f32(1.0, 1.0), f32(2.0, 0.5), f32(0.9, 0.0)]
    arrays[place] = arrays[place].at[1].set(np.nan)
    value, slope = value_and_slope(loss, *arrays)
    assert (np.isnan(value) == [False, True]).all()
    assert (np.isnan(slope) == [False, True]).all()


def test_value_clipping_by_hand():
    old = jnp.zeros(4)
    values, returns = f32(0.1, 0.5, 0.5, -0.5), f32(1, 1, 0, -0.25)
    loss = functools.partial(
        lambda v, r, o: jaxloss.value_clip_loss(v, r, old_values=o)
    )
    value, slope = value_and_slope(loss, values, returns, old.astype(jnp.float32))
    close(value, [0.405, 0.32, 0.125, 0.5 * 0.25**2])
    close(slope, [-0.9, 0, 0.5, -0.25])


def test_an_infinite_bound_clips_no_value():
    values, returns, old = f32(0, 5, -3), f32(1, 1, 1), f32(0, 0, 0)
    loss = functools.partial(jaxloss.value_clip_loss, clip=np.inf)
    close(loss(values, returns, old_values=old), jaxloss.l2_loss(values, returns))


# ------------------------------------------------------------------ divergences


def test_estimates_near_0_and_at_the_ends():
    r = np.array([1e-6, -1e-6, 1e-3, 80, -1e4, 1e4])
    x = jnp.asarray(-r, jnp.float32)
    value, slope = value_and_slope(
        jaxloss.kl_estimate, x, jnp.zeros_like(x, jnp.float32)
    )
    exact = -np.asarray(x, np.float64)
    with np.errstate(over="ignore"):
        series = exact**2 / 2 * (1 + exact / 3 + exact**2 / 12)
        k3 = np.where(np.abs(exact) < 0.1, series, np.expm1(exact) - exact)
        k3 = np.where(exact > 100, np.inf, k3)
        close(value, k3, 1e-5)
        close(slope, np.where(exact > 100, -np.inf, -np.expm1(exact)), 1e-5)


def test_estimators_agree_with_the_divergence_on_average():
    """Over all actions of a policy, weighted with its probabilities."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, 6)), jnp.float64)
    log_p, log_q = jax.nn.log_softmax(logits)
    p = np.exp(log_p)
    kl = np.sum(p * (log_p - log_q))
    for estimator in ("k1", "k3"):
        k = jaxloss.kl_estimate(log_p, log_q, estimator=estimator)
        close(np.sum(p * k), kl, 1e-12)

    def gradient(estimator):
        """The mean gradient of the estimator as a loss on samples of the policy."""

        def loss(logits):
            log_p = jax.nn.log_softmax(logits)
            return jnp.sum(p * jaxloss.kl_estimate(log_p, log_q, estimator=estimator))

        return jax.jit(jax.grad(loss))(logits[0])

    def divergence(logits):
        log_p = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q))

    def forward(logits):
        return -jnp.sum(jnp.exp(log_q) * jax.nn.log_softmax(logits))

    # What the docstring says of each.
    close(gradient("k1"), 0, atol=1e-12)
    close(gradient("k2"), jax.grad(divergence)(logits[0]), 1e-9, 1e-12)
    close(gradient("k3"), jax.grad(forward)(logits[0]), 1e-9, 1e-12)


# ------------------------------------------------------------------ answers

B, T = 4, 5


def answers(seed=0):
    rng = np.random.default_rng(seed)
    new, old, reference = -rng.exponential(size=(3, B, T))
    where = np.arange(T) < np.array([5, 3, 1, 0])[:, None]
    arrays = (new, rng.normal(size=B), old, reference)
    return [jnp.asarray(x, jnp.float32) for x in arrays], jnp.asarray(where)


def grpo(new, advantage, old, reference, **options):
    return jaxloss.grpo_loss(
        *(new, advantage),
        old_log_probs=old,
        reference_log_probs=reference,
        **options,
    )


def by_numpy(losses, where, aggregation, length=T):
    """The formulas of the papers, on the answers that have a token."""
    rows = [row[keep] for row, keep in zip(losses, where, strict=True) if keep.any()]
    everything = np.concatenate(rows)
    return {
        "token": everything.mean(),
        "dapo": everything.mean(),
        "bnpo": everything.mean(),
        "sequence": np.mean([row.mean() for row in rows]),
        "grpo": np.mean([row.mean() for row in rows]),
        "dr_grpo": everything.sum() / (len(rows) * length),
        "luspo": everything.sum() / len(rows),
    }[aggregation]


AGGREGATIONS = ["token", "dapo", "bnpo", "sequence", "grpo", "dr_grpo", "luspo"]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_averages_of_tokens(aggregation):
    arrays, where = answers()
    losses = grpo(*arrays)
    expected = by_numpy(np.asarray(losses, np.float64), np.asarray(where), aggregation)
    close(grpo(*arrays, where=where, aggregation=aggregation), expected)
    spoiled = jnp.where(where, losses, jnp.nan)
    average = functools.partial(
        jaxloss.aggregate_tokens, aggregation=aggregation, where=where
    )
    value, gradient = jax.jit(jax.value_and_grad(average))(spoiled)
    close(value, expected)
    assert (np.asarray(gradient)[~np.asarray(where)] == 0).all()
    # An average is linear: the gradient is its weights.
    close(jnp.sum(jnp.where(where, losses * gradient, 0)), expected)


def test_dr_grpo_divides_by_a_constant():
    arrays, where = answers()
    average = functools.partial(grpo, *arrays, where=where, aggregation="dr_grpo")
    close(average(max_length=100), np.float64(average()) * T / 100)
    with pytest.raises(ValueError, match="`max_length`"):
        average(max_length=0)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_nothing_kept_is_0(aggregation):
    arrays, _ = answers()
    nothing = jnp.zeros((B, T), bool)

    def loss(new):
        return grpo(new, *arrays[1:], where=nothing, aggregation=aggregation)

    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(loss)(arrays[0])
    assert value == 0 and (np.asarray(gradient) == 0).all()


def test_a_mask_of_answers_is_one_of_their_tokens():
    arrays, _ = answers()
    keep = jnp.asarray([True, False, True, True])
    tokens = jnp.broadcast_to(keep[:, None], (B, T))
    for options in ({}, {"aggregation": "dapo"}, {"importance": "sequence"}):
        close(
            grpo(*arrays, where=keep, **options), grpo(*arrays, where=tokens, **options)
        )


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_answers_spread_over_devices(aggregation):
    arrays, where = answers()

    def mean(*arrays):
        *arrays, where = arrays
        return grpo(*arrays, where=where, aggregation=aggregation, axis_name="d")

    parts = [x.reshape(2, B // 2, *x.shape[1:]) for x in (*arrays, where)]
    spread = jax.jit(jax.vmap(mean, axis_name="d"))(*parts)
    losses = np.asarray(grpo(*arrays), np.float64)
    expected = by_numpy(losses, np.asarray(where), aggregation)
    if aggregation == "bnpo":
        halves = (slice(0, 2), slice(2, 4))
        expected = np.mean(
            [by_numpy(losses[h], np.asarray(where)[h], "token") for h in halves]
        )
    close(spread, [expected] * 2)


def test_under_shard_map():
    arrays, where = answers()
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    loss = functools.partial(grpo, aggregation="dapo", axis_name="d")

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P("d"), out_specs=P())
    def mean(*arrays):
        return loss(*arrays[:-1], where=arrays[-1])

    close(jax.jit(mean)(*arrays, where), grpo(*arrays, where=where, aggregation="dapo"))


def test_grpo_holds_all_but_the_policy_fixed():
    arrays, where = answers()
    grads = jax.grad(
        lambda *x: grpo(*x, where=where, aggregation="token"), (0, 1, 2, 3)
    )(*arrays)
    assert [bool(jnp.any(g != 0)) for g in grads] == [True, False, False, False]


def test_grpo_of_tokens_is_ppo_and_a_divergence():
    (new, advantage, old, reference), _ = answers()
    per_token = jnp.broadcast_to(advantage[:, None], (B, T))
    expected = jaxloss.ppo_loss(new, per_token, old_log_probs=old)
    close(jaxloss.grpo_loss(new, advantage, old_log_probs=old), expected)
    close(jaxloss.grpo_loss(new, per_token, old_log_probs=old), expected)
    for estimator in ("k1", "k2", "k3"):
        k = jaxloss.kl_estimate(new, reference, estimator=estimator)
        actual = grpo(new, advantage, old, reference, kl_estimator=estimator, beta=0.5)
        close(actual, np.asarray(expected + 0.5 * k, np.float64), 1e-5)


def test_gspo_is_ppo_of_the_sequence_s_ratio():
    (new, advantage, old, _), where = answers()

    def gspo(new):
        return jaxloss.grpo_loss(
            *(new, advantage),
            old_log_probs=old,
            importance="sequence",
            aggregation="sequence",
            where=where,
        )

    def ppo(new):
        ratio = jaxloss.sequence_log_ratio(new, old, where=where)
        return jaxloss.ppo_loss(
            *(ratio, advantage),
            old_log_probs=jnp.zeros_like(ratio),
            where=jnp.any(where, axis=-1),
            reduction="mean",
        )

    actual, expected = (jax.jit(jax.value_and_grad(f))(new) for f in (gspo, ppo))
    close(actual[0], expected[0])
    close(actual[1], expected[1], atol=1e-8)
    assert np.abs(actual[1]).max() > 0.01
    # The mean is over the tokens kept.
    difference, keep = np.asarray(new - old, np.float64), np.asarray(where)
    means = [
        d[k].mean() if k.any() else 0 for d, k in zip(difference, keep, strict=True)
    ]
    ratio = functools.partial(jaxloss.sequence_log_ratio, new, old)
    close(ratio(where=where), means)
    close(ratio(), difference.mean(-1))
    close(ratio(where=where[:, 0]), np.where(keep[:, 0], difference.mean(-1), 0))


def test_ranks_are_read_exactly():
    (new, advantage, old, _), _ = answers()
    for bad in (advantage[:, None], advantage[:2], advantage[None]):
        with pytest.raises(ValueError, match="`advantages`"):
            jaxloss.grpo_loss(new, bad, old_log_probs=old)
    with pytest.raises(ValueError, match="`old_log_probs`"):
        jaxloss.grpo_loss(new, advantage, old_log_probs=old[:, :1])
    with pytest.raises(ValueError, match="`aggregation` must be one of"):
        jaxloss.grpo_loss(new, advantage, aggregation="mean")


# ------------------------------------------------------------------ sequences


def test_sequence_log_probs_by_hand():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
    tokens = np.array([[0, 1, 3], [2, -100, 1]])
    log_p = np.asarray(jax.nn.log_softmax(logits.astype(jnp.float64)))
    rows = [log_p[0, range(3), tokens[0]], log_p[1, [0, 2], [2, 1]]]
    ours = jax.jit(
        functools.partial(jaxloss.sequence_log_probs, logits, jnp.asarray(tokens)),
        static_argnames=("average", "ignore_index"),
    )
    close(ours(ignore_index=-100), [row.sum() for row in rows])
    close(ours(ignore_index=-100, average=True), [row.mean() for row in rows])
    keep = jnp.asarray([[False, True, False], [True, False, False]])
    close(ours(where=keep), [rows[0][1], rows[1][0]])
    close(ours(where=jnp.asarray([True, False])), [rows[0].sum(), 0])
    # A token that does not exist and is not ignored is loud.
    value, gradient = jax.jit(
        jax.value_and_grad(
            lambda x: jnp.sum(jaxloss.sequence_log_probs(x, jnp.asarray(tokens)))
        )
    )(logits)
    assert np.isnan(value) and np.isnan(gradient[1, 1]).all()


D, V = 6, 9


@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_grpo_on_the_fused_head_is_grpo_on_logits(importance):
    rng = np.random.default_rng(0)
    (_, advantage, old, reference), where = answers()
    hidden = jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)
    kernel = jnp.asarray(0.5 * rng.normal(size=(D, V)), jnp.float32)
    tokens = jnp.asarray(rng.integers(V, size=(B, T)))
    loss = functools.partial(
        grpo, where=where, importance=importance, aggregation="dapo"
    )

    def fused(hidden, kernel):
        log_probs = jaxloss.linear_log_probs(hidden, kernel, tokens, where=where)
        return loss(log_probs, advantage, old, reference)

    def plain(hidden, kernel):
        logits = jnp.matmul(hidden, kernel, precision="highest")
        log_probs = jnp.take_along_axis(
            jax.nn.log_softmax(logits), tokens[..., None], axis=-1
        )[..., 0]
        return loss(log_probs, advantage, old, reference)

    actual, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1)))(hidden, kernel) for f in (fused, plain)
    )
    close(actual[0], expected[0], 1e-5)
    for a, e in zip(actual[1], expected[1], strict=True):
        assert np.abs(e).max() > 1e-3
        close(a, e, 1e-5, atol=1e-6)


# ------------------------------------------------------------------ another sampler


def test_importance_weights_by_hand():
    new = jnp.log(f32(0.5, 0.2, 0.1, 0.4).reshape(2, 2))
    sampler = jnp.log(f32(0.1, 0.4, 0.1, 0.32).reshape(2, 2))
    weights = functools.partial(jaxloss.importance_weights, new, sampler)
    close(weights(), [[2, 0.5], [1, 1.25]])
    close(weights(outside="drop", min_ratio=0.75), [[0, 0], [1, 1.25]])
    close(weights(level="sequence", max_ratio=4.0), [2.5, 1.25])
    close(weights(level="geometric", max_ratio=4.0), [2.5**0.5, 1.25**0.5])
    keep = jnp.array([[True, False], [False, False]])
    close(weights(where=keep, max_ratio=9.0), [[5, 0], [0, 0]])
    close(weights(level="sequence", where=keep, max_ratio=9.0), [5, 0])
    close(weights(level="sequence", where=jnp.array([True, False])), [2, 0])
    # A bound for each answer.
    close(weights(level="sequence", max_ratio=f32(1, 2)), [1, 1.25])


def test_importance_weights_of_ratios_that_overflow_or_are_nan():
    new, sampler = f32(0, -500, np.nan)[None], f32(-500, 0, 0)[None]
    clip, drop = (
        functools.partial(jaxloss.importance_weights, outside=outside)
        for outside in ("clip", "drop")
    )
    close(clip(new, sampler), [[2, 0, np.nan]])
    close(drop(new, sampler), [[0, 0, np.nan]])
    close(jax.grad(lambda x: jnp.nansum(clip(x, sampler)))(new)[:, :2], [[0, 0]])


@pytest.mark.parametrize("outside", ["clip", "drop"])
def test_weighted_advantages_weight_the_surrogate_alone(outside):
    rng = np.random.default_rng(3)
    new, old, sampler, ref = (jnp.asarray(rng.normal(size=(4, 6))) for _ in range(4))
    advantages = jnp.asarray(rng.normal(size=4))
    weights = jaxloss.importance_weights(old, sampler, outside=outside)

    def loss(advantages, **options):
        return jaxloss.grpo_loss(
            new, advantages, old_log_probs=old, dual_clip=3.0, **options
        )

    plain = loss(advantages)
    spread = jnp.broadcast_to(advantages[:, None], new.shape)
    close(loss(spread * weights), weights * plain, rtol=1e-12)
    both = loss(spread * weights, reference_log_probs=ref)
    kl = loss(advantages, reference_log_probs=ref) - plain
    close(both, weights * plain + kl, rtol=1e-9)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_a_weighted_divergence_is_without_bias(estimator):
    """Over all that the old policy may do: the divergence, and its gradient."""
    rng = np.random.default_rng(0)
    x, old, ref = (jnp.asarray(rng.normal(size=9)) for _ in range(3))
    old, ref = jax.nn.log_softmax(old), jax.nn.log_softmax(ref)

    def expected(x):
        new = jax.nn.log_softmax(x)
        each = jaxloss.grpo_loss(
            new[:, None],
            jnp.zeros(9),
            old_log_probs=old[:, None],
            reference_log_probs=ref[:, None],
            beta=1.0,
            kl_estimator=estimator,
            weighted_kl=True,
        )
        return jnp.sum(jnp.exp(old) * each[:, 0])

    def divergence(x):
        new = jax.nn.log_softmax(x)
        return jnp.sum(jnp.exp(new) * (new - ref))

    close(expected(x), divergence(x), rtol=1e-12)
    close(jax.grad(expected)(x), jax.grad(divergence)(x), rtol=1e-9, atol=1e-14)


def test_a_weighted_divergence_far_from_its_reference():
    """The exponentials in its derivative cancel: -ρ r, with r = 29 and ρ = 2."""
    new, ref = f32(-30)[None], f32(-1)[None]
    old = new - jnp.log(jnp.full_like(new, 2))

    def loss(new):
        options = {"old_log_probs": old, "reference_log_probs": ref, "beta": 1.0}
        return jnp.sum(jaxloss.grpo_loss(new, f32(0), weighted_kl=True, **options))

    close(jax.grad(loss)(new), [[-58]])

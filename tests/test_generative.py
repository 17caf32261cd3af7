"""Generative and auxiliary losses: limits, identities, what is held fixed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=atol
    )


# ------------------------------------------------------------------ two players

VARIANTS = [
    "non_saturating",
    "minimax",
    "hinge",
    "least_squares",
    "wasserstein",
    "relativistic",
]


def test_the_discriminator_s_loss_is_a_binary_cross_entropy():
    real, fake = f32(2, -30, 0), f32(1, 40, -3)
    bce = jaxloss.sigmoid_binary_cross_entropy
    expected = bce(real, jnp.ones(3)) + bce(fake, jnp.zeros(3))
    for variant in ("non_saturating", "minimax"):
        close(jaxloss.gan_discriminator_loss(real, fake, variant=variant), expected)
    close(jaxloss.gan_generator_loss(fake), bce(fake, jnp.ones(3)))


def test_zero_sum_games():
    """What one player wins the other loses, but for the real examples' part."""
    real, fake = f32(2, -30, 0), f32(1, 40, -3)

    def by_fake(variant):
        return jax.grad(
            lambda f: jnp.sum(jaxloss.gan_discriminator_loss(real, f, variant=variant))
        )(fake)

    def of_generator(variant):
        return jax.grad(
            lambda f: jnp.sum(jaxloss.gan_generator_loss(f, variant=variant))
        )(fake)

    for variant in ("minimax", "wasserstein"):
        close(of_generator(variant), -np.asarray(by_fake(variant), np.float64))


def test_a_lost_generator_has_a_gradient():
    """Where the discriminator is sure, "minimax" has none and the default has 1."""
    slope = jax.grad(lambda f, variant: jaxloss.gan_generator_loss(f, variant=variant))
    close(slope(jnp.float32(-40), "non_saturating"), -1)
    close(slope(jnp.float32(-40), "minimax"), -np.exp(-40))


def test_relativistic_players_swap_roles():
    real, fake = f32(2, -30, 0), f32(1, 40, -3)
    generator = jaxloss.gan_generator_loss(fake, real, variant="relativistic")
    swapped = jaxloss.gan_discriminator_loss(fake, real, variant="relativistic")
    close(generator, swapped)


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_examples_are_for_the_relativistic_game_alone(variant):
    real, fake = f32(1), f32(2)
    wrong = {} if variant == "relativistic" else {"real_logits": real}
    with pytest.raises(ValueError, match="gan_generator_loss: `real_logits` must be"):
        jaxloss.gan_generator_loss(fake, variant=variant, **wrong)


# ------------------------------------------------------------------ latent variables


def test_vae_near_the_prior_is_not_0_nor_negative():
    s = f32(1e-4, -1e-4, 1e-15, 0)
    loss = jaxloss.vae_kl_divergence(jnp.zeros((4, 1), jnp.float32), s[:, None])
    exact = np.asarray(s, np.float64)
    close(loss, exact**2 / 4 * (1 + exact / 3))
    assert (np.asarray(loss) >= 0).all()


def test_vae_by_quadrature():
    mean, s = 0.7, -0.4
    x = np.linspace(-12, 12, 20001)
    log_q = -0.5 * ((x - mean) ** 2 / np.exp(s) + s)
    log_p = -0.5 * x**2
    integral = np.sum(np.exp(log_q) * (log_q - log_p)) * (x[1] - x[0])
    expected = integral / np.sqrt(2 * np.pi)
    for base, unit in ((None, 1), (2, np.log(2))):
        value = jaxloss.vae_kl_divergence(f32(mean), f32(s), base=base)
        close(value, expected / unit)


def test_each_half_of_the_vq_loss_moves_one_side():
    encoded, codes = f32(1, 2), f32(0.5, 4)
    commitment = jax.grad(jaxloss.vq_commitment_loss, (0, 1))(encoded, codes)
    close(commitment[0], [1, -4])
    close(commitment[1], [0, 0])
    codebook = jax.grad(jaxloss.vq_codebook_loss, (0, 1))(codes, encoded)
    close(codebook[0], [-1, 4])
    close(codebook[1], [0, 0])


# ------------------------------------------------------------------ noise levels


def test_min_snr_at_both_ends_of_a_schedule():
    # At 80, a unit in the last place of the logarithm is 8e-6 of the weight.
    log_snr, close_enough = f32(-200, -80, 80, 200), functools.partial(close, rtol=5e-6)
    weights = functools.partial(jaxloss.min_snr_weights, log_snr)
    close_enough(weights(), [1, 1, 5 * np.exp(-80), 0])
    close_enough(weights(prediction="x0"), [0, np.exp(-80), 5, 5])
    close_enough(weights(prediction="v"), [0, np.exp(-80), 5 * np.exp(-80), 0])
    for prediction in ("epsilon", "x0", "v"):
        by_level = jax.grad(
            lambda x, p=prediction: jnp.sum(jaxloss.min_snr_weights(x, prediction=p))
        )
        assert np.isfinite(by_level(log_snr)).all()


def test_min_snr_is_one_loss_in_three_parametrisations():
    """The errors of ε, x0 and v differ by factors of the SNR; weighted, they agree."""
    rng = np.random.default_rng(0)
    log_snr = rng.normal(scale=3, size=6)
    snr = np.exp(log_snr)
    alpha, sigma = np.sqrt(snr / (1 + snr)), np.sqrt(1 / (1 + snr))
    of_x0 = rng.normal(size=6)
    errors = {"x0": of_x0, "epsilon": -alpha / sigma * of_x0, "v": -of_x0 / sigma}
    losses = [
        np.asarray(jaxloss.min_snr_weights(jnp.asarray(log_snr), prediction=p)) * e**2
        for p, e in errors.items()
    ]
    close(losses[1], losses[0])
    close(losses[2], losses[0])


def test_edm_weights_are_the_paper_s():
    sigma, data = np.array([0.002, 0.5, 80]), 0.6
    weights = jaxloss.edm_weights(
        jnp.asarray(-2 * np.log(sigma), jnp.float32), sigma_data=data
    )
    close(weights, (sigma**2 + data**2) / (sigma * data) ** 2, 2e-6)


def test_flow_matching_over_images():
    rng = np.random.default_rng(0)
    v, data, noise = (
        jnp.asarray(rng.normal(size=(2, 3, 3, 1)), jnp.float32) for _ in range(3)
    )
    loss = jaxloss.flow_matching_loss(v, data, noise=noise, axis=(1, 2, 3))
    exact = [np.asarray(x, np.float64) for x in (v, data, noise)]
    close(loss, ((exact[0] - exact[1] + exact[2]) ** 2).sum((1, 2, 3)))
    with pytest.raises(ValueError, match="`noise` must be of the shape"):
        jaxloss.flow_matching_loss(v, data, noise=noise[:1])


# ------------------------------------------------------------------ routers


def test_a_uniform_router_is_balanced_and_a_collapsed_one_costs_most():
    experts, tokens = 4, 8
    even = jnp.zeros((tokens, experts))
    turns = jnp.arange(tokens)[:, None] % experts
    close(jaxloss.load_balancing_loss(even, turns), 1)
    collapsed = jnp.zeros((tokens, experts)).at[:, 2].set(100)
    close(jaxloss.load_balancing_loss(collapsed), experts)
    both = jnp.stack([turns[:, 0], (turns[:, 0] + 1) % experts], axis=1)
    close(jaxloss.load_balancing_loss(even, both), 1)


def test_load_balancing_of_kept_tokens_over_devices():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(6, 5, 3)), jnp.float32)
    where = jnp.asarray(rng.uniform(size=(6, 5)) < 0.6)
    spoiled = jnp.where(where[..., None], logits, jnp.nan)
    for k in (1, 2):
        loss = functools.partial(jaxloss.load_balancing_loss, top_k=k)
        loss = jax.jit(loss, static_argnames="axis_name")
        expected = loss(logits[where])
        close(loss(spoiled, where=where), expected)
        spread = jax.vmap(
            lambda x, m, loss=loss: loss(x, where=m, axis_name="d"), axis_name="d"
        )(spoiled.reshape(2, 3, 5, 3), where.reshape(2, 3, 5))
        close(spread, [expected] * 2)
    nothing = jnp.zeros((6, 5), bool)
    value, gradient = jax.value_and_grad(
        lambda x: jaxloss.load_balancing_loss(x, where=nothing)
    )(spoiled)
    assert value == 0 and (np.asarray(gradient) == 0).all()


def test_experts_that_do_not_exist_are_loud():
    logits = jnp.zeros((2, 3), jnp.float32)
    for index in (-1, 3):
        indices = jnp.asarray([[0], [index]])
        value, gradient = jax.jit(jax.value_and_grad(jaxloss.load_balancing_loss))(
            logits, indices
        )
        assert np.isnan(value) and np.isnan(gradient).any()
        keep = jnp.asarray([True, False])
        assert jaxloss.load_balancing_loss(logits, indices, where=keep) == 1
    for bad in (jnp.zeros(2, int), jnp.zeros((3, 1), int)):
        with pytest.raises(ValueError, match="`expert_indices` must be of shape"):
            jaxloss.load_balancing_loss(logits, bad)
    with pytest.raises(ValueError, match="`top_k` must be between 1"):
        jaxloss.load_balancing_loss(logits, top_k=4)


def test_router_z_loss_is_that_of_the_cross_entropy():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(3 * rng.normal(size=(4, 3)), jnp.float32)
    labels = jnp.asarray([0, 1, 2, 0])
    ce = functools.partial(
        jaxloss.softmax_cross_entropy_with_integer_labels, logits, labels
    )
    with_z = np.asarray(ce(z_loss=1.0), np.float64)
    close(jaxloss.router_z_loss(logits), with_z - np.asarray(ce()), 1e-5)


def test_a_router_without_experts_is_dropped():
    logits = f32(1, 2).reshape(1, 2)
    nothing = jnp.zeros((1, 2), bool)
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sum(jaxloss.router_z_loss(x, where=nothing))
    )(logits)
    assert value == 0 and (np.asarray(gradient) == 0).all()


# ------------------------------------------------------------------ tasks


def test_the_best_uncertainty_of_a_task():
    losses = f32(0.5, 3, 40)
    best = jnp.log(2 * losses)
    loss = jaxloss.uncertainty_weighted_sum
    close(jax.grad(loss, 1)(losses, best), 0, atol=1e-6)
    assert loss(losses, best) < loss(losses, best + 0.1)
    masked = loss(
        losses.at[1].set(jnp.nan), best, where=jnp.asarray([True, False, True])
    )
    close(masked, loss(losses[::2], best[::2]))

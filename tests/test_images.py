"""Identities and edge values of the losses of images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


@functools.cache
def compiled(max_value=1.0):
    loss = functools.partial(jaxloss.ssim_loss, max_value=max_value)
    return jax.jit(
        lambda x, y: (loss(x, y), jax.grad(lambda x: jnp.sum(loss(x, y)))(x))
    )


def exact(x, y, max_value=1.0):
    """Wang's definition by scipy's Gaussian filter, in float64."""
    x, y = np.float64(x), np.float64(y)

    def window(image):
        mean = scipy.ndimage.gaussian_filter(
            image, 1.5, radius=5, axes=(0, 1), mode="reflect"
        )
        return mean[5:-5, 5:-5]

    mx, my = window(x), window(y)
    vx, vy = window(x * x) - mx * mx, window(y * y) - my * my
    covariance = window(x * y) - mx * my
    c1, c2 = (0.01 * max_value) ** 2, (0.03 * max_value) ** 2
    light = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    structure = (2 * covariance + c2) / (vx + vy + c2)
    return 1 - (light * structure).mean()


@pytest.mark.parametrize("max_value", [1.0, 255.0])
def test_it_is_the_definition(max_value):
    rng = np.random.default_rng(0)
    x = (max_value * rng.uniform(size=(2, 13, 15, 3))).astype(np.float32)
    y = (0.7 * x + 0.3 * max_value * rng.uniform(size=x.shape)).astype(np.float32)
    value, _ = compiled(max_value)(x, y)
    expected = [exact(a, b, max_value) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_equal_images_cost_nothing():
    x = np.float32(np.random.default_rng(0).uniform(size=(1, 12, 12, 1)))
    for image in (x, np.zeros_like(x), x + 1000):
        value, slope = compiled()(image, image)
        assert value == 0 and (slope == 0).all()


def test_nearly_equal_images_keep_their_value():
    rng = np.random.default_rng(0)
    x = np.float32(rng.uniform(0.25, 0.75, size=(1, 12, 12, 1)))
    y = x + np.float32(2.0**-20) * rng.choice([-1, 1], size=x.shape).astype(np.float32)
    value, slope = compiled()(x, y)
    np.testing.assert_allclose(value, [exact(x[0], y[0])], rtol=1e-3)  # of float64
    assert value > 0 and (slope != 0).any()


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 11 rows and columns"):
        jaxloss.ssim_loss(jnp.zeros((1, 10, 20, 1)), jnp.zeros((1, 10, 20, 1)))
    with pytest.raises(ValueError, match="odd number of pixels"):
        jaxloss.ssim_loss(
            jnp.zeros((1, 10, 20, 1)), jnp.zeros((1, 10, 20, 1)), window=4
        )
    assert jaxloss.ssim_loss(jnp.zeros((3, 3, 1)), jnp.ones((3, 3, 1)), window=3) > 0.9

"""Regressions and edge values of the losses of boxes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

VARIANTS = ("iou", "giou", "diou", "ciou")
all_variants = pytest.mark.parametrize("variant", VARIANTS)


@functools.cache
def compiled(variant):
    loss = functools.partial(jaxloss.iou_loss, variant=variant)
    return jax.jit(
        lambda p, t: (loss(p, t), jax.grad(lambda p: jnp.sum(loss(p, t)))(p))
    )


def boxes(*values):
    return jnp.array(values, jnp.float32)


def exact_ciou(p, t, alpha=None):
    """The definition in float64, with the factor given or its own."""
    w, h = p[2] - p[0], p[3] - p[1]
    wt, ht = t[2] - t[0], t[3] - t[1]
    both = max(0, min(p[2], t[2]) - max(p[0], t[0])) * max(
        0, min(p[3], t[3]) - max(p[1], t[1])
    )
    iou = both / (w * h + wt * ht - both)
    hull = [max(p[i + 2], t[i + 2]) - min(p[i], t[i]) for i in (0, 1)]
    centre = [(p[i] + p[i + 2] - t[i] - t[i + 2]) / 2 for i in (0, 1)]
    v = 4 / math.pi**2 * (math.atan(wt / ht) - math.atan(w / h)) ** 2
    own = v / (1 - iou + v)
    distance = sum(c * c for c in centre) / sum(c * c for c in hull)
    return 1 - iou + distance + (own if alpha is None else alpha) * v, own


def test_ciou_holds_its_factor_constant():
    rng = np.random.default_rng(0)
    corner, size = rng.normal(size=(6, 2)), rng.uniform(1, 2, size=(6, 2))
    target = np.concatenate([corner, corner + size], axis=1)
    prediction = target + 0.3 * rng.normal(size=target.shape)
    prediction, target = (a.astype(np.float32) for a in (prediction, target))
    value, slope = compiled("ciou")(prediction, target)
    for i, (p, t) in enumerate(
        zip(*map(np.float64, (prediction, target)), strict=True)
    ):
        exact, alpha = exact_ciou(p, t)
        np.testing.assert_allclose(value[i], exact, rtol=1e-6)
        for k in range(4):
            step = 1e-6 * np.eye(4)[k]
            ends = [exact_ciou(p + s, t, alpha)[0] for s in (step, -step)]
            numeric = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(slope[i, k], numeric, rtol=1e-5, atol=1e-6)


@all_variants
def test_equal_boxes_cost_nothing(variant):
    for box in ([0, 0, 1, 2], [1e5, 1e5, 1e5 + 1, 1e5 + 2], [3, 3, 3, 3]):
        value, slope = compiled(variant)(boxes(box), boxes(box))
        assert value == 0 and jnp.isfinite(slope).all()


@all_variants
def test_nearly_equal_boxes(variant):
    """Where 1 - IoU of areas would be rounding: half a thousandth aside."""
    d = 2.0**-20
    value, slope = compiled(variant)(boxes([d, 0, 1 + d, 1]), boxes([0, 0, 1, 1]))
    exact = 2 * d / (1 + d)
    if variant in ("diou", "ciou"):
        exact += d * d / ((1 + d) ** 2 + 1)
    np.testing.assert_allclose(value, [exact], rtol=1e-6)
    # The edges ahead of the target's pull back, those behind it too.
    np.testing.assert_allclose(slope[0, 0], 1, rtol=1e-3)


@all_variants
@pytest.mark.parametrize("unit", [1e-30, 1e-18, 1e18, 1e30])
def test_boxes_of_any_size(variant, unit):
    p, t = np.float32([[0, 0, 2, 1]]), np.float32([[1, 0, 3, 2]])
    expected, slope = compiled(variant)(p, t)
    unit = np.float32(unit)
    value, scaled = compiled(variant)(unit * p, unit * t)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(scaled * unit, slope, rtol=1e-5, atol=1e-6)


@all_variants
def test_far_from_the_origin(variant):
    p, t = np.float32([[0, 0, 2, 1]]), np.float32([[1, 0, 3, 2]])
    value, slope = compiled(variant)(p, t)
    there, same = compiled(variant)(p + np.float32(2**22), t + np.float32(2**22))
    np.testing.assert_array_equal(there, value)
    np.testing.assert_array_equal(same, slope)


@all_variants
@pytest.mark.parametrize("box", [[1, 1, 1, 1], [1, 0, 1, 2], [2, 2, 0, 0]])
def test_empty_boxes_are_safe(variant, box):
    """A point, a line, a box turned inside out: nothing in common with the target."""
    value, slope = compiled(variant)(boxes(box), boxes([0, 0, 2, 2]))
    assert value >= 1 and jnp.isfinite(value).all() and jnp.isfinite(slope).all()
    value, slope = compiled(variant)(boxes(box), boxes([5, 5, 5, 5]))
    assert value >= 1 and jnp.isfinite(value).all() and jnp.isfinite(slope).all()


def test_boxes_apart_are_drawn_together():
    p, t = boxes([0, 0, 1, 1]), boxes([3, 0, 4, 1])
    assert (compiled("iou")(p, t)[1] == 0).all()
    for variant in ("giou", "diou", "ciou"):
        assert (compiled(variant)(p, t)[1][0, [0, 2]]).sum() < 0
    np.testing.assert_allclose(compiled("giou")(p, t)[0], [1.5], rtol=1e-6)
    np.testing.assert_allclose(compiled("diou")(p, t)[0], [1 + 9 / 17], rtol=1e-6)
    # Above each other, and across a corner.
    turned, corner = jnp.array([1, 0, 3, 2]), boxes([3, 2, 4, 3])
    np.testing.assert_allclose(
        compiled("giou")(p[:, turned], t[:, turned])[0], [1.5], rtol=1e-6
    )
    np.testing.assert_allclose(compiled("giou")(p, corner)[0], [2 - 2 / 12], rtol=1e-6)


def test_grammar():
    p = jnp.ones((4, 3))
    assert jaxloss.iou_loss(p, p, axis=0).shape == (3,)
    with pytest.raises(ValueError, match="4 coordinates"):
        jaxloss.iou_loss(p, p)
    with pytest.raises(ValueError, match="`variant` must be one of 'iou'"):
        jaxloss.iou_loss(p, p, axis=0, variant="eiou")
    masked = jaxloss.iou_loss(
        boxes([0, 0, 1, 1], [jnp.nan] * 4),
        boxes([0, 0, 1, 2], [0, 0, 1, 1]),
        where=jnp.array([True, False]),
        reduction="mean",
    )
    np.testing.assert_allclose(masked, 0.5, rtol=1e-6)

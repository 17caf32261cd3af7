"""Losses of bounding boxes: intersection over union, and what it does not see."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, norms
from jaxloss._core.numerics import positive_part
from jaxloss._core.overlap import fraction
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check


@public
def iou_loss(
    predictions: Input,
    targets: Input,
    *,
    variant: Literal["iou", "giou", "diou", "ciou"] = "iou",
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Intersection-over-union loss of bounding boxes, and its three extensions.

    .. math::
        \ell_\text{IoU} &= 1 - \frac{|A \cap B|}{|A \cup B|} \\
        \ell_\text{GIoU} &= \ell_\text{IoU} + \frac{|C| - |A \cup B|}{|C|} \\
        \ell_\text{DIoU} &= \ell_\text{IoU} + \frac{\rho^2}{d^2} \\
        \ell_\text{CIoU} &= \ell_\text{DIoU} + \alpha v, \qquad
        v = \frac{4}{\pi^2} \Bigl(\arctan \frac{w_B}{h_B} -
            \arctan \frac{w_A}{h_A}\Bigr)^2, \quad
        \alpha = \frac{v}{\ell_\text{IoU} + v}

    with :math:`C` the smallest box that holds both, :math:`d` its diagonal, and
    :math:`\rho` the distance of the centres.

    Args:
      predictions: boxes :math:`A` as :math:`(x_1, y_1, x_2, y_2)` with :math:`x_1 \le
        x_2` and :math:`y_1 \le y_2`, floating, shape `[..., 4]` (the four along
        `axis`).
      targets: boxes :math:`B` of the same kind, real, the shape of `predictions`.
      variant: `"iou"`, `"giou"`, `"diou"` or `"ciou"`. Static.
      axis: the axis of the coordinates. Static.
      where: mask of the losses' shape (boxes kept). Axes may be 1.
      weights: weight of each box, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the boxes kept).

    Returns:
      The losses, without unit, float32 (float64 for float64 inputs): in [0, 1], with
      `"giou"` and `"diou"` in [0, 2], with `"ciou"` in [0, 3]; the shape of
      `predictions` without `axis`, or a scalar when reduced.

    Numerics:
      All areas are sums of products of differences of edges, also what one box has
      beyond the other: boxes that nearly agree, tiny ones and ones far from the origin
      keep value and gradient, where 1 - IoU of areas would be rounding. Sides are
      taken in units of the larger box, so that areas neither overflow nor vanish. A box
      whose edges are in the wrong order is empty. Two empty boxes cost 0 where they are
      equal, else 1.

    Gradient:
      With :math:`I` and :math:`U` the areas of intersection and union:
      :math:`\partial \ell_\text{IoU} = (I\, \partial U - U\, \partial I) / U^2`; where
      edges coincide, the mean of both sides. Boxes that do not meet have no gradient
      but with the extensions. :math:`\alpha` is constant to differentiation, as in the
      paper.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> boxes = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
      >>> targets = jnp.array([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 3.0]])
      >>> for variant in ("iou", "giou", "diou", "ciou"):
      ...     print(variant, jaxloss.iou_loss(boxes, targets, variant=variant).round(4))
      iou [0.6667 1.    ]
      giou [0.6667 1.7778]
      diou [0.7436 1.4444]
      ciou [0.7436 1.4444]

    References:
      Rezatofighi et al., *Generalized Intersection over Union*, arXiv:1902.09630; Zheng
      et al., *Distance-IoU Loss*, arXiv:1911.08287.

    Elsewhere: `torchvision.ops.generalized_box_iou_loss`, `distance_box_iou_loss`,
    `complete_box_iou_loss` (with 1e-7 in the denominators); not in optax, torch or
    keras.
    """
    check = Check("iou_loss")
    check.reduction(reduction)
    check.choice("variant", variant, ("iou", "giou", "diou", "ciou"))
    check.static(axis=axis)
    x = inputs.rows(check, axis, None, predictions=predictions, targets=targets)
    if x.classes != 4:
        raise check.value_error(
            "predictions",
            "boxes, with 4 coordinates along `axis`",
            f"of shape {x.predictions.shape}",
            "The coordinates are x1, y1, x2, y2.",
        )
    keep, _ = check.where(where, loss=x.shape)
    x = x.drop(keep)
    a, b = (
        [jnp.squeeze(edge, x.axis) for edge in jnp.split(boxes, 4, axis=x.axis)]
        for boxes in (x.predictions, x.require_targets())
    )
    one = _across(a[0], a[2], b[0], b[2])
    two = _across(a[1], a[3], b[1], b[3])
    unit = jnp.maximum(one.unit, two.unit)
    wide, high = one.over(one.unit), two.over(two.unit)

    both = wide.both * high.both
    apart = wide.only_a * high.a + wide.both * high.only_a
    apart += wide.only_b * high.b + wide.both * high.only_b
    equal = (wide.nearly == 0) & (high.nearly == 0)
    loss = fraction(apart, both)
    loss = jnp.where((both + apart == 0) & ~equal, 1, loss)
    if variant == "giou":
        # |C| - |A or B|, of what the sides of C are made of.
        empty = wide.both * high.gap + wide.gap * high.hull
        empty += wide.only_a * (high.only_b + high.gap)
        empty += wide.only_b * (high.only_a + high.gap)
        loss += fraction(empty, both + apart)
    elif variant != "iou":
        wide, high = one.over(unit), two.over(unit)
        distance = jnp.square(wide.centre) + jnp.square(high.centre)
        diagonal = jnp.square(wide.hull) + jnp.square(high.hull)
        at = diagonal == 0
        if variant == "ciou":
            loss += _shape(loss, wide, high)
        loss += jnp.where(at, 0, distance / jnp.where(at, 1, diagonal))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


class _Sides(NamedTuple):
    """How two intervals lie, by lengths that are not negative but `centre`, `longer`.

    The interval that holds both is `both`, `only_a`, `only_b` and `gap` together.
    """

    a: Array
    b: Array
    both: Array
    only_a: Array
    only_b: Array
    gap: Array
    hull: Array
    centre: Array
    """How far the centre of a lies beyond that of b."""
    longer: Array
    """How much longer a is than b."""
    nearly: Array
    """How far the edges are from each other."""

    @property
    def unit(self) -> Array:
        """A power of two near the larger of the lengths, constant to autodiff."""
        size = jnp.maximum(jnp.maximum(self.a, self.b), self.hull)
        size = jax.lax.stop_gradient(jnp.where(jnp.isfinite(size), size, 1))
        return norms.power_of_two(jnp.where(size == 0, 1, size))

    def over(self, unit: Array) -> "_Sides":
        """In this unit."""
        return _Sides(*(length / unit for length in self))


def _across(a1: Array, a2: Array, b1: Array, b2: Array) -> _Sides:
    """The intervals [a1, a2] and [b1, b2]."""
    a, b = positive_part(a2 - a1), positive_part(b2 - b1)
    left, right = a1 - b1, a2 - b2
    # Of an empty interval nothing is common. Elsewhere, a length minus what the other
    # one leaves over on both sides.
    meet = (a2 > b1) & (b2 > a1) & (a > 0) & (b > 0)
    before_a, beyond_a = positive_part(-left), positive_part(right)
    before_b, beyond_b = positive_part(left), positive_part(-right)
    both = positive_part(jnp.minimum(a2, b2) - jnp.maximum(a1, b1))
    both = jnp.where((a > 0) & (b > 0), both, 0 * (a + b))
    gap = positive_part(jnp.maximum(a1, b1) - jnp.minimum(a2, b2))
    return _Sides(
        a=a,
        b=b,
        both=both,
        only_a=jnp.where(meet, before_a + beyond_a, a),
        only_b=jnp.where(meet, before_b + beyond_b, b),
        gap=jnp.where(meet, 0, gap),
        hull=jnp.maximum(jnp.maximum(a1, a2), jnp.maximum(b1, b2))
        - jnp.minimum(jnp.minimum(a1, a2), jnp.minimum(b1, b2)),
        centre=(left + right) / 2,
        longer=jnp.where((a2 > a1) & (b2 > b1), right - left, a - b),
        nearly=jnp.abs(left) + jnp.abs(right),
    )


def _shape(iou: Array, wide: _Sides, high: _Sides) -> Array:
    """α v: how the boxes differ in their shapes."""
    # arctan(w'/h') - arctan(w/h) = arctan((w' h - w h') / (h h' + w w')), in which
    # w' h - w h' = w' (h - h') - (w - w') h' does not cancel for boxes nearly equal.
    cross = wide.b * high.longer - wide.longer * high.b
    along = wide.a * wide.b + high.a * high.b
    nowhere = (cross == 0) & (along == 0)
    angle = jnp.arctan2(cross, jnp.where(nowhere, 1, along))
    v = jnp.square(angle) * (4 / math.pi**2)
    return jax.lax.stop_gradient(fraction(v, iou)) * v

"""Margins on the angle to the label's class: cosines to logits for a cross entropy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs
from jaxloss._core.labels import labelled_rows
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check


@public
def arcface_logits(
    cosines: Input,
    labels: Input,
    *,
    margin: Number = 0.5,
    scale: Number = 64.0,
    axis: int = -1,
    ignore_index: int | None = None,
) -> Array:
    r"""ArcFace: adds a margin to the angle between an embedding and its class.

    .. math::
        z_j = \begin{cases} \gamma \cos(\theta_y + m) & j = y,\; \theta_y \le \pi - m \\
        \gamma (\cos\theta_y - m \sin m) & j = y,\; \theta_y > \pi - m \\
        \gamma \cos\theta_j & j \ne y \end{cases}

    The cross entropy of these logits and the labels is the ArcFace loss.

    Args:
      cosines: :math:`\cos\theta`, in [-1, 1], of the angles between embeddings and the
        weights of the classes, floating, shape `[..., classes]` (along `axis`).
      labels: integers, the shape of `cosines` without `axis`.
      margin: :math:`m`, in [0, pi]: a number, or one for each example.
      scale: :math:`\gamma`, above 0: a number, or one for each example.
      axis: the axis of the classes. Static.
      ignore_index: a label whose rows get no margin; the cross entropy drops them.
        Static.

    Returns:
      Logits of the shape of `cosines`, float32 (float64 for float64 inputs).

    Numerics:
      :math:`\sin\theta` is :math:`\sqrt{(1 - c)(1 + c)}`, accurate at both ends; a
      cosine rounded beyond them counts as the end. A label outside [0, classes) gives
      NaN in its row.

    Gradient:
      :math:`\gamma \bigl( \cos m + \cos\theta_y \sin m / \sin\theta_y \bigr)` for the
      label. It grows without limit towards :math:`\theta_y = 0`, where the angle has a
      kink; at the kink itself it is the mean over all directions, :math:`\gamma
      \cos m`.

    Raises:
      TypeError: `cosines` not floating, `labels` not integers, a traced static option.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> cosines = jnp.array([[0.8, 0.6, -0.2]])
      >>> print(jaxloss.arcface_logits(cosines, jnp.array([0]), scale=10.0).round(3))
      [[ 4.144  6.    -2.   ]]

    References:
      Deng et al., *ArcFace: Additive Angular Margin Loss for Deep Face Recognition*,
      arXiv:1801.07698.

    Elsewhere: `ArcFaceLoss` of pytorch-metric-learning (margin of 28.6 degrees, scale
    64), which takes embeddings and holds the weights.
    """
    check = Check("arcface_logits")
    x = _Classes.of(check, cosines, labels, axis, ignore_index)
    m = x.rows.spread(
        check.parameter("margin", margin, x.rows.like, low=0, high=jnp.pi)
    )
    c = x.own
    turned = c * jnp.cos(m) - _sine(c) * jnp.sin(m)
    # Beyond, cos(θ + m) would rise again.
    own = jnp.where(c >= -jnp.cos(m), turned, c - m * jnp.sin(m))
    return x.logits(check, own, scale)


@public
def cosface_logits(
    cosines: Input,
    labels: Input,
    *,
    margin: Number = 0.35,
    scale: Number = 64.0,
    axis: int = -1,
    ignore_index: int | None = None,
) -> Array:
    r"""CosFace: subtracts a margin from the cosine between an embedding and its class.

    .. math::
        z_j = \gamma \bigl( \cos\theta_j - m\, [j = y] \bigr)

    The cross entropy of these logits and the labels is the CosFace (AM-softmax) loss.

    Args:
      cosines: :math:`\cos\theta`, in [-1, 1], of the angles between embeddings and the
        weights of the classes, floating, shape `[..., classes]` (along `axis`).
      labels: integers, the shape of `cosines` without `axis`.
      margin: :math:`m`, at least 0: a number, or one for each example.
      scale: :math:`\gamma`, above 0: a number, or one for each example.
      axis: the axis of the classes. Static.
      ignore_index: a label whose rows get no margin; the cross entropy drops them.
        Static.

    Returns:
      Logits of the shape of `cosines`, float32 (float64 for float64 inputs).

    Numerics:
      Rounded twice. A label outside [0, classes) gives NaN in its row.

    Gradient:
      :math:`\gamma`.

    Raises:
      TypeError: `cosines` not floating, `labels` not integers, a traced static option.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> cosines = jnp.array([[0.8, 0.6, -0.2]])
      >>> print(jaxloss.cosface_logits(cosines, jnp.array([0]), scale=10.0).round(3))
      [[ 4.5  6.  -2. ]]

    References:
      Wang et al., *CosFace: Large Margin Cosine Loss for Deep Face Recognition*,
      arXiv:1801.09414; Wang et al., *Additive Margin Softmax for Face Verification*,
      arXiv:1801.05599.

    Elsewhere: `CosFaceLoss` of pytorch-metric-learning (margin 0.35, scale 64), which
    takes embeddings and holds the weights.
    """
    check = Check("cosface_logits")
    x = _Classes.of(check, cosines, labels, axis, ignore_index)
    m = x.rows.spread(check.parameter("margin", margin, x.rows.like, low=0))
    return x.logits(check, x.own - m, scale)


# ------------------------------------------------------------------ what they share


class _Classes(NamedTuple):
    """Rows of cosines, and the one of each row's label."""

    rows: inputs.Rows
    label: Array
    own: Array
    ignored: Array | None

    @staticmethod
    def of(
        check: Check,
        cosines: Input,
        labels: Input,
        axis: int,
        ignore_index: int | None,
    ) -> "_Classes":
        check.static(ignore_index=ignore_index)
        rows, label = labelled_rows(check, axis, None, None, labels, cosines=cosines)
        ignored = None if ignore_index is None else label == ignore_index
        own = axes.take(rows.predictions, label, rows.axis)
        return _Classes(rows, label, own, ignored)

    def logits(self, check: Check, own: Array, scale: Number) -> Array:
        """The scaled cosines, with this one for the label's."""
        x, axis = self.rows.predictions, self.rows.axis
        gamma = check.parameter("scale", scale, self.rows.like, low=0, open_low=True)
        hit = axes.is_label(x, self.label, axis)
        valid = axes.exists(x, self.label, axis)
        if self.ignored is not None:
            hit, valid = hit & ~self.ignored, valid | self.ignored
        # A factor of NaN reaches the gradient too: that of a row whose label does not
        # exist, and of a cosine that is NaN.
        gamma = self.rows.spread(gamma) * jnp.where(valid, 1, jnp.nan)
        gamma = gamma + 0 * jax.lax.stop_gradient(x)
        return jnp.where(hit, own, x) * gamma


@jax.custom_jvp
def _sine(cosine: Array) -> Array:
    """√(1 - c²) of an angle in [0, π]."""
    square = (1 - cosine) * (1 + cosine)
    return jnp.sqrt(jnp.maximum(square, 0))


@_sine.defjvp
def _(primals, tangents):
    # d√(1 - c²) = -c / √(1 - c²) dc. At c = ±1 the angle has a kink, as the length of a
    # vector has at 0: the mean over all directions is 0.
    (cosine,), (dcosine,) = primals, tangents
    sine = _sine(cosine)
    end = sine == 0
    slope = jnp.where(end, 0, -cosine / jnp.where(end, 1, sine))
    return sine, slope * dcosine

"""Generative adversarial networks: what the two players minimise."""

from typing import Literal, get_args

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.loudness import loud
from jaxloss._core.numerics import positive_part, softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check

GanVariant = Literal[
    "non_saturating", "minimax", "hinge", "least_squares", "wasserstein", "relativistic"
]
"""The game that is played."""


@public
def gan_discriminator_loss(
    real_logits: Input,
    fake_logits: Input,
    *,
    variant: GanVariant = "non_saturating",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Discriminator's loss on pairs of a real and a generated example.

    .. math::
        \begin{aligned}
        \text{non\_saturating, minimax} &: -\log \sigma(r) - \log \sigma(-f) \\
        \text{hinge} &: \max(0, 1 - r) + \max(0, 1 + f) \\
        \text{least\_squares} &: \tfrac12 (r - 1)^2 + \tfrac12 f^2 \\
        \text{wasserstein} &: f - r \\
        \text{relativistic} &: -\log \sigma(r - f)
        \end{aligned}

    Args:
      real_logits: :math:`r`, the discriminator's output on real examples, floating, any
        shape.
      fake_logits: :math:`f`, its output on generated ones, the same shape.
      variant: the game. Static.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `real_logits`, or a
      scalar when reduced.

    Numerics:
      Accurate in relative terms for every logit, however confident.

    Gradient:
      :math:`\partial \ell / \partial r = -\sigma(-r)` and
      :math:`\partial \ell / \partial f = \sigma(f)` for `"non_saturating"`.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an unknown variant.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> real, fake = jnp.array([2.0, 0.0]), jnp.array([-1.0, 1.0])
      >>> print(jaxloss.gan_discriminator_loss(real, fake).round(4))
      [0.4402 2.0064]

      The R1 penalty is the square of a gradient, which `jax.grad` gives, and may be
      differentiated again:

      >>> def discriminator(params, x):
      ...     return jnp.tanh(x @ params).sum(-1)
      >>> def r1_penalty(params, x, gamma=10.0):
      ...     by_example = jax.grad(lambda x: discriminator(params, x).sum())(x)
      ...     return gamma / 2 * jnp.mean(jnp.sum(by_example**2, axis=-1))
      >>> params, x = jnp.array([[0.5], [-0.25]]), jnp.array([[1.0, 2.0]])
      >>> print(r1_penalty(params, x), jax.grad(r1_penalty)(params, x).ravel())
      1.5625 [ 5.  -2.5]

    References:
      Goodfellow et al., arXiv:1406.2661; Lim, Ye (hinge), arXiv:1705.02894; Mao et al.
      (least squares), arXiv:1611.04076; Arjovsky et al. (Wasserstein),
      arXiv:1701.07875; Jolicoeur-Martineau (relativistic), arXiv:1807.00734; Mescheder
      et al. (R1), arXiv:1801.04406; Huang et al. (R3GAN), arXiv:2501.05441.

    Elsewhere: recipes of the papers; `torch.nn.functional.softplus` and `relu`.
    """
    check = Check("gan_discriminator_loss")
    check.reduction(reduction)
    check.choice("variant", variant, get_args(GanVariant))
    (real, fake), keep = inputs.aligned(
        check, where, {"real_logits": real_logits, "fake_logits": fake_logits}, {}
    )
    match variant:
        case "hinge":
            loss = positive_part(1 - real) + positive_part(1 + fake)
        case "least_squares":
            loss = 0.5 * (jnp.square(real - 1) + jnp.square(fake))
        case "wasserstein":
            loss = loud(fake) - loud(real)
        case "relativistic":
            loss = softplus(fake - real)
        case _:
            loss = softplus(-real) + softplus(fake)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def gan_generator_loss(
    fake_logits: Input,
    real_logits: Input | None = None,
    *,
    variant: GanVariant = "non_saturating",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Generator's loss on the discriminator's view of what it made.

    .. math::
        \begin{aligned}
        \text{non\_saturating} &: -\log \sigma(f) \\
        \text{minimax} &: \log \sigma(-f) \\
        \text{hinge, wasserstein} &: -f \\
        \text{least\_squares} &: \tfrac12 (f - 1)^2 \\
        \text{relativistic} &: -\log \sigma(f - r)
        \end{aligned}

    Args:
      fake_logits: :math:`f`, the discriminator's output on generated examples,
        floating, any shape.
      real_logits: :math:`r`, its output on real ones, the same shape: for
        `"relativistic"`, and for it alone.
      variant: the game. Static.
      where: mask of the same shape, the examples kept. Axes may be 1.
      weights: weight of each example, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `fake_logits`, or a
      scalar when reduced.

    Numerics:
      Accurate in relative terms for every logit. The gradient of `"minimax"` vanishes
      where the discriminator is sure, which is why `"non_saturating"` exists.

    Gradient:
      :math:`\partial \ell / \partial f = -\sigma(-f)` for `"non_saturating"`,
      :math:`-\sigma(f)` for `"minimax"`, :math:`-1` for `"hinge"` and `"wasserstein"`,
      :math:`f - 1` for `"least_squares"`, :math:`-\sigma(r - f)` for `"relativistic"`.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an unknown variant, `real_logits` missing or of no
        use.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> fake = jnp.array([-1.0, 1.0])
      >>> print(jaxloss.gan_generator_loss(fake).round(4))
      [1.3133 0.3133]

    References:
      See `gan_discriminator_loss`.

    Elsewhere: recipes of the papers; `torch.nn.functional.softplus`.
    """
    check = Check("gan_generator_loss")
    check.reduction(reduction)
    check.choice("variant", variant, get_args(GanVariant))
    if (real_logits is not None) != (variant == "relativistic"):
        wanted = real_logits is None
        raise check.value_error(
            "real_logits",
            f"{'given' if wanted else 'left out'} for variant={variant!r}",
            "left out" if wanted else "given",
            "Only the relativistic game compares generated with real examples.",
        )
    more = {} if real_logits is None else {"real_logits": real_logits}
    (fake, *real), keep = inputs.aligned(
        check, where, {"fake_logits": fake_logits, **more}, {}
    )
    match variant:
        case "non_saturating":
            loss = softplus(-fake)
        case "minimax":
            loss = -softplus(fake)
        case "least_squares":
            loss = 0.5 * jnp.square(fake - 1)
        case "relativistic":
            loss = softplus(real[0] - fake)
        case _:
            loss = -loud(fake)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)

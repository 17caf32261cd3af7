"""The table of cases: what the laws need to know of a public loss.

A case gives inputs, the formula in mpmath (50 digits and more) and the closed-form
gradient. Each loss is measured against its formula, whose derivatives are taken
numerically at high precision, so no oracle shares code or rounding with the library.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

import jaxloss

BATCH = 8
"""Examples in every case."""

Scale = Literal["tiny", "unit", "wide", "offset", "saturated"]
SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "offset", "saturated")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One public loss with one setting of its options.

    Attributes:
      name: the public name, `jaxloss.<name>`.
      variant: what the options are about; unique together with the name.
      options: keyword options passed to the loss.
      inputs: `(rng, scale) -> arrays`, float64 or integer, with a leading batch axis of
        `batch` examples. The harness rounds the float ones to the dtype under test, and
        gives the rounded values to the formula.
      call: the function under test where it is not `jaxloss.<name>` itself, such as the
        loss that a factory makes.
      keywords: names of the arrays after the second, which the loss takes by keyword:
        `inputs` gives them in this order.
      formula: the loss of ONE example, from that example's arrays: object arrays of
        `mpmath.mpf` (integers stay NumPy integers) of the event's shape, or scalars
        when the event has no axes. Returns an mpf, or an object array of them.
      gradient: the closed form of d(formula)/d(first argument), in the same terms,
        summed over the entries of the loss. None only where no closed form exists.
      argument: which positional argument is differentiated by the laws (usually 0).
      kinks: inputs rounded to half precision may fall on a kink, where the derivative
        is the mean of both sides; the closed form does not say that, the numeric one
        does.
      collapsed: the scales at which rounding to half precision makes one number, or an
        infinity, of what should differ (boxes without an area, rows of logits without
        a difference). They are not measured there.
      own_shapes: which shapes fit is for a function of the user's to say.
      vmapped: the loss takes ONE example (one whole batch, for a loss that couples the
        examples of a batch, such as `ntxent`): the harness maps it over the leading
        axis of the inputs.
      scales: the scales on which the contract is measured.
      hessian: whether the diagonal of the Hessian is measured (off where the loss has
        kinks that the samples hit, or is linear).
      optax: the twin as `(arrays) -> loss`, or None; `optax_off` says why it is absent.
      optax_rtol: how close the twin comes at unit scale, with its reason in a comment.
      rtol: value tolerance in float32, where 5e-7 cannot hold; its reason stands in a
        comment at the row. The other tolerances scale with it.
      floor: an absolute error below which nothing is demanded, as `(example arrays) ->
        float`, where the loss itself is a difference of the size of its rounded inputs
        (a residual that cancels, say). Its reason stands in a comment at the row.
      slope_floor: as `floor`, of the derivatives alone.
      unit: by how much an input has to change for the loss to become another, as
        `(example arrays) -> numbers that fit the argument`: 1 if left out, and of a
        loss of directions the lengths of the inputs. What is rounded in the unit of
        the loss is so in its derivatives by those, and a floor is divided by them in
        the first derivative and by their squares in the second.
      half_floor: as `floor`, of the gradient in half precision, in units of its
        epsilon: a fused head rounds the derivative with respect to the logits before
        the matmul, as every layer's backward does.
    """

    name: str
    variant: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    call: Callable[..., Any] | None = None
    keywords: tuple[str, ...] = ()
    inputs: Callable[[np.random.Generator, Scale], tuple[np.ndarray, ...]]
    formula: Callable[..., Any]
    gradient: Callable[..., Any] | None
    event: tuple[int, ...]
    argument: int = 0
    kinks: bool = False
    collapsed: tuple[Scale, ...] = ()
    own_shapes: bool = False
    vmapped: bool = False
    scales: tuple[Scale, ...] = SCALES
    hessian: bool = True
    optax: Callable[..., Any] | None = None
    optax_rtol: float = 2e-5
    rtol: float = 5e-7
    floor: Callable[..., float] | None = None
    slope_floor: Callable[..., float] | None = None
    unit: Callable[..., Any] | None = None
    half_floor: Callable[..., float] | None = None

    @property
    def loss(self) -> Callable[..., Any]:
        """The function under test, without the options of the case."""
        function = self.call or getattr(jaxloss, self.name)
        if not self.keywords:
            return function

        @functools.wraps(function)
        def positional(first, second, *others, **options):
            named = dict(zip(self.keywords, others, strict=True))
            return function(first, second, **named, **options)

        return positional

    @property
    def ordinary(self) -> Scale:
        """The scale of the laws: "unit", where the case has it."""
        return "unit" if "unit" in self.scales else self.scales[0]

    @property
    def id(self) -> str:
        return f"{self.name}[{self.variant}]" if self.variant else self.name

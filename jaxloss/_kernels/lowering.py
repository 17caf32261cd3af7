"""Which kernel a call becomes on a platform: decided when it is lowered.

An operation with kernels is a primitive, because nothing else in JAX is both looked at
platform by platform and lowered for several platforms at once.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
from jax.interpreters import mlir

from jaxloss._core.types import Array, Implementation

# The class of JAX's operations. Its public name is in `jax.extend`, whose import brings
# Pallas along.
Primitive = type(jax.lax.exp_p)


class Call(Protocol):
    """What every primitive with kernels says of itself."""

    @property
    def function(self) -> str:
        """The public function that asks, for errors."""
        ...

    @property
    def implementation(self) -> Implementation | None:
        """None: a kernel where one is on by default, and plain arithmetic elsewhere."""
        ...


def refusal(call: Call, reason: str) -> NotImplementedError:
    """A named implementation cannot run."""
    return NotImplementedError(
        f"jaxloss.{call.function}: implementation={call.implementation!r} {reason}. "
        'Leave it out to have one chosen, or pass "xla", which runs everywhere.'
    )


Kernel = Callable[..., list[Array]]

# By the name of JAX's platform: what to say of it, and its kernels.
_PLATFORMS: dict[str | None, tuple[str, tuple[Implementation, ...]]] = {
    None: ("this is another platform", ()),
    "tpu": ("this is a TPU", ("mosaic_tpu",)),
    "cuda": ("this is a GPU", ("mosaic_gpu",)),
}
_NEEDS: dict[Implementation | None, str] = {
    "mosaic_tpu": "a TPU",
    "mosaic_gpu": "a Hopper GPU or a newer one",
}


def register(
    primitive: Any,
    kernels: Mapping[Implementation, Kernel],
    unasked: Callable[[tuple[Implementation, ...]], Kernel] | None = None,
) -> None:
    """Says how to lower a primitive, whose one parameter is `call`.

    Args:
      primitive: the operation.
      kernels: by name; "interpret" runs anywhere.
      unasked: what runs where none is named, from the names there are on the platform.
    """

    def lowered_on(said: str, here: tuple[Implementation, ...]) -> Kernel:
        def lowered(*arrays: Array, call: Call) -> list[Array]:
            name = call.implementation
            if name is None and unasked is not None:
                return unasked(here)(*arrays, call=call)
            assert name in kernels
            if name not in (*here, "interpret"):
                raise refusal(call, f"needs {_NEEDS[name]}, and {said}")
            return kernels[name](*arrays, call=call)

        return lowered

    for platform, (said, here) in _PLATFORMS.items():
        rule = mlir.lower_fun(lowered_on(said, here), multiple_results=True)
        mlir.register_lowering(primitive, rule, platform=platform)

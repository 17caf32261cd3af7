"""How much of a padded sequence there is: given by its length, or by its padding."""

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check


def lengths(
    check: Check,
    name: str,
    given: Input,
    shape: tuple[int, ...],
    size: int,
    *,
    least: int = 0,
) -> tuple[Array, Array]:
    """Lengths of sequences of `size` steps, and whether each is in [least, size].

    Of a sequence whose length is not, all is read, so that its gradient is NaN too.
    """
    length = check.labels(name, given)
    check.shape(name, length, shape)
    # A narrow type may not hold the size.
    length = length.astype(jnp.int64 if length.dtype.itemsize == 8 else jnp.int32)
    valid = (length >= least) & (length <= size)
    return jnp.where(valid, length, size).astype(jnp.int32), valid


def missing(
    check: Check,
    of: str,
    given: Input | None,
    paddings: Input | None,
    shape: tuple[int, ...],
) -> tuple[Array, Array]:
    """Which steps are padding, `[..., steps]`, and whether that was said validly.

    By `{of}_lengths` or by `{of}_paddings`, not by both; nothing is padding if neither
    is given.
    """
    if given is not None and paddings is not None:
        raise check.value_error(
            f"{of}_paddings",
            f"None where `{of}_lengths` is given",
            "given too",
            "Pass one of the two.",
        )
    if paddings is not None:
        marked = check.real(f"{of}_paddings", paddings).astype(bool)
        check.shape(f"{of}_paddings", marked, shape)
        return marked, jnp.ones(shape[:-1], bool)
    if given is None:
        return jnp.zeros(shape, bool), jnp.ones(shape[:-1], bool)
    *lead, size = shape
    length, valid = lengths(check, f"{of}_lengths", given, tuple(lead), size)
    step = jax.lax.broadcasted_iota(jnp.int32, shape, len(lead))
    return step >= length[..., None], valid

"""The chips that kernels are written for: their names, and the memory they have.

The compilers of this table's TPUs were asked, with `tests/verify`; none was measured.
"""

import jax

from jaxloss._core.types import Implementation

KIB, MIB, GIB = 2**10, 2**20, 2**30
LANES = 128

MOST_CLASSES = 262_144
"""The largest vocabulary that the kernels were compiled for."""

# Bytes of VMEM of a core, by `device_kind`. The compiler for a v5p allows 63.94 MiB.
VMEM = {
    "TPU v5 lite": 128 * MIB,
    "TPU v5e": 128 * MIB,
    "TPU v5": 64 * MIB,
    "TPU v5p": 64 * MIB,
    "TPU v6 lite": 128 * MIB,
    "TPU v6e": 128 * MIB,
    "TPU7x": 64 * MIB,
}
SMALLEST_VMEM = min(VMEM.values())
"""What is planned with where the chip is not known."""

SHARE_OF_VMEM = 15 / 16
"""The compiler keeps the rest for itself."""


def vmem() -> int:
    """That of the chips that are there, or of the smallest."""
    return VMEM.get(jax.devices()[0].device_kind, SMALLEST_VMEM)


def of_platform(platform: str) -> Implementation | None:
    """The kernel of a platform, by the name of JAX's backend."""
    kernels: dict[str, Implementation] = {"tpu": "mosaic_tpu", "gpu": "mosaic_gpu"}
    return kernels.get(platform)


def unfit(implementation: Implementation) -> str | None:
    """Why a kernel cannot run on the devices of this machine, or None if it can, or if
    the program is compiled for others."""
    device = jax.devices()[0]
    if implementation == "mosaic_tpu" and device.platform == "tpu":
        if device.device_kind not in VMEM:
            return f"has no tiles for this chip, {device.device_kind}"
    elif implementation == "mosaic_gpu" and device.platform == "gpu":
        # Compiled for an older one, it may end the process.
        capability = getattr(device, "compute_capability", "0")
        if float(capability) < 9:
            return f"needs a Hopper GPU or a newer one; this is {device.device_kind}"
    return None


def up(size: int, multiple: int) -> int:
    """The size, filled up to a multiple."""
    return -(-size // multiple) * multiple

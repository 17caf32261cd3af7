"""The chips that kernels are written for: their names, and the memory they have.

The compilers of this table's TPUs were asked, with `tests/verify`; none was measured.
Of GPUs an NVIDIA H200 was, with `tests/accelerator` and `benchmarks.kernels`.
"""

from typing import NamedTuple

import jax

from jaxloss._core.types import Implementation

KIB, MIB, GIB = 2**10, 2**20, 2**30
LANES = 128

MOST_CLASSES = 262_144
"""The largest vocabulary that the kernels were compiled for."""


class Chip(NamedTuple):
    """What a device has, in bytes."""

    vmem: int
    """Of a core."""
    memory: int


# By `device_kind`. The compiler for a v5p allows 63.94 MiB of VMEM; a 7x is two
# devices, each with half of the chip's memory.
_V5E = Chip(128 * MIB, 16 * GIB)
_V5P = Chip(64 * MIB, 95 * GIB)
_V6E = Chip(128 * MIB, 32 * GIB)
TPUS = {
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
    "TPU7x": Chip(64 * MIB, 96 * GIB),
}
SMALLEST = Chip(*map(min, zip(*TPUS.values(), strict=True)))
"""What is planned with where the chip is not known."""

SHARE_OF_VMEM = 15 / 16
"""The compiler keeps the rest for itself."""


def here() -> Chip:
    """That of the devices that are there, or the smallest of each."""
    return TPUS.get(jax.devices()[0].device_kind, SMALLEST)


def vmem() -> int:
    """That of the chips that are there, or of the smallest."""
    return here().vmem


def of_platform(platform: str) -> Implementation | None:
    """The kernel of a platform, by the name of JAX's backend."""
    kernels: dict[str, Implementation] = {"tpu": "mosaic_tpu", "gpu": "mosaic_gpu"}
    return kernels.get(platform)


def unfit(implementation: Implementation) -> str | None:
    """Why a kernel cannot run on the devices of this machine, or None if it can, or if
    the program is compiled for others."""
    device = jax.devices()[0]
    if implementation == "mosaic_tpu" and device.platform == "tpu":
        if device.device_kind not in TPUS:
            return f"has no tiles for this chip, {device.device_kind}"
    elif implementation == "mosaic_gpu" and device.platform == "gpu":
        # Compiled for an older one, it may end the process.
        capability = getattr(device, "compute_capability", "0")
        if float(capability) < 9:
            return f"needs a Hopper GPU or a newer one; this is {device.device_kind}"
    return None


def is_hopper() -> bool:
    """Whether the devices that are there are GPUs of that generation."""
    capability = getattr(jax.devices()[0], "compute_capability", "0")
    return capability.startswith("9.")


def up(size: int, multiple: int) -> int:
    """The size, filled up to a multiple."""
    return -(-size // multiple) * multiple

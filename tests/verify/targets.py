"""Programs compiled for accelerators that are not there."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import topologies

MIB = 2**20

TPUS = ("v5e", "v6e")
# The last two are for the kernels only.
TOPOLOGIES = {
    "v5e": "v5e:2x2",
    "v6e": "v6e:2x2",
    "v5p": "v5p:2x2x1",
    "tpu7x": "tpu7x:2x2x1",
}
GPUS = ("h100", "h200")

# Device memory in bytes, and its bandwidth in bytes per second.
_MEMORY = {"h100": (84_942_979_072, 3.35e12), "h200": (150_754_820_096, 4.8e12)}

# A Hopper GPU as XLA describes it, with the version of cuDNN to compile for.
_HOPPER = """
gpu_device_info {{
  cuda_compute_capability {{
    major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES
  }}
  name: "{name}"
  device_memory_size: {memory}
  memory_bandwidth: {bandwidth}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
}}
platform_name: "CUDA"
device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
"""


def platform(target: str) -> str:
    return "tpu" if target in TOPOLOGIES else "gpu"


@functools.cache
def device(target: str):
    if target in TOPOLOGIES:
        topology = topologies.get_topology_desc(
            platform="tpu", topology_name=TOPOLOGIES[target]
        )
    else:
        memory, bandwidth = _MEMORY[target]
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name="",
            topology="1x1x1",
            target_config=_HOPPER.format(
                name=f"NVIDIA {target.upper()}", memory=memory, bandwidth=int(bandwidth)
            ),
        )
    return topology.devices[0]


def compiled(
    target: str, function: Callable, *shapes: jax.ShapeDtypeStruct, **of_jit: Any
):
    """The function, compiled for one such device."""
    sharding = jax.sharding.SingleDeviceSharding(device(target))
    placed = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding) for s in shapes]
    options = {}
    if target in GPUS:
        # On a device, tuning chooses between cuBLAS and Triton; here it is settled, so
        # that the matmuls can be counted.
        options = {"xla_gpu_enable_triton_gemm": False}
    return jax.jit(function, **of_jit).lower(*placed).compile(compiler_options=options)


class Program:
    """What the tests ask of a compiled program."""

    def __init__(self, target: str, executable: jax.stages.Compiled):
        self.target = target
        self.text = executable.as_text()
        memory = executable.memory_analysis()
        self.temporaries = memory.temp_size_in_bytes
        if target in TOPOLOGIES:
            # The compiler for TPU says too much in two ways, of which one is off: from
            # JAX 0.11 a result that is written at the end counts among the temporaries
            # too, and the peak has what stands in VMEM.
            named = memory.argument_size_in_bytes + memory.output_size_in_bytes
            beside = memory.peak_memory_in_bytes - named + memory.alias_size_in_bytes
            self.temporaries = min(self.temporaries, beside)

    @property
    def matmuls(self) -> int:
        """Those of the library on GPU, those of the matrix unit on TPU."""
        call = (
            r" convolution\("
            if self.target in TOPOLOGIES
            else r'"__cublas\$lt\$matmul"'
        )
        return len(re.findall(call, self.text))

    @property
    def arrays(self) -> set[tuple[str, tuple[int, ...]]]:
        """Dtype and shape of every array anywhere in the program."""
        found = re.findall(r"\b([a-z]+\d+|pred)\[([\d,]+)\]", self.text)
        return {(dtype, tuple(map(int, shape.split(",")))) for dtype, shape in found}

    def moved(self, *shapes: tuple[int, int]) -> list[str]:
        """Copies, transposes and conversions to float32 of arrays of these shapes."""
        sizes = "|".join(",".join(map(str, shape)) for shape in shapes)
        pattern = rf"= (?:\w+\[(?:{sizes})\]\S* (?:copy|copy-start|transpose)\(.*"
        pattern += rf"|f32\[(?:{sizes})\]\S* convert\(.*)"
        return re.findall(pattern, self.text)

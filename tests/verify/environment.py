"""What the compilers for accelerators need to be told where there is none."""

import os

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # Ask no metadata server which machine this is, and share the library.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def tell() -> None:
    """Before JAX looks for devices; `JAX_PLATFORMS` before it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)

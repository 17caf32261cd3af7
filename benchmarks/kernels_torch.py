"""The kernels of torch's world, where they are installed, for `benchmarks.kernels`.

Liger-Kernel, cut-cross-entropy, QuACK and torch itself run on a CUDA device; each is
given tensors that share JAX's memory, and is checked like the others. What writes over
its logits has logits of its own, and like the others is given back what it wrote there.
They compile when they are first called: each runs twice before it is timed.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.contest import Contender, Entry

ROUNDED = 2.0**-8
"""Some give the mean of bfloat16 logits' losses in bfloat16 too."""


MODULES = (
    "torch",
    "liger_kernel.transformers.functional",
    "cut_cross_entropy",
    "quack.linear_cross_entropy",
)


def share_the_device() -> None:
    """To be called before JAX's first computation."""
    if importlib.util.find_spec("torch") is None:
        return
    # JAX takes three quarters of the memory at once, and what is left is too little for
    # torch's programs; so it takes what it needs.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # One small kernel of cut-cross-entropy is all that torch compiles: that takes less
    # time than starting its processes for compiling.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def _there(*modules: str) -> bool:
    if jax.default_backend() != "gpu":
        return False
    return all(importlib.util.find_spec(name) is not None for name in modules)


@functools.cache
def load() -> threading.Thread:
    """Imports all of them, which takes many seconds, while JAX compiles. What cannot be
    imported says so once more where it is to run."""

    def imported() -> None:
        for name in MODULES:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    thread = threading.Thread(target=imported, daemon=True)
    if _there("torch"):
        thread.start()
    return thread


def _torch() -> Any:
    thread = load()
    if thread.is_alive():
        thread.join()
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device")
    return torch


def _tensor(
    array: jax.Array,
    *,
    gradient: bool = False,
    own: bool = False,
    transposed: bool = False,
) -> Any:
    """The array as torch sees it; its own copy where it may write, or is to have
    another layout."""
    tensor = _torch().from_dlpack(array)
    if array.dtype == np.int32:
        return tensor.long()
    if transposed:
        tensor = tensor.t().contiguous()
    elif own:
        tensor = tensor.clone()
    return tensor.detach().requires_grad_(gradient)


class Found:
    """A result, fetched only when it is asked for, and then what is asked for."""

    def __init__(self, tensor: Any):
        self.tensor = tensor.detach()

    def __float__(self) -> float:
        return float(self.tensor)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.tensor.float().cpu().numpy().astype(dtype or np.float32)

    def __getitem__(self, index: Any) -> np.ndarray:
        torch = _torch()
        places = index if isinstance(index, tuple) else (index,)
        at = tuple(
            torch.from_numpy(np.asarray(place, np.int64)).to(self.tensor.device)
            if isinstance(place, np.ndarray)
            else place
            for place in places
        )
        return np.asarray(Found(self.tensor[at]))


def _contender(
    name: str, run: Callable[..., Any], sample: Callable[[], Any] | None = None
) -> Contender:
    def settle() -> int:
        cuda = _torch().cuda
        before = cuda.memory_allocated()
        cuda.reset_peak_memory_stats()
        result = run()
        outputs = cuda.memory_allocated() - before
        del result
        return cuda.max_memory_allocated() - before - outputs

    def wait(result: Any) -> None:
        _torch().cuda.synchronize()

    return Contender(name, run, wait, sample=sample, settle=settle)


def _with_gradients(
    loss_of: Callable[..., Any],
    tensors_of: Callable[[], list[Any]],
    count: int,
    read: Callable[[int, Any], Any] = lambda at, gradient: gradient,
) -> Callable[..., Any]:
    """Value and the gradients of the first tensors, that are made at the first call."""
    torch = _torch()
    tensors: list[Any] = []

    def run(*args: Any) -> Any:
        if not tensors:
            tensors.extend(tensors_of())
        loss = loss_of(*tensors)
        gradients = torch.autograd.grad(loss, tensors[:count])
        return Found(loss), tuple(Found(read(*pair)) for pair in enumerate(gradients))

    return run


def _liger() -> Any:
    return importlib.import_module("liger_kernel.transformers.functional")


# ------------------------------------------------------------------ logits


def _losses_of_logits() -> Iterator[tuple[str, Callable[[], Callable[..., Any]]]]:
    """What imports each, and gives a function of logits and labels."""

    def of_quack() -> Callable[..., Any]:
        loss = importlib.import_module("quack.cross_entropy").cross_entropy
        return lambda x, y: loss(x, y, inplace_backward=True)

    if _there("torch", "liger_kernel"):
        yield "Liger", lambda: _liger().liger_cross_entropy
    if _there("torch", "quack"):
        yield "QuACK", of_quack
    if _there("torch"):
        yield "torch", lambda: _torch().nn.functional.cross_entropy


def logits(gradient: bool, x: jax.Array, y: jax.Array) -> Iterator[Entry]:
    """The cross entropy of logits: its value, or that and the gradient."""

    def maker(name: str, imported: Callable[[], Callable[..., Any]]) -> Entry:
        def make() -> Contender:
            _torch()
            loss = imported()

            def tensors_of() -> list[Any]:
                return [_tensor(x, gradient=gradient, own=gradient), _tensor(y)]

            if gradient:
                both = _with_gradients(loss, tensors_of, 1)

                def run(*args: Any) -> Any:
                    value, (slope,) = both()
                    return value, slope
            else:
                tensors = tensors_of()

                def run(*args: Any) -> Any:
                    return Found(loss(*tensors))

            return _contender(name, run)

        return Entry(name, lambda pool: make, None if gradient else ROUNDED)

    for name, imported in _losses_of_logits():
        yield maker(name, imported)


def pairs(x: jax.Array, t: jax.Array) -> Iterator[Entry]:
    """Jensen and Shannon's divergence of logits: value and the student's gradient."""

    def maker(name: str, dtype: str) -> Entry:
        def make() -> Contender:
            torch, loss = _torch(), _liger().liger_jsd
            logs = getattr(torch, dtype)

            def of_logits(x: Any, t: Any) -> Any:
                return loss(*(z.log_softmax(-1, dtype=logs) for z in (x, t)))

            both = _with_gradients(
                of_logits, lambda: [_tensor(x, gradient=True), _tensor(t)], 1
            )

            def run(*args: Any) -> Any:
                value, (slope,) = both()
                return value, slope

            return _contender(name, run)

        return Entry(name, lambda pool: make)

    if _there("torch", "liger_kernel"):
        yield maker("Liger", "bfloat16")
        yield maker("Liger, float32 log-softmax", "float32")


# ------------------------------------------------------------------ heads


def _of_heads(
    name: str,
    imported: Callable[[], Callable[..., Any]],
    part: tuple[jax.Array, ...],
    whole: tuple[jax.Array, ...],
) -> Entry:
    """Of the hidden states and the kernel that come first, value and both gradients."""

    def make() -> Contender:
        _torch()
        loss = imported()

        def both(arrays: tuple[jax.Array, ...]) -> Callable[..., Any]:
            # Its kernels have the classes first; labels have no second axis.
            return _with_gradients(
                loss,
                lambda: [
                    _tensor(array, gradient=at < 2, transposed=bool(at % 2))
                    for at, array in enumerate(arrays)
                ],
                2,
                lambda at, gradient: gradient.t() if at else gradient,
            )

        return _contender(name, both(whole), both(part))

    return Entry(name, lambda pool: make)


def heads(part: tuple[jax.Array, ...], whole: tuple[jax.Array, ...]) -> Iterator[Entry]:
    """The cross entropy of a head: value and both gradients."""

    def exact() -> Callable[..., Any]:
        loss = importlib.import_module("cut_cross_entropy").linear_cross_entropy
        return lambda h, w, y: loss(h, w, y, filter_eps=None, impl="cce")

    def filtered() -> Callable[..., Any]:
        loss = importlib.import_module("cut_cross_entropy").linear_cross_entropy
        return lambda h, w, y: loss(h, w, y, impl="cce")

    def of_quack(**chunks: int) -> Callable[..., Any]:
        module = importlib.import_module("quack.linear_cross_entropy")
        return functools.partial(module.chunked_linear_cross_entropy, **chunks)

    found: list[tuple[str, str, Callable[[], Callable[..., Any]]]] = [
        (
            "liger_kernel",
            "Liger",
            lambda: _liger().liger_fused_linear_cross_entropy,
        ),
        ("cut_cross_entropy", "cut-cross-entropy", filtered),
        ("cut_cross_entropy", "cut-cross-entropy, exact", exact),
        # It refuses as many tokens to a chunk as there are hidden units.
        ("quack", "QuACK", of_quack),
        *(
            (
                "quack",
                f"QuACK, chunks of {chunk:,}",
                functools.partial(of_quack, chunk_size=chunk),
            )
            for chunk in (2048, 8192)
        ),
    ]
    for module, name, imported in found:
        if _there("torch", module):
            yield _of_heads(name, imported, part, whole)


def distillations(
    part: tuple[jax.Array, ...], whole: tuple[jax.Array, ...]
) -> Iterator[Entry]:
    """The same of two heads: value and both gradients of the student's."""
    if _there("torch", "liger_kernel"):
        yield _of_heads("Liger", lambda: _liger().liger_fused_linear_jsd, part, whole)

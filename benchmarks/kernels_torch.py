"""The kernels of torch's world, where they are installed, for `benchmarks.kernels`.

Liger-Kernel and cut-cross-entropy run on a CUDA device; each is given tensors of the
same numbers, and is checked like the others.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

Make = Callable[[], Callable[[], Any]]
"""Prepares tensors, and returns what is timed."""


def _there(*modules: str) -> bool:
    if jax.default_backend() != "gpu":
        return False
    if any(importlib.util.find_spec(module) is None for module in modules):
        return False
    return bool(importlib.import_module("torch").cuda.is_available())


def _tensor(array: jax.Array, *, gradient: bool = False) -> Any:
    torch = importlib.import_module("torch")
    host = np.asarray(array)
    if host.dtype == np.int32:
        return torch.from_numpy(host.astype(np.int64)).cuda()
    tensor = torch.from_numpy(host.astype(np.float32)).cuda().to(torch.bfloat16)
    return tensor.requires_grad_(gradient)


def _back(tensor: Any) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def logits(task: str, x: jax.Array, y: jax.Array) -> Iterator[tuple[str, Make]]:
    """The cross entropy of logits."""
    if not _there("torch", "liger_kernel"):
        return
    torch = importlib.import_module("torch")
    ops = importlib.import_module("liger_kernel.transformers.functional")

    def make() -> Callable[[], Any]:
        logits, labels = _tensor(x, gradient=task != "value"), _tensor(y)

        def run() -> Any:
            # It writes the gradient over its logits, and so is given a copy.
            given = logits.detach().clone().requires_grad_(task != "value")
            loss = ops.liger_cross_entropy(given, labels)
            if task == "value":
                torch.cuda.synchronize()
                return float(loss)
            (gradient,) = torch.autograd.grad(loss, given)
            torch.cuda.synchronize()
            return float(loss), _Rows(gradient)

        return run

    yield "Liger, with a copy", make


class _Rows:
    """Rows of a tensor, fetched only when they are asked for."""

    def __init__(self, tensor: Any):
        self.tensor = tensor

    def __getitem__(self, index: Any) -> np.ndarray:
        return _back(self.tensor[index])


def _head_maker(
    loss_of: Callable[..., Any],
    error_of: Callable[[Any], float],
    part: tuple[jax.Array, ...],
    whole: tuple[jax.Array, ...],
) -> Make:
    """Of the hidden states and the kernel that come first, value and both gradients."""
    torch = importlib.import_module("torch")

    def both(arrays: tuple[jax.Array, ...]) -> Callable[[], Any]:
        # Its kernels have the classes first; labels have no second axis.
        tensors = [
            _tensor(array.T if at % 2 else array, gradient=at < 2)
            for at, array in enumerate(arrays)
        ]

        def run() -> Any:
            loss = loss_of(*tensors)
            gradients = torch.autograd.grad(loss, tensors[:2])
            torch.cuda.synchronize()
            return loss, gradients

        return run

    def make() -> Callable[[], Any]:
        loss, (of_hidden, of_kernel) = both(part)()
        error = error_of((float(loss), (_back(of_hidden), _back(of_kernel.T))))
        run = both(whole)
        return lambda: (run(), error)

    return make


def heads(
    error_of: Callable[[Any], float],
    part: tuple[jax.Array, ...],
    whole: tuple[jax.Array, ...],
) -> Iterator[tuple[str, Make]]:
    """The cross entropy of a head: value and both gradients."""

    def maker(loss_of: Callable[..., Any]) -> Make:
        return _head_maker(loss_of, error_of, part, whole)

    if _there("torch", "liger_kernel"):
        ops = importlib.import_module("liger_kernel.transformers.functional")
        yield (
            "Liger",
            maker(lambda h, w, y: ops.liger_fused_linear_cross_entropy(h, w, y)),
        )
    if _there("torch", "cut_cross_entropy"):
        cce = importlib.import_module("cut_cross_entropy").linear_cross_entropy
        for name in ("cce", "cce_exact"):
            yield (
                f"cut-cross-entropy, {name}",
                maker(lambda h, w, y, name=name: cce(h, w, y, impl=name)),
            )


def pairs(x: jax.Array, t: jax.Array) -> Iterator[tuple[str, Make]]:
    """Jensen and Shannon's divergence of logits: value and the student's gradient."""
    if not _there("torch", "liger_kernel"):
        return
    torch = importlib.import_module("torch")
    ops = importlib.import_module("liger_kernel.transformers.functional")

    def make() -> Callable[[], Any]:
        student, teacher = _tensor(x, gradient=True), _tensor(t)

        def run() -> Any:
            loss = ops.liger_jsd(student.log_softmax(-1), teacher.log_softmax(-1))
            (gradient,) = torch.autograd.grad(loss, student)
            torch.cuda.synchronize()
            return float(loss), _Rows(gradient)

        return run

    yield "Liger", make


def distillations(
    error_of: Callable[[Any], float],
    part: tuple[jax.Array, ...],
    whole: tuple[jax.Array, ...],
) -> Iterator[tuple[str, Make]]:
    """The same of two heads: value and both gradients of the student's."""
    if not _there("torch", "liger_kernel"):
        return
    ops = importlib.import_module("liger_kernel.transformers.functional")
    yield "Liger", _head_maker(ops.liger_fused_linear_jsd, error_of, part, whole)

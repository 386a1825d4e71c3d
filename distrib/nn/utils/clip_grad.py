"""Norms and clipping of gradients."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from distrib.autograd import no_grad
from distrib.devices import xp_of
from distrib.dtypes import Array
from distrib.tensor import Tensor, wrap

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]


def _listed(tensors: Any) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _norm(a: Array, p: float) -> Any:
    """The p-norm of one array, in its own dtype."""
    xp = xp_of(a)
    flat = a.reshape(-1)
    if flat.dtype.kind == "c":
        flat = xp.abs(flat)
    if p == 2.0:
        # One dot product reads the memory once; accumulated by BLAS in the array's own precision.
        if flat.dtype.kind == "f" and flat.dtype.itemsize >= 4:
            return xp.sqrt(xp.dot(flat, flat))
        wide = flat.astype("f4")
        return xp.sqrt(xp.dot(wide, wide)).astype(a.dtype)
    if flat.size == 0:
        return flat.dtype.type(0)
    if p == float("inf"):
        return xp.abs(flat).max()
    if p == float("-inf"):
        return xp.abs(flat).min()
    if p == 0:
        return (flat != 0).sum().astype(flat.dtype)
    return (xp.abs(flat) ** p).sum() ** (1.0 / p)


def get_total_norm(
    tensors: Any,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors taken as one vector; `foreach` has no effect.

    RuntimeError if it is not finite and `error_if_nonfinite` is set.
    """
    arrays = [t._a for t in _listed(tensors)]
    p = float(norm_type)
    if not arrays:
        return wrap(np.zeros((), "f4"))
    xp = xp_of(arrays[0])
    norms = [_norm(a, p) for a in arrays]
    total = wrap(xp.asarray(_norm(xp.stack([xp.asarray(n) for n in norms]), p)))
    if error_if_nonfinite and not bool(xp.isfinite(total._a)):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it "
            "cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm "
            "anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients by max_norm / (total_norm + 1e-6) where that is below 1."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    if not grads:
        return
    with no_grad():
        norm: Any = total_norm
        coefficient = float(max_norm) / (norm + 1e-6)
        coefficient = coefficient.clamp(max=1.0)
        factor = coefficient._a
        if type(factor) is not type(grads[0]._a):
            factor = coefficient.to(grads[0].device)._a
        if float(factor) == 1.0:
            return
        for grad in grads:
            grad._a *= factor.astype(grad._a.dtype)
            grad._bump()


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients so that their common norm is at most `max_norm`; returns the norm before.

    >>> from distrib import nn
    >>> layer = nn.Linear(2, 1)
    >>> _ = nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
    """
    if isinstance(parameters, Tensor):
        params = [parameters]
    else:
        is_generator = not isinstance(parameters, (list, tuple)) and iter(parameters) is parameters
        params = list(parameters)
        if is_generator and not params:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.",
                stacklevel=2,
            )
    grads = [p.grad for p in params if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(params, max_norm, total, foreach)
    return total


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated "
        "in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clip every element of the gradients to [-clip_value, clip_value]."""
    bound = float(clip_value)
    for p in _listed(parameters):
        grad = p.grad
        if grad is not None:
            xp = xp_of(grad._a)
            xp.clip(grad._a, -bound, bound, out=grad._a)
            grad._bump()

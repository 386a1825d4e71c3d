"""softmax, log_softmax, softmin: records, backward records and functions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..dtypes import raw_of
from ..tensor import Tensor, W, check_dim
from .arithmetic import exp
from .compare import unsupported
from .core import cast
from .dense import takes, takes_both
from .native import fast
from .reduce import sum
from .registry import attach, operator, publish
from .samples import spread

xp: Any = None  # bound per array type
_X, _Y = spread(3, 4, 5), spread(3, 4, 5, seed=3)


def _last(x: Any, dim: int) -> bool:
    """Whether the compiled kernels reduce over this dimension."""
    return x.ndim > 0 and dim in (-1, x.ndim - 1)


def _floating(x: Any, dim: int, name: str) -> None:
    check_dim(dim, x.ndim)
    if x.dtype.kind not in "fc":
        raise unsupported(name, x)


def _softmax(x: Any, dim: int) -> Any:
    _floating(x, dim, "softmax_lastdim_kernel_impl")
    if not x.size:
        return x.copy()
    e = x - xp.maximum.reduce(x, dim, keepdims=True)
    e = xp.exp(e)
    return e / xp.add.reduce(e, dim, keepdims=True)


def _softmax_backward(g: Any, y: Any, dim: int) -> Any:
    return y * (g - xp.add.reduce(g * y, dim, keepdims=True))


def _log_softmax(x: Any, dim: int) -> Any:
    _floating(x, dim, "log_softmax_lastdim_kernel_impl")
    if not x.size:
        return x.copy()
    z = x - xp.maximum.reduce(x, dim, keepdims=True)
    return z - xp.log(xp.add.reduce(xp.exp(z), dim, keepdims=True))


def _log_softmax_backward(g: Any, y: Any, dim: int) -> Any:
    return g - xp.exp(y) * xp.add.reduce(g, dim, keepdims=True)


softmax_op = operator(
    "softmax", lambda input, *, dim: _softmax(input, dim),
    (lambda g, y, dim: softmax_backward(g, y, dim=dim),), "math",
    cpu=lambda input, *, dim: fast.softmax(input) if takes(input) and _last(input, dim)
        else _softmax(input, dim),
    method=False, samples=lambda: [((_X,), {"dim": 1}), ((_X,), {"dim": -1})], onnx="Softmax",
    ref=lambda x, dim: np.exp(x) / np.sum(np.exp(x), dim, keepdims=True),
)  # fmt: skip
softmax_backward: Any = operator(
    "softmax_backward", lambda grad, output, *, dim: _softmax_backward(grad, output, dim),
    cpu=lambda grad, output, *, dim: fast.softmax_grad(grad, output) if takes_both(grad, output)
        and _last(output, dim) else _softmax_backward(grad, output, dim),
    grads=(lambda g, output, dim: softmax_backward(g, output, dim=dim),
        lambda g, grad, output, dim: g * (grad - sum(grad * output, dim=dim, keepdim=True)) - grad
        * sum(g * output, dim=dim, keepdim=True)),
    method=False, samples=lambda: [((_X, _Y), {"dim": 1}), ((_X, _Y), {"dim": 2})],
    ref=lambda g, y, dim: y * g - y * np.average(g, dim, y, keepdims=True)
        * np.sum(y, dim, keepdims=True),
)  # fmt: skip
log_softmax_op = operator(
    "log_softmax", lambda input, *, dim: _log_softmax(input, dim),
    (lambda g, y, dim: log_softmax_backward(g, y, dim=dim),), "math",
    cpu=lambda input, *, dim: fast.log_softmax(input) if takes(input) and _last(input, dim)
        else _log_softmax(input, dim),
    method=False, samples=lambda: [((_X,), {"dim": 1}), ((_X,), {"dim": -1})], onnx="LogSoftmax",
    ref=lambda x, dim: x - np.log(np.sum(np.exp(x), dim, keepdims=True)),
)  # fmt: skip
log_softmax_backward: Any = operator(
    "log_softmax_backward", lambda grad, output, *, dim: _log_softmax_backward(grad, output, dim),
    cpu=lambda grad, output, *, dim: fast.log_softmax_grad(grad, output)
        if takes_both(grad, output) and _last(output, dim)
        else _log_softmax_backward(grad, output, dim),
    grads=(lambda g, output, dim: g - sum(g * exp(output), dim=dim, keepdim=True),
        lambda g, grad, output, dim: -(g * exp(output) * sum(grad, dim=dim, keepdim=True))),
    method=False, samples=lambda: [((_X, _Y), {"dim": 1}), ((_X, _Y), {"dim": 2})],
    ref=lambda g, y, dim: g - np.exp(y) * np.sum(g, dim, keepdims=True),
)  # fmt: skip


def _implicit(name: str, ndim: int, level: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        UserWarning, stacklevel=level,
    )  # fmt: skip
    return 0 if ndim in (0, 1, 3) else 1


def _into(name: str, result: Tensor, out: Any) -> Tensor:
    written: Tensor = W["write_out"](name, result, out, ())
    return written


def softmax(
    input: Tensor, dim: Any = None, _stacklevel: Any = 3, dtype: Any = None, *, out: Any = None
) -> Tensor:
    """exp(x) over its sum along a dimension."""
    if not isinstance(_stacklevel, int):  # torch.softmax(input, dim, dtype)
        _stacklevel, dtype = 3, _stacklevel
    if dim is None:
        dim = _implicit("softmax", input.ndim, _stacklevel)
    if dtype is not None:
        input = cast(input, dtype=raw_of(dtype))
    result: Tensor = softmax_op(input, dim=dim)
    return result if out is None else _into("softmax", result, out)


def log_softmax(
    input: Tensor, dim: Any = None, _stacklevel: Any = 3, dtype: Any = None, *, out: Any = None
) -> Tensor:
    """The logarithm of softmax, computed without leaving logarithms."""
    if not isinstance(_stacklevel, int):  # torch.log_softmax(input, dim, dtype)
        _stacklevel, dtype = 3, _stacklevel
    if dim is None:
        dim = _implicit("log_softmax", input.ndim, _stacklevel)
    if dtype is not None:
        input = cast(input, dtype=raw_of(dtype))
    result: Tensor = log_softmax_op(input, dim=dim)
    return result if out is None else _into("log_softmax", result, out)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax of the negative."""
    if dim is None:
        dim = _implicit("softmin", input.ndim, _stacklevel)
    return softmax(-input, dim, _stacklevel, dtype)


def _method(fn: Any) -> Any:
    def called(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
        result: Tensor = fn(self, dim, dtype=dtype)
        return result

    return called


attach("softmax", _method(softmax))
attach("log_softmax", _method(log_softmax))

__all__ = ["log_softmax", "softmax"]
NN = ["log_softmax", "softmax", "softmin"]
publish(globals())

"""What the machinery itself needs: casts, copies, fills, aliases, and writing results into ``out=``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.inplace import check_writable, kind
from ..devices import device_of, xp_of
from ..tensor import Tensor, W, state, wrap
from . import apply, promote
from .record import OPS
from .registry import attach, operator

xp: Any = None  # bound per array type


def _cast(x: Any, dtype: Any) -> Any:
    if x.dtype.kind == "c" and dtype.kind not in "c":
        x = x.real
    if dtype.kind in "iu" and x.dtype.kind in "fV":
        return _to_integer(x, dtype)
    return x.astype(dtype)


def _to_integer(x: Any, dtype: Any) -> Any:
    """Truncate; what does not fit wraps around as it does in C for 64 bits, without a warning."""
    if dtype.itemsize < 8 or dtype.kind == "u":
        return x.astype("i8").astype(dtype)
    return x.astype(dtype)


def _kept_order(x: Any) -> str:
    """A copy lies in memory as what is copied, unless elements share memory there."""
    if 0 in x.strides and any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape)):
        return "C"
    return "K"


cast: Any = operator(
    "cast", lambda x, *, dtype: _cast(x, dtype), (lambda g, x_dtype: cast(g, dtype=x_dtype),),
    cast=True, method=False, grad_name="ToCopyBackward0",
    samples=lambda: [((np.array([1.5, -2.5, 3.0]),), {"dtype": np.dtype("f4")})],
    ref=lambda x, dtype: x.astype(dtype),
)  # fmt: skip
clone_ = operator(
    "clone", lambda input: input.copy(order=_kept_order(input)), (lambda g: g,), method=False,
    samples=lambda: [((np.arange(6.0).reshape(2, 3),), {})], ref=lambda input: input.copy(),
)  # fmt: skip
alias = operator(
    "alias", lambda x: x[...], (lambda g: g,), view=True, method=False,
    samples=lambda: [((np.arange(6.0).reshape(2, 3),), {})], ref=lambda x: x,
)  # fmt: skip
fill: Any = operator(  # in gradients: zeros, where g * 0 would be NaN for infinite g
    "fill", lambda x, *, value: xp.full(x.shape, value, x.dtype), (lambda g: fill(g, value=0),), method=False,
    samples=lambda: [((np.arange(3.0),), {"value": 2.0})],
    ref=lambda x, value: np.full(x.shape, value),
)  # fmt: skip


def _copy(x: Any, src: Any) -> Any:
    if src.dtype != x.dtype:
        src = _cast(src, x.dtype)
    return xp.broadcast_to(src, x.shape)


copy = operator(
    "copy", lambda x, src: _copy(x, src), (lambda g: fill(g, value=0), lambda g, src_dtype: cast(g, dtype=src_dtype)),
    method=False, grad_name="CopyBackwards",
    samples=lambda: [((np.zeros((2, 3)), np.arange(3.0)), {})],
    ref=lambda x, src: np.broadcast_to(src, x.shape),
)  # fmt: skip


# ---- results into given tensors ---------------------------------------------------------------------
def write_out(name: str, result: Any, out: Any, args: Any) -> Any:
    """Write results into what the user gave as ``out=``: checked, resized if need be."""
    if isinstance(out, (tuple, list)):
        for r, o in zip(result, out, strict=True):
            write_out(name, r, o, args)
        return type(result)(*out) if hasattr(result, "_fields") else tuple(out)
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    recording = state.grad or not W["nograd"]
    if recording and (out._n is not None or result._n is not None):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one "
            "of the arguments requires grad."
        )
    check_result(result, out)
    if device_of(result._a) != device_of(out._a):
        raise RuntimeError(
            f"Expected out tensor to have device {result.device}, but got {out.device} instead"
        )
    if out._a.shape != result._a.shape:
        if out._a.size:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out._a.shape)}, "
                f"which does not match the required output shape {list(result._a.shape)}. This behavior is "
                "deprecated, and in a future PyTorch release outputs will not be resized unless they have "
                "zero elements. You can explicitly reuse an out tensor t by resizing it, inplace, to zero "
                "elements with t.resize_(0).",
                UserWarning,
                stacklevel=4,
            )
        out._a = xp_of(out._a).empty(result._a.shape, out._a.dtype)
    out._a[...] = _plain(result._a, out._a.dtype)
    out._bump()
    return out


def _plain(a: Any, raw: Any) -> Any:
    return a if a.dtype == raw else OPS["cast"].kernel_for(a)(a, dtype=raw)


def check_result(result: Tensor, into: Tensor) -> None:
    """RuntimeError if the dtype of a result may not be written into a tensor's."""
    if not dtypes.can_cast(result.dtype, into.dtype):
        raise RuntimeError(
            f"result type {kind(result._a.dtype)} can't be cast to the desired output type "
            f"{kind(into._a.dtype)}"
        )


def _writable(t: Tensor) -> None:
    check_writable(t, state.grad or not W["nograd"])


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Copy values into this tensor, in place; broadcasts and converts."""
    if not isinstance(src, Tensor):
        raise TypeError(
            f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}"
        )
    if device_of(src._a) != device_of(self._a):
        from ..devices import move

        src = wrap(move(src._a, self.device), None) if src._n is None else src.to(self.device)
    done: Tensor = W["inplace"](OPS["copy"], self, (src,))
    return done


def zero_(self: Tensor) -> Tensor:
    """Fill with zeros, in place."""
    done: Tensor = W["inplace"](OPS["fill"], self, (), {"value": 0})
    return done


def fill_(self: Tensor, value: Any) -> Tensor:
    """Fill with one value, in place."""
    if isinstance(value, Tensor):
        if value._a.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value._a.ndim} dimensions."
            )
        return copy_(self, value)
    done: Tensor = W["inplace"](OPS["fill"], self, (), {"value": value})
    return done


for _f in (copy_, zero_, fill_):
    attach(_f.__name__, _f)
W.update(write_out=write_out, check_result=check_result, check_writable=_writable)
W.update(result_raw=promote.result_raw, apply=apply.apply)

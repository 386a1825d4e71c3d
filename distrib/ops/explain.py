"""From what made a kernel fail to the exception that PyTorch raises in its place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DeviceError, DimError, DistribError, DTypeError, ShapeError
from ..tensor import Tensor, W
from .record import Op


def explain(op: Op, args: Any, attrs: Any, e: Exception) -> Exception:
    """The exception that PyTorch raises for what made a kernel fail."""
    if isinstance(e, DistribError) or type(e) in (DimError, NotImplementedError):
        return e
    if type(e) is IndexError:
        text = (
            str(e)
            .replace(" axis ", " dimension ")
            .replace("for array: array is", "for tensor: it is")
        )
        return IndexError(text)
    if isinstance(e, np.exceptions.AxisError):
        top = max(e.ndim or 1, 1)
        return DimError(
            f"Dimension out of range (expected to be in range of [{-top}, {top - 1}], but got {e.axis})"
        )
    flat = [a for x in args for a in (x if isinstance(x, (tuple, list)) else (x,))]
    tensors = [a for a in flat if isinstance(a, Tensor)]
    kinds = {t.device for t in tensors}
    if len(kinds) > 1:
        return DeviceError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            + " and ".join(sorted(map(str, kinds))) + f"! (when checking argument of {op.name})"
        )  # fmt: skip
    text = str(e)
    if isinstance(e, TypeError) and (
        "not supported for the input types" in text or "No loop" in text
    ):
        return DTypeError(f"\"{op.name}\" not implemented for '{tensors[0].dtype.name.title()}'")
    if isinstance(e, TypeError) and text.startswith(("numpy boolean", "The numpy boolean")):
        return DTypeError(
            f"{op.name}(): the `-` operator is not supported for bool tensors",
            got=", ".join(str(t.dtype) for t in tensors),
            expected="numbers",
            hint="Use the `~`, `^` or `logical_xor()` operator instead.",
        )
    if "duplicate value in 'axis'" in text:
        return ShapeError(f"{_repeated(attrs)} appears multiple times in the list of dims")
    if isinstance(e, TypeError) and not tensors:
        return e
    if isinstance(e, TypeError) and "argument" in text and "ufunc" not in text:
        return TypeError(f"{op.name}(): {text}")
    if isinstance(e, ZeroDivisionError):
        return RuntimeError("ZeroDivisionError")
    shapes = [tuple(t._a.shape) for t in tensors]
    clash = _clash(shapes) if "broadcast" in text else None
    if clash:
        return ShapeError(clash)
    got = ", ".join(f"{list(s)} {t.dtype}" for s, t in zip(shapes, tensors, strict=True))
    shown = {k: v for k, v in attrs.items() if not isinstance(v, Tensor)}
    return ShapeError(f"{op.name}(): {text}", got=got + (f" with {shown}" if shown else ""))


def _clash(shapes: list[tuple[int, ...]]) -> str | None:
    a: tuple[int, ...] = ()
    for b in shapes:  # a: the common shape of those before
        n = max(len(a), len(b))
        pa, pb = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
        for i in range(n - 1, -1, -1):
            if pa[i] != pb[i] and 1 not in (pa[i], pb[i]):
                return (
                    f"The size of tensor a ({pa[i]}) must match the size of tensor b ({pb[i]}) at "
                    f"non-singleton dimension {i}"
                )
        a = tuple(q if p == 1 else p for p, q in zip(pa, pb, strict=True))
    return None


def _repeated(attrs: dict[str, Any]) -> str:
    """The dimension that a tuple of them names twice."""
    dims = [d for v in attrs.values() if isinstance(v, tuple) for d in v]
    return f"dim {next((d for i, d in enumerate(dims) if d in dims[:i]), dims)}"


W.update(explain=explain)

"""Padding: constant, reflected, replicated, circular."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor
from .join import cat, narrow
from .registry import operator, publish
from .shape import _a

xp: Any = None  # bound per array type


def _constant(x: Any, sides: Any, value: Any) -> Any:
    """Sides may be negative: those are cut off."""
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, sides, strict=True))
    y = xp.full(shape, value, x.dtype)
    inner = tuple(slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, sides, strict=True))
    outer = tuple(
        slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, sides, strict=True)
    )
    y[inner] = x[outer]
    return y


constant_pad: Any = operator(
    "constant_pad_nd", lambda x, *, sides, value=0.0: _constant(x, sides, value),
    (lambda g, sides: constant_pad(g, sides=tuple((-a, -b) for a, b in sides), value=0.0),),
    method=False, onnx="Pad",
    samples=lambda: [((_a(2, 3),), {"sides": ((0, 1), (2, -1)), "value": 1.5})],
    ref=lambda x, sides, value: np.pad(x[:, :-1], ((0, 1), (2, 0)), constant_values=value),
)  # fmt: skip


def _indices(n: int, a: int, b: int, mode: str) -> Any:
    """Which element stands at each place of a padded dimension."""
    i = np.arange(-a, n + b)
    if mode == "replicate":
        return np.clip(i, 0, n - 1)
    if mode == "circular":
        return i % n
    i = np.abs(i)
    return np.where(i >= n, 2 * (n - 1) - i, i)


def pad(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """Pad the last dimensions: (left, right) of the last, then of the one before it ...; negative sides cut."""
    sides = [int(k) for k in pad]
    if len(sides) % 2:
        raise ShapeError(
            "Padding length must be divisible by 2"
            if mode == "constant"
            else f"Padding length should be divisible by 2, got {len(sides)}"
        )
    pairs, ndim = [tuple(sides[i : i + 2]) for i in range(0, len(sides), 2)], input._a.ndim
    if len(pairs) > ndim:
        raise ShapeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length {len(sides)} and input of dimension {ndim}"
        )
    if mode == "constant":
        for d, (a, b) in enumerate(pairs):
            if input._a.shape[ndim - 1 - d] + a + b < 0:
                raise ShapeError(
                    f"The input size {input._a.shape[ndim - 1 - d]}, plus negative padding {a} and {b}, resulted in a negative output size, which is invalid. Check dimension {ndim - 1 - d} of your input."
                )
        full = ((0, 0),) * (ndim - len(pairs)) + tuple(pairs[::-1])
        made: Tensor = constant_pad(input, sides=full, value=0.0 if value is None else value)
        return made
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if ndim not in (len(pairs) + 1, len(pairs) + 2) or len(pairs) > 3:
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
        )
    made = input
    for d, (a, b) in enumerate(pairs):
        dim = ndim - 1 - d
        n = input._a.shape[dim]
        if mode == "reflect" and max(a, b) >= n:
            raise ShapeError(
                f"Argument #4: Padding size should be less than the corresponding input dimension, but got: padding ({a}, {b}) at dimension {dim} of input {list(input._a.shape)}"
            )
        if mode == "circular" and max(a, b) > n:
            raise ShapeError("Padding value causes wrapping around more than once.")
        made = _along(made, dim, n, a, b, mode)
    return made


def _along(x: Tensor, dim: int, n: int, a: int, b: int, mode: str) -> Tensor:
    from .creation import as_index

    if a < 0 or b < 0:
        if mode != "circular":
            where = as_index(_indices(n, a, b, mode))
            cut: Tensor = x.index_select(dim, where)
            return cut
        x = narrow(x, dim, max(-a, 0), n - max(-a, 0) - max(-b, 0))
        n, a, b = x._a.shape[dim], max(a, 0), max(b, 0)
    if a == b == 0:
        return x
    if mode == "circular":
        parts = [narrow(x, dim, n - a, a)] if a else []
        result: Tensor = cat([*parts, x, *([narrow(x, dim, 0, b)] if b else [])], dim)
        return result
    made: Tensor = x.index_select(dim, as_index(_indices(n, a, b, mode)))
    return made


__all__ = ["constant_pad_nd"]
NN = ["pad"]


def constant_pad_nd(input: Tensor, pad_: Any, value: Any = 0) -> Tensor:
    """Pad the last dimensions with one value."""
    return pad(input, pad_, "constant", value)


publish(globals())

"""Scalar formulas: traced once with symbols, rendered as NumPy, C++ and Triton source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Expr:
    """A node of a traced formula: an operation and its arguments (nodes, names or numbers)."""

    __slots__ = ("args", "op")
    __hash__ = object.__hash__

    def __init__(self, op: str, *args: Any) -> None:
        self.op, self.args = op, args


def _binary(name: str) -> tuple[Callable[..., Expr], Callable[..., Expr]]:
    def forward(self: Expr, other: Any) -> Expr:
        return Expr(name, self, other)

    def reflected(self: Expr, other: Any) -> Expr:
        return Expr(name, other, self)

    return forward, reflected


for _dunder, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lt": "less", "le": "less_equal",
    "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    _f, _r = _binary(_name)
    setattr(Expr, f"__{_dunder}__", _f)
    setattr(Expr, f"__r{_dunder}__", _r)
for _dunder, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(Expr, f"__{_dunder}__", lambda self, _name=_name: Expr(_name, self))


class _Math:
    """The functions that formulas may call, under NumPy's names."""

    def __getattr__(self, name: str) -> Callable[..., Expr]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any) -> Expr:
            return Expr(name, *args)

        setattr(self, name, call)
        return call


math: Any = _Math()

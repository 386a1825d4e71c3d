"""Errors that say which operator, what it got, what it expected and what to do.

Each class derives from the type that PyTorch raises in the same place, so handlers written for
PyTorch catch it, and from ValueError where the user passed something wrong.
"""

from __future__ import annotations

from typing import Any


class DistribError(RuntimeError):
    """Base of the errors that are raised for wrong input: operator, got, expected, hint."""

    def __init__(
        self, message: str, *, got: Any = None, expected: Any = None, hint: str | None = None
    ) -> None:
        parts = [message]
        if expected is not None:
            parts.append(f"expected {expected}")
        if got is not None:
            parts.append(f"got {got}")
        text = "; ".join(parts)
        super().__init__(text if hint is None else f"{text}. {hint}")
        self.got, self.expected, self.hint = got, expected, hint


class ShapeError(DistribError, ValueError):
    """Shapes that do not fit an operator or one another."""


class DTypeError(DistribError, ValueError):
    """A dtype that an operator does not take."""


class DeviceError(DistribError, ValueError):
    """Tensors on different devices, or a device that is not there."""


class DimError(IndexError):
    """A dimension that a tensor does not have."""


class CollectiveError(DistribError):
    """A collective that ranks called differently, or that a rank never reached."""


class NotAvailableError(NotImplementedError):
    """A part of PyTorch that is not there; the message names the alternative."""

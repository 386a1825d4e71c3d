"""Tensors as text: PyTorch's form, to the character."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import dtypes
from .devices import to_host
from .tensor import Leaf, Tensor


class _Options:
    precision, threshold, edgeitems, linewidth = 4, 1000.0, 3, 80
    sci_mode: bool | None = None


options = _Options()
_PROFILES = {
    "default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, math.inf, 3, 80),
}  # fmt: skip


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Set how tensors are printed: digits, elements before a summary, its edges, columns, notation."""
    if profile is not None:
        options.precision, options.threshold, options.edgeitems, options.linewidth = _PROFILES[
            profile
        ]
    for name, value in (("precision", precision), ("threshold", threshold), ("edgeitems", edgeitems),
                        ("linewidth", linewidth)):  # fmt: skip
        if value is not None:
            setattr(options, name, value)
    options.sci_mode = sci_mode


@contextmanager
def printoptions(**values: Any) -> Any:
    """Set print options for a block."""
    before = dict(vars(options))
    set_printoptions(**values)
    try:
        yield
    finally:
        for k in list(vars(options)):
            delattr(options, k)
        for k, v in before.items():
            setattr(options, k, v)


class _Formatter:
    """How wide numbers are and in which notation, decided from all that will be shown."""

    def __init__(self, values: Any) -> None:
        self.floating = values.dtype.kind == "f"
        self.int_mode, self.sci, self.width = True, False, 1
        flat = values.reshape(-1)
        if not self.floating:
            self.width = max([1, *(len(str(v)) for v in flat.tolist())])
            return
        with np.errstate(all="ignore"):
            finite = flat[np.isfinite(flat) & (flat != 0)].astype("f8")
        if finite.size == 0:
            return
        size = np.abs(finite)
        low, high = float(size.min()), float(size.max())
        self.int_mode = bool((finite == np.ceil(finite)).all())
        if self.int_mode:
            self.sci = high / low > 1000.0 or high > 1.0e8
        else:
            self.sci = high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4
        if options.sci_mode is not None:
            self.sci = options.sci_mode
        if self.sci:
            texts = [f"{v:.{options.precision}e}" for v in finite.tolist()]
        elif self.int_mode:
            texts = [f"{v:.0f}" for v in finite.tolist()]
            self.width = max(self.width, max(map(len, texts)) + 1)
            return
        else:
            texts = [f"{v:.{options.precision}f}" for v in finite.tolist()]
        self.width = max(self.width, max(map(len, texts)))

    def _one(self, v: Any) -> str:
        if not self.floating:
            return str(v)
        if self.sci:
            return f"{v:.{options.precision}e}"
        if self.int_mode:
            text = f"{v:.0f}"
            return text if math.isinf(v) or math.isnan(v) else text + "."
        return f"{v:.{options.precision}f}"

    def __call__(self, v: Any) -> str:
        return self._one(v).rjust(self.width)


class _Complex:
    def __init__(self, values: Any) -> None:
        self.real, self.imag = _Formatter(values.real), _Formatter(values.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, v: complex) -> str:
        imag = self.imag(v.imag).lstrip()
        if not imag.startswith(("+", "-")):
            imag = "+" + imag
        return self.real(v.real) + imag + "j"


def _vector(a: Any, indent: int, summarize: bool, fmt: Any) -> str:
    per_line = max(1, math.floor((options.linewidth - indent) / (fmt.width + 2)))
    edge = options.edgeitems
    if summarize and not edge:
        cells = ["..."]
    elif summarize and a.shape[0] > 2 * edge:
        cells = (
            [fmt(v) for v in a[:edge].tolist()] + [" ..."] + [fmt(v) for v in a[-edge:].tolist()]
        )
    else:
        cells = [fmt(v) for v in a.tolist()]
    lines = [cells[i : i + per_line] for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(", ".join(line) for line in lines) + "]"


def _body(a: Any, indent: int, summarize: bool, fmt: Any) -> str:
    if a.ndim == 0:
        return str(fmt(a.item()))
    if a.ndim == 1:
        return _vector(a, indent, summarize, fmt)
    edge = options.edgeitems
    if summarize and a.shape[0] > 2 * edge:
        parts = [_body(x, indent + 1, summarize, fmt) for x in a[:edge]]
        parts += ["..."] + [_body(x, indent + 1, summarize, fmt) for x in a[len(a) - edge :]]
    else:
        parts = [_body(x, indent + 1, summarize, fmt) for x in a]
    made: str = "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(parts) + "]"
    return made


def _edges(a: Any) -> Any:
    """Only what a summary shows."""
    n = options.edgeitems
    if a.ndim == 0:
        return a
    if a.ndim == 1:
        return np.concatenate((a[:n], a[-n:])) if len(a) > 2 * n and n else a
    if a.shape[0] > 2 * n:
        keep = [_edges(x) for x in a[:n]] + [_edges(x) for x in a[len(a) - n :]]
    else:
        keep = [_edges(x) for x in a]
    return np.stack(keep) if keep else a


def _values(a: Any) -> str:
    if a.dtype.kind == "V":
        a = a.astype("f4")
    summarize = a.size > options.threshold
    shown = _edges(a) if summarize else a
    fmt = _Complex(shown) if a.dtype.kind == "c" else _Formatter(shown)
    return _body(a, len("tensor("), summarize, fmt)


def text(t: Tensor) -> str:
    """The text of a tensor."""
    suffixes = []
    d, a = t.dtype, t._a
    default = d is dtypes.get_default_dtype() or d in (dtypes.int64, dtypes.bool_)
    if d.is_complex and d is dtypes.get_default_dtype().to_complex():
        default = True
    if t.device.type != "cpu":
        suffixes.append(f"device='{t.device}'")
    if t.is_meta:
        suffixes.append(f"size={tuple(a.shape)}")
        body = "..."
        if d is not dtypes.get_default_dtype():
            suffixes.append(f"dtype={d}")
    elif a.size == 0:
        if a.ndim != 1:
            suffixes.append(f"size={tuple(a.shape)}")
        if d is not dtypes.get_default_dtype():
            suffixes.append(f"dtype={d}")
        body = "[]"
    else:
        if not default:
            suffixes.append(f"dtype={d}")
        body = _values(to_host(a))
    n = t._n
    if n is not None and type(n) is not Leaf:
        name = n.name()
        suffixes.append(f"grad_fn=<{name}>")
    elif n is not None:
        suffixes.append("requires_grad=True")
    out, indent = "tensor(" + body, len("tensor(")
    length = len(out) - out.rfind("\n") + 1
    for s in suffixes:
        if length + len(s) + 2 > options.linewidth:
            out += ",\n" + " " * indent + s
            length = indent + len(s)
        else:
            out += ", " + s
            length += len(s) + 2
    return out + ")"

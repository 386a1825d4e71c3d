"""gradcheck and gradgradcheck: gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .engine import grad


class GradcheckError(RuntimeError):
    """A gradient that differs from the finite difference."""


def _outputs(fn: Callable[..., Any], inputs: Any) -> list[Tensor]:
    y = fn(*inputs)
    return [
        t
        for t in (y if isinstance(y, (tuple, list)) else (y,))
        if isinstance(t, Tensor) and t.requires_grad
    ]


def _fresh(inputs: Any) -> list[Any]:
    return [
        wrap(x._a.copy()).requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x
        for x in inputs
    ]


def _numeric(fn: Callable[..., Any], inputs: list[Any], which: int, out: int, eps: float) -> Any:
    """The Jacobian column by column: [elements of the input, elements of the output]."""
    a = inputs[which]._a
    flat = a.reshape(-1)
    steps = [eps] if a.dtype.kind != "c" else [eps, eps * 1j]
    columns = []
    for i in range(flat.size):
        parts = []
        for step in steps:
            values = []
            for sign in (1, -1):
                moved = [wrap(x._a.copy()) if isinstance(x, Tensor) else x for x in inputs]
                moved[which]._a.reshape(-1)[i] += sign * step
                y = fn(*moved)
                y = (y if isinstance(y, (tuple, list)) else (y,))[out]
                values.append(y._a.reshape(-1).copy())
            parts.append((values[0] - values[1]) / (2 * eps))
        columns.append(parts)
    return columns


def _analytic(fn: Callable[..., Any], inputs: list[Any], which: int, out: int) -> Any:
    rows = []
    y = _outputs(fn, inputs)[out]
    seeds = [1.0] if y._a.dtype.kind != "c" else [1.0, 1j]
    for j in range(y.numel()):
        parts = []
        for seed in seeds:
            v = np.zeros(y._a.shape, y._a.dtype)
            v.reshape(-1)[j] = seed
            (g,) = grad([y], [inputs[which]], [wrap(v)], retain_graph=True, allow_unused=True)
            parts.append(
                np.zeros(inputs[which]._a.shape, inputs[which]._a.dtype) if g is None else g._a
            )
        rows.append([p.reshape(-1) for p in parts])
    return rows


def _compare(
    fn: Any, inputs: list[Any], which: int, out: int, eps: float, atol: float, rtol: float
) -> None:
    numeric, analytic = _numeric(fn, inputs, which, out, eps), _analytic(fn, inputs, which, out)
    for i, columns in enumerate(numeric):
        for j, rows in enumerate(analytic):
            for k, column in enumerate(columns):  # real and imaginary step
                for s, row in enumerate(rows):  # real and imaginary seed
                    d = column[j]
                    want = float(d.real if s == 0 else d.imag)
                    got = complex(row[i])
                    have = got.real if k == 0 else got.imag
                    if not np.isclose(have, want, rtol, atol):
                        raise GradcheckError(
                            f"Jacobian mismatch for output {out} with respect to input {which}, at input element "
                            f"{i} and output element {j}: numerical {want:.8g}, analytical {have:.8g}"
                        )


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, fast_mode: bool = False, check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False, check_forward_ad: bool = False, check_backward_ad: bool = True,
    masked: bool | None = None,
) -> bool:  # fmt: skip
    """Compare gradients with finite differences, element by element; GradcheckError where they differ."""
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    wanted = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    try:
        for i in wanted:
            x = _fresh(given)
            for out in range(len(_outputs(func, x))):
                _compare(func, x, i, out, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
    fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """gradcheck of the gradient."""
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    outs = _outputs(func, _fresh(given))
    rng = np.random.default_rng(0)
    if grad_outputs is None:
        seeds = [
            wrap(rng.standard_normal(y._a.shape).astype(y._a.dtype)).requires_grad_() for y in outs
        ]
    else:
        seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    n = len(given)

    def first(*args: Any) -> Any:
        xs = [
            x
            if not isinstance(x, Tensor) or x.requires_grad or not given[i].requires_grad
            else x.requires_grad_()
            for i, x in enumerate(args[:n])
        ]
        ys = _outputs(func, xs)
        wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        found = grad(ys, wanted, list(args[n:]), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first, [*given, *seeds], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )

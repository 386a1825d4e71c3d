"""Elementwise operators: what the derived tests cannot know. Promotion, Python operators, ties, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import distrib as torch


def same(t: Any, values: Any, dtype: Any = None) -> None:
    np.testing.assert_allclose(np.asarray(t.tolist()), np.asarray(values), 1e-6, 1e-7)
    if dtype is not None:
        assert t.dtype == dtype


def test_python_numbers_do_not_widen() -> None:
    x = torch.ones(2)
    assert (x + 1.5).dtype == torch.float32
    assert (x * np.float64(2)).dtype == torch.float32
    assert (torch.ones(2, dtype=torch.int32) + 1).dtype == torch.int32
    assert (torch.ones(2, dtype=torch.int32) + 1.5).dtype == torch.float32
    assert (torch.ones(2, dtype=torch.float16) * 2).dtype == torch.float16
    assert (x + 1j).dtype == torch.complex64


def test_reflected_operators() -> None:
    x = torch.tensor([1.0, 2.0])
    same(2 - x, [1, 0])
    same(2 / x, [2, 1])
    same(2**x, [2, 4])
    same(7 // x, [7, 3])
    same(7 % (x + 1), [1, 1])
    same(1 | torch.tensor([2, 4]), [3, 5], torch.int64)
    same(1 << torch.tensor([2, 4]), [4, 16])
    same(np.array([1.0, 2.0])[0] * x, [1, 2], torch.float32)


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "**", "//", "%"])
def test_in_place_operators_keep_the_tensor(op: str) -> None:
    x = torch.tensor([3.0, 5.0])
    scope = {"x": x, "y": torch.tensor([2.0, 3.0])}
    want = eval(f"x {op} y", scope)
    exec(f"x {op}= y", scope)
    assert scope["x"] is x
    same(x, want.tolist())
    assert x._version == 1


def test_alpha() -> None:
    x, y = torch.tensor([1.0]), torch.tensor([2.0])
    same(torch.add(x, y, alpha=3), [7])
    same(torch.sub(x, y, alpha=3), [-5])
    same(x.clone().add_(y, alpha=-0.5), [0])
    with pytest.raises(RuntimeError, match="alpha"):
        torch.add(torch.tensor([1]), torch.tensor([1]), alpha=0.5)


def test_rounding_modes() -> None:
    x = torch.tensor([7, -7])
    same(torch.div(x, 2), [3.5, -3.5], torch.float32)
    same(torch.div(x, 2, rounding_mode="trunc"), [3, -3], torch.int64)
    same(torch.div(x, 2, rounding_mode="floor"), [3, -4], torch.int64)
    same(torch.fmod(x, 4), [3, -3])
    same(torch.remainder(x, 4), [3, 1])
    with pytest.raises(RuntimeError, match="rounding_mode"):
        torch.div(x, 2, rounding_mode="up")


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod"])
def test_integer_division_by_zero(name: str) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        getattr(torch, name)(torch.tensor([1]), torch.tensor([0]))


def test_comparison_with_foreign_objects() -> None:
    x = torch.ones(2)
    nothing = None
    assert (x == nothing) is False
    assert (x != "a") is True
    assert x in {x}


def test_ties_share_the_gradient() -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    b = torch.tensor([1.0, 1.0], requires_grad=True)
    torch.maximum(a, b).sum().backward()
    same(a.grad, [0.5, 1])
    same(b.grad, [0.5, 0])


def test_clamp() -> None:
    x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = x.clamp(0, 1)
    same(y, [0, 0.5, 1])
    y.sum().backward()
    same(x.grad, [0, 1, 0])
    same(torch.clamp(torch.tensor([1, 5]), max=2.5), [1, 2.5], torch.float32)
    same(torch.clamp(x.detach(), torch.tensor(0.0), torch.tensor([1.0, 0.2, 3.0])), [0, 0.2, 2])
    with pytest.raises(RuntimeError, match="At least one"):
        x.clamp()


def test_where() -> None:
    c = torch.tensor([True, False, True])
    same(torch.where(c, 1.0, 2.0), [1, 2, 1], torch.float32)
    same(torch.where(c, torch.tensor([1, 2, 3]), 0.5), [1, 0.5, 3], torch.float32)
    (index,) = torch.where(c)
    same(index, [0, 2], torch.int64)
    with pytest.raises(RuntimeError, match="boolean"):
        torch.where(torch.ones(3), 1.0, 2.0)


def test_gradient_of_power_at_the_edges() -> None:
    x = torch.tensor([0.0, 2.0], requires_grad=True)
    (x**0).sum().backward()
    same(x.grad, [0, 0])
    e = torch.tensor([0.0, 2.0], requires_grad=True)
    torch.pow(torch.zeros(2), e).sum().backward()
    same(e.grad, [0, 0])


def test_nan_and_infinity() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 1.0])
    same(torch.nan_to_num(x, nan=5.0, posinf=6.0, neginf=7.0), [5, 6, 7, 1])
    assert torch.nan_to_num(x)[1].item() == torch.finfo(torch.float32).max
    assert torch.isnan(torch.maximum(x, torch.zeros(4)))[0].item()
    same(torch.fmax(x, torch.zeros(4)), [0, math.inf, 0, 1])
    assert torch.allclose(x, x, equal_nan=True)
    assert not torch.allclose(x, x)


def test_integers_in_float_functions() -> None:
    assert torch.exp(torch.tensor([1, 2])).dtype == torch.float32
    assert torch.floor(torch.tensor([1, 2])).dtype == torch.int64
    with pytest.raises(RuntimeError, match="can't be cast"):
        torch.tensor([1, 2]).exp_()


def test_half_precision_rounds_once() -> None:
    x = torch.tensor([2049.0, 1.0], dtype=torch.float16)
    assert (x + 1).dtype == torch.float16
    assert torch.ones(2, dtype=torch.bfloat16).exp().dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["lt", "ge", "sign", "floor", "erf", "maximum"])
def test_complex_numbers_have_no_order(name: str) -> None:
    z = torch.tensor([1 + 1j])
    args = (z, z) if name in ("lt", "ge", "maximum") else (z,)
    with pytest.raises((NotImplementedError, RuntimeError)):
        getattr(torch, name)(*args)


def test_numbers_where_tensors_are_needed() -> None:
    x = torch.ones(2)
    for name, args in {
        "maximum": (x, 1.0),
        "atan2": (x, 1.0),
        "eq": (1.0, x),
        "add": (1.0, x),
    }.items():
        with pytest.raises(TypeError, match="must be Tensor"):
            getattr(torch, name)(*args)
    same(torch.pow(2.0, x), [2, 2])


def test_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(RuntimeError, match="must match the size of tensor b"):
        torch.ones(2, 3) + torch.ones(2, 4)
    with pytest.raises(RuntimeError, match="output with shape"):
        torch.ones(3).add_(torch.ones(2, 3))


def test_complex_parts_are_views() -> None:
    z = torch.tensor([1 + 2j, 3 - 1j])
    z.real.zero_()
    z.imag = torch.tensor([5.0, 6.0])
    same(torch.view_as_real(z), [[0, 5], [0, 6]])
    torch.view_as_real(z)[0, 0] = 7.0
    assert z[0].item() == 7 + 5j


def test_complex_gradients_are_conjugate() -> None:
    z = torch.tensor([1 + 2j], requires_grad=True)
    (z * z.conj()).real.sum().backward()
    assert z.grad.item() == 2 + 4j
    z.grad = None
    z.abs().sum().backward()
    assert abs(z.grad.item() - (1 + 2j) / math.sqrt(5)) < 1e-6


def test_out_and_aliases() -> None:
    x, out = torch.tensor([1.0, 4.0]), torch.empty(2)
    assert torch.sqrt(x, out=out) is out
    same(out, [1, 2])
    same(torch.multiply(x, 2), [2, 8])
    same(torch.arctan(x), np.arctan([1, 4]))
    same(x.clone().absolute_(), [1, 4])

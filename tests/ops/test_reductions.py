"""Reductions and scans: call forms, dtypes, ties, NaN, empty inputs, errors."""

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


X = [[3.0, 1.0, 2.0], [4.0, 4.0, 0.0]]


def test_max_has_three_forms() -> None:
    x = torch.tensor(X)
    same(x.max(), 4)
    values, indices = torch.max(x, 1)
    same(values, [3, 4])
    same(indices, [0, 0], torch.int64)
    found = x.max(dim=0, keepdim=True)
    assert type(found).__name__ == "max"
    assert found.values.shape == (1, 3)
    same(torch.max(x, torch.full((2, 3), 2.5)), [[3, 2.5, 2.5], [4, 4, 2.5]])


def test_gradients_of_ties() -> None:
    x = torch.tensor(X, requires_grad=True)
    x.amax(1).sum().backward()
    same(x.grad, [[1, 0, 0], [0.5, 0.5, 0]])
    x.grad = None
    x.max(1).values.sum().backward()
    same(x.grad, [[1, 0, 0], [1, 0, 0]])
    x.grad = None
    x.max().backward()
    same(x.grad, [[0, 0, 0], [0.5, 0.5, 0]])


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum"])
def test_integers_become_int64(name: str) -> None:
    for dtype in (torch.uint8, torch.int32, torch.bool):
        args = (0,) if name == "cumsum" else ()
        assert getattr(torch.ones(3, dtype=dtype), name)(*args).dtype == torch.int64


def test_half_accumulates_in_float32() -> None:
    x = torch.full((10000,), 0.1, dtype=torch.float16)
    assert abs(x.sum().item() - 1000) < 1
    assert x.mean().dtype == torch.float16


def test_dtype_argument() -> None:
    x = torch.tensor([1, 2])
    same(x.sum(dtype=torch.float64), 3, torch.float64)
    same(x.mean(dtype=torch.float32), 1.5)
    with pytest.raises(RuntimeError, match="could not infer output dtype"):
        x.mean()


def test_dim_forms() -> None:
    x = torch.tensor(X)
    same(x.sum([0, 1]), 14)
    same(x.sum(()), 14)
    same(x.sum(-1, keepdim=True), [[6], [8]])
    with pytest.raises(IndexError, match="Dimension out of range"):
        x.sum(2)
    with pytest.raises(IndexError, match="Dimension out of range"):
        x.max(2)


def test_variance_forms() -> None:
    x = torch.tensor([1.0, 2.0, 4.0])
    same(x.var(), 7 / 3)
    same(x.var(unbiased=False), 14 / 9)
    same(torch.var(x, False), 14 / 9)
    same(x.std(0, correction=0), math.sqrt(14 / 9))
    v, mean = torch.var_mean(x)
    same(v, 7 / 3)
    same(mean, 7 / 3)


def test_gradient_of_a_zero_spread_is_zero() -> None:
    x = torch.ones(3, requires_grad=True)
    x.std().backward()
    same(x.grad, [0, 0, 0])


def test_product_with_zeros() -> None:
    x = torch.tensor([2.0, 0.0, 3.0], requires_grad=True)
    x.prod().backward()
    same(x.grad, [0, 6, 0])
    (g,) = torch.autograd.grad(x.prod(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g[1], x)
    same(gg, [3, 0, 2])


def test_medians_modes_and_nan() -> None:
    x = torch.tensor([[1.0, math.nan, 3.0], [2.0, 1.0, 4.0]])
    assert math.isnan(x.median().item())
    same(x.nanmedian(), 2)
    values, indices = x.median(1)
    assert math.isnan(values[0].item())
    same(indices, [1, 0])
    same(torch.nansum(x), 11)
    same(torch.nanmean(x, 1), [2, 7 / 3])
    values, indices = torch.mode(torch.tensor([[1.0, 2, 2, 1, 3, 1], [5, 5, 4, 4, 4, 5]]))
    same(values, [1, 4])
    same(indices, [5, 4])


def test_norms() -> None:
    x = torch.tensor([[3.0, -4.0]], requires_grad=True)
    same(x.norm(), 5)
    same(x.norm(1, 1), [7])
    same(x.norm(math.inf), 4)
    same(torch.norm(x, 0, 1), [2])
    zero = torch.zeros(2, requires_grad=True)
    zero.norm().backward()
    same(zero.grad, [0, 0])


def test_logsumexp_is_stable() -> None:
    x = torch.tensor([1000.0, 1000.0, -math.inf])
    same(x.logsumexp(0), 1000 + math.log(2))
    assert torch.full((2,), -math.inf).logsumexp(0).item() == -math.inf
    same(torch.logcumsumexp(x, 0), [1000, 1000 + math.log(2), 1000 + math.log(2)])


def test_logcumsumexp_gradient_at_infinity() -> None:
    x = torch.tensor([-math.inf, 0.0, 500.0], requires_grad=True)
    torch.logcumsumexp(x, 0).sum().backward()
    same(x.grad, [0, 1, 1])


def test_running_extrema_take_the_last_of_equals() -> None:
    values, indices = torch.cummax(torch.tensor([1.0, 1.0, 3.0, 1.0]), 0)
    same(values, [1, 1, 3, 3])
    same(indices, [0, 1, 2, 2])


def test_gradient_of_cumprod_with_zeros() -> None:
    x = torch.tensor([2.0, 0.0, 3.0], requires_grad=True)
    torch.cumprod(x, 0).sum().backward()
    same(x.grad, [1, 8, 0])


def test_differences_and_areas() -> None:
    x = torch.tensor([1.0, 4.0, 9.0])
    same(torch.diff(x), [3, 5])
    same(torch.diff(x, n=2, prepend=torch.tensor([0.0])), [2, 2])
    same(torch.trapezoid(x, dx=2.0), 18)
    same(torch.cumulative_trapezoid(x, torch.tensor([0.0, 1.0, 3.0])), [2.5, 15.5])


def test_empty_inputs() -> None:
    none = torch.empty(0)
    same(none.sum(), 0)
    same(none.prod(), 1)
    assert math.isnan(none.mean().item())
    assert none.all().item() is True
    for call in (none.max, none.argmax):
        with pytest.raises((RuntimeError, IndexError), match="Expected reduction dim"):
            call()
    with pytest.raises(IndexError, match="non-zero size"):
        torch.empty(2, 0).amax(1)
    assert torch.empty(0, 3).amax(1).shape == (0,)


def test_scalars_have_a_dimension() -> None:
    x = torch.tensor(2.0)
    same(x.sum(0), 2)
    same(x.max(-1).values, 2)
    same(x.argmax(0), 0)
    with pytest.raises(IndexError):
        x.sum(1)


def test_truth_of_bytes_stays_bytes() -> None:
    assert torch.ones(2, dtype=torch.uint8).all().dtype == torch.uint8
    assert torch.ones(2).any(0).dtype == torch.bool

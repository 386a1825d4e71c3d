"""Activations of torch.nn.functional and special functions: flags, edges, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import distrib as torch
import distrib.nn.functional as F
from distrib.ops.specialmath import FUNCTIONS


def same(t: Any, values: Any) -> None:
    np.testing.assert_allclose(np.asarray(t.tolist()), np.asarray(values), 1e-6, 1e-7)


INPLACE = [
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "silu",
    "mish",
]


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_flag(name: str) -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 3.0])
    want = getattr(F, name)(x).tolist()
    same(x, [-2, -0.5, 0, 3])
    assert getattr(F, name)(x, inplace=True) is x
    same(x, want)


@pytest.mark.parametrize("name", [n for n in INPLACE if n != "relu"])
def test_integers_are_refused_where_pytorch_does(name: str) -> None:
    if name in ("relu6", "hardtanh"):
        same(getattr(F, name)(torch.tensor([0, 1])), [0, 1])
    else:
        with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
            getattr(F, name)(torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "name", ["silu", "gelu", "softplus", "mish", "logsigmoid", "elu", "softsign", "sigmoid"]
)
def test_no_overflow_far_out(name: str) -> None:
    x = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    y = getattr(F, name)(x)
    y.sum().backward()
    assert all(map(math.isfinite, y.tolist() + x.grad.tolist()))


def test_softmax_of_large_and_infinite_values() -> None:
    same(F.softmax(torch.tensor([1000.0, 1000.0, -math.inf]), 0), [0.5, 0.5, 0])
    same(F.log_softmax(torch.tensor([1000.0, 1000.0]), -1), [-math.log(2)] * 2)
    assert F.softmax(torch.ones(2), 0, dtype=torch.float64).dtype == torch.float64
    assert torch.softmax(torch.ones(2), 0, torch.float64).dtype == torch.float64
    assert torch.tensor(3.0).softmax(-1).item() == 1
    assert F.softmax(torch.empty(0, 3), 1).shape == (0, 3)


def test_implicit_dimension_warns() -> None:
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        F.softmax(torch.ones(2, 3))
    with pytest.raises(IndexError, match="Dimension out of range"):
        F.softmax(torch.ones(2, 3), 2)


def test_glu_and_prelu_check_shapes() -> None:
    same(F.glu(torch.tensor([2.0, 0.0])), [1])
    with pytest.raises(RuntimeError, match="Halving dimension must be even"):
        F.glu(torch.ones(3))
    same(F.prelu(torch.tensor([[-1.0, -1.0]]), torch.tensor([0.5, 2.0])), [[-0.5, -2]])
    with pytest.raises(RuntimeError, match="Mismatch of parameter numbers"):
        F.prelu(torch.ones(2, 3), torch.ones(2))


def test_gelu_knows_two_forms() -> None:
    x = torch.tensor([0.5])
    same(F.gelu(x), [0.5 * 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))])
    assert F.gelu(x, approximate="tanh").item() != F.gelu(x).item()
    with pytest.raises(RuntimeError, match="approximate"):
        F.gelu(x, approximate="fast")


def test_rrelu_and_gumbel_are_random_and_bounded() -> None:
    torch.manual_seed(0)
    y = F.rrelu(-torch.ones(1000), 0.1, 0.3, training=True)
    assert -0.3 <= y.min().item() < -0.29
    assert -0.11 < y.max().item() <= -0.1
    same(F.rrelu(-torch.ones(2), 0.1, 0.3), [-0.2, -0.2])
    hot = F.gumbel_softmax(torch.zeros(5, 4), hard=True)
    same(hot.sum(-1), [1] * 5)
    assert set(hot.flatten().tolist()) == {0.0, 1.0}


def test_channels_last_keeps_its_strides() -> None:
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    y = F.relu(x)
    assert y.stride() == x.stride()
    y.backward(torch.ones_like(y))
    same(x.grad, (x > 0).float().tolist())


def test_error_function_to_the_last_digits() -> None:
    x = np.linspace(-6, 6, 401)
    np.testing.assert_allclose(FUNCTIONS["erf"](x), [math.erf(v) for v in x], 1e-14)
    np.testing.assert_allclose(FUNCTIONS["erfc"](x), [math.erfc(v) for v in x], 1e-13)
    x = np.linspace(0.01, 60, 400)
    np.testing.assert_allclose(FUNCTIONS["lgamma"](x), [math.lgamma(v) for v in x], 1e-13, 1e-14)


def test_inverse_functions() -> None:
    y = torch.linspace(-0.999, 0.999, 101, dtype=torch.float64)
    assert torch.allclose(torch.erf(torch.erfinv(y)), y, rtol=1e-14)
    p = torch.tensor([1e-300, 1e-20, 0.3, 1 - 1e-9], dtype=torch.float64)
    assert torch.allclose(torch.special.ndtr(torch.special.ndtri(p)), p, rtol=1e-10, atol=0)
    same(torch.special.ndtri(torch.tensor([0.0, 1.0])), [-math.inf, math.inf])


def test_poles() -> None:
    x = torch.tensor([0.0, -1.0])
    same(torch.lgamma(x), [math.inf, math.inf])
    assert torch.digamma(x)[0].item() == -math.inf
    assert math.isnan(torch.digamma(x)[1].item())
    assert torch.special.zeta(torch.tensor(1.0), torch.tensor(2.0)).item() == math.inf


def test_wronskian_of_the_bessel_functions() -> None:
    x = torch.linspace(0.1, 60, 500, dtype=torch.float64)
    s = torch.special
    cross = s.bessel_j1(x) * s.bessel_y0(x) - s.bessel_j0(x) * s.bessel_y1(x)
    assert torch.allclose(cross, 2 / (math.pi * x), rtol=1e-11)
    cross = s.i0(x / 4) * s.modified_bessel_k1(x / 4) + s.i1(x / 4) * s.modified_bessel_k0(x / 4)
    assert torch.allclose(cross, 4 / x, rtol=1e-12)

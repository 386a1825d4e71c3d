"""Derived tests of every operator record: what a record says is enough to test it."""

from __future__ import annotations

import importlib
import types
from typing import Any

import numpy as np
import pytest

import distrib
from distrib import ops
from distrib.ops.record import OPS
from distrib.ops.registry import operator
from distrib.testing.opcheck import CHECKS, check_grad, check_op

# What cannot hold, with the reason: (operator, check)
MEMORY = "the result depends on how the memory is laid out, which strided inputs change"
KNOWN = {
    ("view", "layout"): MEMORY,
    ("view_as_complex", "layout"): MEMORY,
    ("as_strided", "layout"): MEMORY,
    ("move", "meta"): "there is no data to move from the meta device",
}
HOMES = {op.kernel.__module__ for op in OPS.values()} | {"distrib.ops.activation"}
FAMILIES = [
    m for m in vars(ops).values() if isinstance(m, types.ModuleType) and m.__name__ in HOMES
]


def cases() -> list[Any]:
    found = []
    for name in OPS:
        for check in CHECKS:
            reason = KNOWN.get((name, check))
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            found.append(pytest.param(name, check, marks=marks, id=f"{name}-{check}"))
    return found


@pytest.mark.parametrize(("name", "check"), cases())
def test_record(name: str, check: str) -> None:
    check_op(name, check)


def test_known_exceptions_are_of_operators_that_exist() -> None:
    assert all(name in OPS and check in CHECKS for name, check in KNOWN)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda m: str(m.__name__.rpartition(".")[2]))
def test_public_names_are_callable_and_documented(family: Any) -> None:
    for name in getattr(family, "__all__", ()):
        value = getattr(family, name)
        if isinstance(value, types.FunctionType):
            assert getattr(value, "op", None) is not None or value.__doc__, (
                f"{name} has no docstring"
            )
        assert hasattr(distrib, name), f"distrib.{name} is not exported"
    for space, listed in (("nn.functional", "NN"), ("special", "SPECIAL")):
        module = importlib.import_module(f"distrib.{space}")
        for name in getattr(family, listed, ()):
            assert callable(getattr(module, name)), f"distrib.{space}.{name}"


def test_a_wrong_gradient_is_caught() -> None:
    try:
        operator("_wrong", lambda x: x * x, (lambda g, x: g * x,), method=False,
                 samples=lambda: [((np.array([1.0, 2.0]),), {})], ref=lambda x: x**2)  # fmt: skip
        with pytest.raises(AssertionError, match="gradient"):
            check_grad("_wrong")
        check_op("_wrong", "value")
    finally:
        OPS.pop("_wrong", None)

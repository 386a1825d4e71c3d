"""Rendered formulas: C++ of every elementwise record against its NumPy kernel; Triton text; sharing."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distrib.ops import formula
from distrib.ops.formula import math as m
from distrib.ops.record import OPS, Op, kernel
from distrib.testing.opcheck import samples

ELEMENTWISE = [op for op in OPS.values() if op.scalar is not None]
# no Triton function, and none that is worth a page of code in a kernel
NOT_IN_TRITON = {
    "gcd", "lcm", "digamma", "polygamma", "igamma", "igammac",
    *(f"special_{n}" for n in ("log_ndtr", "zeta", "i0e", "i1e", "modified_bessel_k0", "modified_bessel_k1",
      "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0", "airy_ai",
      "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p")),
    *(f"special_{p}chebyshev_polynomial_{k}" for p in ("", "shifted_") for k in "tuvw"),
}  # fmt: skip


def broadcast(arrays: Any) -> list[Any]:
    """C takes contiguous arrays of one shape."""
    kind = "i8" if all(a.dtype.kind in "iu" for a in arrays) else "f8"
    return [np.array(a, kind, order="C") for a in np.broadcast_arrays(*arrays)]


def cases() -> list[tuple[Op, int, Any, Any]]:
    return [(op, k, *s) for op in ELEMENTWISE for k, s in enumerate(samples(op))]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All elementwise records, compiled from their formulas into one shared object."""
    folder: Path = tmp_path_factory.mktemp("formulas")
    parts = [formula.cpp_prelude()]
    for op, k, arrays, attrs in cases():
        dtype = "int64" if broadcast(arrays)[0].dtype.kind == "i" else "float64"
        parts.append(formula.cpp_source(op, dtype, f"_{k}", **attrs))
        if dtype == "float64":
            parts.append(formula.cpp_source(op, "float32", f"_{k}", **attrs))
    (folder / "k.cpp").write_text("\n".join(parts))
    command = [
        "g++",
        "-std=c++17",
        "-O0",
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        "k.cpp",
        "-o",
        "k.so",
    ]
    subprocess.run(command, cwd=folder, check=True, timeout=100)
    return ctypes.CDLL(str(folder / "k.so"))


if shutil.which("g++"):

    @pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c[0].name}-{c[1]}")
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_cpp(library: ctypes.CDLL, case: tuple[Op, int, Any, Any], dtype: str) -> None:
        op, k, arrays, attrs = case
        inputs = broadcast(arrays)
        if inputs[0].dtype.kind == "i":
            dtype = "int64"
        inputs = [a.astype(dtype) for a in inputs]
        truths = [x.astype(bool) if a.dtype.kind == "b" else x for x, a in zip(inputs, arrays)]
        want = kernel(op, inputs[0])(*truths, **attrs)
        out = np.empty(inputs[0].shape, bool if want.dtype == bool else dtype)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*inputs, out)]
        getattr(library, f"dk_{op.name}_{dtype}_{k}")(*pointers, ctypes.c_long(out.size))
        rtol, atol = (2e-5, 2e-5) if dtype == "float32" else (1e-11, 1e-12)
        np.testing.assert_allclose(out, want, rtol, atol)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_numpy_source_is_the_kernel(op: Op) -> None:
    for arrays, attrs in samples(op):
        scope: dict[str, Any] = {"np": _Np()}
        exec(formula.numpy_source(op, **attrs), scope)
        generic = kernel(op, arrays[0])(*arrays, **attrs)
        np.testing.assert_allclose(scope[op.name](*arrays), generic, 1e-12, 1e-13)


class _Np:
    """NumPy with the special functions that the array module adds."""

    def __getattr__(self, name: str) -> Any:
        from distrib.devices import cpu_xp

        return getattr(cpu_xp, name)


def test_triton_source_compiles_as_python_for_all_but_the_listed() -> None:
    missing = set()
    for op, _, _, attrs in cases():
        try:
            compile(formula.triton_source(op, **attrs), op.name, "exec")
        except NotImplementedError:
            missing.add(op.name)
    assert missing == NOT_IN_TRITON


def test_common_parts_are_computed_once() -> None:
    root = formula.trace(lambda x: m.exp(x) * m.exp(x) + m.exp(x), ["x"])
    nodes, _ = formula.order(root)
    assert sum(n.op == "exp" for n in nodes) == 1
    lines, result = formula.Renderer(formula.targets.CPP, "float32").render(root)
    assert lines == ["const float t0 = std::exp(x);"]
    assert result == "((t0 * t0) + t0)"


def test_literals_have_the_dtype_of_the_kernel() -> None:
    assert "0.5f" in formula.cpp_source(OPS["gelu"], "float32")
    assert "0.5f" not in formula.cpp_source(OPS["gelu"], "float64")


def test_branching_on_a_value_is_an_error() -> None:
    with pytest.raises(TypeError, match="where"):
        formula.trace(lambda x: x if x > 0 else -x, ["x"])


def test_an_operator_without_formula_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scalar formula"):
        formula.cpp_source(OPS["sum"])

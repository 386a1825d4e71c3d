"""How each language spells the operations of formulas: the only table per language."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

TRUTH = frozenset(
    ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "isnan", "isinf",
        "isfinite", "signbit", "logical_and", "logical_or", "logical_xor", "logical_not"),
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A language: its name, the form of every operation, its types and literals."""

    name: str
    forms: dict[str, str]
    names: dict[str, str]  # of element types
    floats: dict[str, str]  # the form of a literal of each dtype
    infinity: str
    assignment: str

    def types(self, kind: str, dtype: str) -> str:
        """The type of a value: of a truth value, or of the kernel's dtype."""
        return self.names["bool" if kind == "b" else dtype]

    def assign(self, name: str, value: str, kind: str) -> str:
        """A statement that names a value."""
        return self.assignment.format(name=name, value=value, kind=kind)

    def literal(self, value: Any, dtype: str) -> str:
        """A number of a dtype."""
        if isinstance(value, bool) or dtype.startswith("int"):
            value = int(value)
            return f"{self.names[dtype]}({value})" if self.name == "cpp" else repr(value)
        if value is None:
            raise TypeError("a formula used None as a number")
        value = float(value)
        if math.isnan(value):
            return f"({self.infinity} - {self.infinity})"
        if math.isinf(value):
            return self.infinity if value > 0 else f"(-{self.infinity})"
        text = self.floats.get(dtype, "{}").format(repr(value))
        return f"({text})" if value < 0 else text


_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=", "bitwise_and": "&",
    "bitwise_or": "|", "bitwise_xor": "^", "left_shift": "<<", "right_shift": ">>",
}  # fmt: skip
_BASE = {k: f"({{0}} {v} {{1}})" for k, v in _INFIX.items()} | {"negative": "(-{0})"}
_ONE = (
    "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh "
    "arctanh floor ceil trunc rint absolute sign isnan isinf isfinite signbit logical_not invert erf erfc erfinv "
    "erfcx ndtr ndtri log_ndtr lgamma digamma i0 i0e i1 i1e bessel_j0 bessel_j1 bessel_y0 bessel_y1 "
    "modified_bessel_k0 modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1 "
    "spherical_bessel_j0 airy_ai"
).split()
_POLYNOMIALS = [
    f"{p}chebyshev_polynomial_{k}" for p in ("", "shifted_") for k in "tuvw"
] + ["hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p"]  # fmt: skip
_TWO = (
    "power maximum minimum fmax fmin fmod remainder floor_divide arctan2 hypot copysign nextafter logaddexp "
    "logaddexp2 logical_and logical_or logical_xor gcd lcm zeta polygamma igamma igammac"
).split() + _POLYNOMIALS

NUMPY = Target(
    "numpy",
    _BASE | {k: f"np.{k}({{0}})" for k in _ONE} | {k: f"np.{k}({{0}}, {{1}})" for k in _TWO}
        | {"where": "np.where({0}, {1}, {2})"},
    {"bool": "bool", "float32": "float32", "float64": "float64", "int64": "int64"}, {}, "np.inf",
    "{name} = {value}",
)  # fmt: skip

_STD = {
    "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log2": "log2", "log10": "log10", "log1p": "log1p",
    "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "nearbyint", "absolute": "fabs", "isnan": "isnan",
    "isinf": "isinf", "isfinite": "isfinite", "signbit": "signbit", "erf": "erf", "erfc": "erfc", "lgamma": "lgamma",
}  # fmt: skip
_STD2 = {
    "power": "pow", "fmax": "fmax", "fmin": "fmin", "fmod": "fmod", "arctan2": "atan2", "hypot": "hypot",
    "copysign": "copysign", "nextafter": "nextafter", "gcd": "gcd", "lcm": "lcm",
}  # fmt: skip
CPP = Target(
    "cpp",
    _BASE | {k: f"dk_{k}<{{T}}>({{0}})" for k in _ONE}
        | {k: f"dk_{k}<{{T}}>({{0}}, {{1}})" for k in _TWO}
        | {k: f"std::{v}({{0}})" for k, v in _STD.items()}
        | {k: f"std::{v}({{0}}, {{1}})" for k, v in _STD2.items()}
        | {"where": "({0} ? {1} : {2})", "logical_not": "({0} == 0)",
        "logical_and": "({0} != 0 && {1} != 0)", "logical_or": "({0} != 0 || {1} != 0)",
        "logical_xor": "(({0} != 0) != ({1} != 0))", "invert": "(~{0})"},
    {"bool": "bool", "float32": "float", "float64": "double", "int64": "long"}, {"float32": "{}f"},
    "std::numeric_limits<double>::infinity()", "const {kind} {name} = {value};",
)  # fmt: skip

_TL = "exp exp2 log log2 sqrt sin cos floor ceil erf"
_LIB = {
    "expm1": "expm1", "log10": "log10", "log1p": "log1p", "tan": "tan", "arcsin": "asin", "arccos": "acos",
    "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "trunc": "trunc", "rint": "rint", "isinf": "isinf", "isfinite": "isfinited",
    "signbit": "signbit", "erfc": "erfc", "erfinv": "erfinv", "erfcx": "erfcx", "lgamma": "lgamma", "ndtr": "normcdf",
    "ndtri": "normcdfinv", "i0": "cyl_bessel_i0", "i1": "cyl_bessel_i1", "bessel_j0": "j0", "bessel_j1": "j1",
    "bessel_y0": "y0", "bessel_y1": "y1",
}  # fmt: skip
_LIB2 = {"power": "pow", "fmod": "fmod", "arctan2": "atan2", "hypot": "hypot", "copysign": "copysign",
         "nextafter": "nextafter"}  # fmt: skip
TRITON = Target(
    "triton",
    _BASE | {k: f"tl.{k}({{0}})" for k in _TL.split()}
        | {k: f"libdevice.{v}({{0}})" for k, v in _LIB.items()}
        | {k: f"libdevice.{v}({{0}}, {{1}})" for k, v in _LIB2.items()}
        | {"where": "tl.where({0}, {1}, {2})", "absolute": "tl.abs({0})", "isnan": "({0} != {0})",
        "sign": "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, {0} * 0.0))",
        "maximum": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
        "minimum": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
        "fmax": "tl.maximum({0}, {1})", "fmin": "tl.minimum({0}, {1})",
        "floor_divide": "tl.floor({0} / {1})", "remainder": "({0} - tl.floor({0} / {1}) * {1})",
        "logaddexp": "(tl.maximum({0}, {1}) + libdevice.log1p(tl.exp(-tl.abs({0} - {1}))))",
        "logaddexp2": "(tl.maximum({0}, {1}) + tl.log2(1.0 + tl.exp2(-tl.abs({0} - {1}))))",
        "logical_not": "({0} == 0)", "logical_and": "(({0} != 0) & ({1} != 0))",
        "logical_or": "(({0} != 0) | ({1} != 0))", "logical_xor": "(({0} != 0) ^ ({1} != 0))",
        "invert": "(~{0})"},
    {"bool": "tl.int1", "float32": "tl.float32", "float64": "tl.float64", "int64": "tl.int64"}, {},
    'float("inf")', "{name} = {value}",
)  # fmt: skip

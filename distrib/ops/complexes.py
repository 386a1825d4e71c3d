"""Complex numbers: parts, angle, conjugate, views as pairs of real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import COMPLEX as COMPLEX_OF
from ..dtypes import REAL
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .arithmetic import COMPLEX, abs, cj, conj, exp
from .compare import eq, masked, ne, where3
from .registry import attach, method, operator, publish
from .samples import one, spread

xp: Any = None  # bound per array type
_Z = spread(3, 4) + 1j * spread(3, 4, seed=1)


def _need_complex(a: Any, name: str) -> Any:
    if a.dtype.kind != "c":
        raise DTypeError(f"{name} is not implemented for tensors with non-complex dtypes.")
    return a


real = operator(
    "real", lambda input: input.real if input.dtype.kind == "c" else input, (lambda g: g,),
    view="maybe", method=False, samples=one(_Z), ref=lambda z: (z + np.conj(z)) / 2,
)  # fmt: skip
imag = operator(
    "imag", lambda input: _need_complex(input, "imag").imag, (lambda g: g * 1j,), view=True,
    method=False, samples=one(_Z), ref=lambda z: ((z - np.conj(z)) / 2j).real,
)  # fmt: skip


def _part(op: Any) -> Any:
    def get(self: Tensor) -> Any:
        return op(self)

    def put(self: Tensor, value: Any) -> None:
        target = op(self)
        target.copy_(value) if isinstance(value, Tensor) else target.fill_(value)

    return property(get, put, doc=f"The {op.__name__} part, as a view.")


attach("real", _part(real))
attach("imag", _part(imag))


def _angle(a: Any) -> Any:
    if a.dtype.kind == "c":
        return xp.arctan2(a.imag, a.real)
    pi = a.dtype.type(3.141592653589793)
    return xp.where(xp.isnan(a), a, xp.where(a < 0, pi, a.dtype.type(0)))


def _angle_backward(g: Any, input: Any) -> Any:
    if input.dtype not in COMPLEX:
        return g * 0.0
    size = abs(input)
    return masked(g * (input * 1j) / where3(eq(input, 0), 1.0, size * size), ne(input, 0))


angle = operator(
    "angle", lambda input: _angle(input), (lambda g, input: _angle_backward(g, input),), "float",
    out=True, samples=lambda: [((_Z,), {}), ((spread(5),), {})], ref=np.angle,
)  # fmt: skip


def _paired(a: Any, b: Any) -> Any:
    if a.dtype != b.dtype or a.dtype not in COMPLEX_OF:
        raise DTypeError(
            "Expected both inputs to be Half, Float or Double tensors",
            got=f"{a.dtype} and {b.dtype}",
        )
    return COMPLEX_OF[a.dtype]


def _complex(a: Any, b: Any) -> Any:
    out = xp.empty(xp.broadcast_shapes(a.shape, b.shape), _paired(a, b))
    out.real = a
    out.imag = b
    return out


complex = operator(
    "complex", lambda real, imag: (real + imag * 1j).astype(_paired(real, imag)),
    (lambda g: g, lambda g: g * -1j), cpu=lambda real, imag: _complex(real, imag), method=False,
    out=True, samples=one(spread(3, 4), spread(4, seed=1)), ref=lambda a, b: a + 1j * b,
)  # fmt: skip
polar = operator(
    "polar", lambda abs, angle: _complex_generic(abs * xp.cos(angle), abs * xp.sin(angle)),
    (lambda g, angle: g * cj(exp(angle * 1j)), lambda g, y: g * cj(y * 1j)), method=False, out=True,
    cpu=lambda abs, angle: _complex(abs * xp.cos(angle), abs * xp.sin(angle)),
    samples=one(spread(3, 4, lo=0.2), spread(4, seed=1)), ref=lambda r, t: r * np.exp(1j * t),
)  # fmt: skip


def _complex_generic(a: Any, b: Any) -> Any:
    return (a + b * 1j).astype(_paired(a, b))


def _pairs(a: Any) -> Any:
    _need_complex(a, "view_as_real")
    return a[..., None].view(REAL[a.dtype])


def _unpaired(a: Any) -> Any:
    if a.dtype not in COMPLEX_OF:
        raise DTypeError(
            "view_as_complex is only supported for half, float and double tensors", got=a.dtype
        )
    if a.ndim == 0 or a.shape[-1] != 2:
        raise ShapeError("Tensor must have a last dimension of size 2", got=list(a.shape))
    k = a.dtype.itemsize
    if a.size and (a.strides[-1] != k or any(s % (2 * k) for s in a.strides[:-1])):
        raise ShapeError("Tensor must have a last dimension with stride 1 and others divisible by 2",
                         got=[s // k for s in a.strides])  # fmt: skip
    return a.view(COMPLEX_OF[a.dtype])[..., 0]


view_as_real = operator(
    "view_as_real", lambda input: _pairs(input), (lambda g: pack_complex(g),), view=True,
    method=False, samples=one(_Z), ref=lambda z: np.stack([z.real, z.imag], -1),
)  # fmt: skip
view_as_complex = operator(
    "view_as_complex", lambda input: _unpaired(input), (lambda g: view_as_real(g),), view=True,
    method=False, samples=one(spread(3, 2)), ref=lambda x: x[..., 0] + 1j * x[..., 1],
)  # fmt: skip
pack_complex: Any = operator(
    "pack_complex", lambda x: (x[..., 0] + x[..., 1] * 1j).astype(COMPLEX_OF[x.dtype]),
    (lambda g: view_as_real(g),), method=False, samples=one(spread(3, 2)),
    ref=lambda x: x[..., 0] + 1j * x[..., 1],
)  # fmt: skip

conj_physical = operator(
    "conj_physical", lambda input: xp.conjugate(input) if input.dtype.kind == "c" else input.copy(), (lambda g: conj(g),), out=True,
    inplace=True, samples=one(_Z), ref=lambda z: z.real - 1j * z.imag,
)  # fmt: skip


@method()
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: a conjugate is computed at once here, never put off."""
    return input


@method()
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: a negation is computed at once here, never put off."""
    return input


@method()
def is_conj(input: Tensor) -> bool:
    """False: a conjugate is computed at once here, never put off."""
    return False


@method()
def is_neg(input: Tensor) -> bool:
    """False: a negation is computed at once here, never put off."""
    return False


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has a sign."""
    return input.is_signed()


__all__ = [
    "angle", "complex", "conj_physical", "imag", "is_conj", "is_neg",
    "is_signed", "polar", "real", "resolve_conj", "resolve_neg", "view_as_complex", "view_as_real",
]  # fmt: skip
publish(globals())

"""torch.linalg's norms of vectors and matrices, and condition numbers."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim
from .algebra import check, inv_ex
from .core import cast
from .factor import svdvals_
from .registry import publish, with_out
from .stats import vector_norm as _vector_norm


def _typed(x: Tensor, dtype: Any) -> Tensor:
    return x if dtype is None else cast(x, dtype=dtypes.raw_of(dtype))


@with_out
def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of x taken as one vector, or of the vectors along dimensions."""
    dim = tuple(dim) if isinstance(dim, list) else dim
    made: Tensor = _vector_norm(_typed(x, dtype), ord=float(ord), dim=dim, keepdim=keepdim)
    return made


@with_out
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Norms of the matrices in two dimensions: fro, nuc, inf, -inf, 1, -1, 2, -2."""
    if A._a.ndim < 2:
        raise ShapeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    dims = [check_dim(d, A._a.ndim) for d in dim]
    if len(dims) != 2:
        raise ShapeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {list(dim)}")
    if dims[0] == dims[1]:
        raise ShapeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    A = _typed(A, dtype)
    if A._a.dtype.kind not in "fcV":
        raise DTypeError(
            "linalg.matrix_norm: Expected a floating point or complex tensor as input", got=A.dtype
        )
    if ord == "fro":
        found: Tensor = vector_norm(A, 2, tuple(dims), keepdim)
        return found
    if ord in ("nuc", 2, -2):
        others = [i for i in range(A._a.ndim) if i not in dims]
        s = svdvals_(A.permute(*others, *dims))
        made: Tensor = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
        return (
            made.reshape([1 if i in dims else n for i, n in enumerate(A.shape)])
            if keepdim
            else made
        )
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    add, best = dims if abs(ord) == 1 else dims[::-1]
    sums = vector_norm(A, 1, add, keepdim)
    if best > add and not keepdim:
        best -= 1
    result: Tensor = sums.amax(best, keepdim) if ord > 0 else sums.amin(best, keepdim)
    return result


@with_out
def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """`vector_norm` or `matrix_norm`, as the order and the dimensions ask."""
    if ord is None:
        done: Tensor = vector_norm(A, 2, dim, keepdim, dtype=dtype)
        return done
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(ord, str) or (dim is not None and len(dim) == 2):
        if dim is None and A._a.ndim != 2:
            raise ShapeError(
                f"linalg.norm: If ord is specified but dim is not, the input must be 1D or 2D. Got {A._a.ndim}D."
            )
        found: Tensor = matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
        return found
    if dim is None:
        if A._a.ndim not in (1, 2):
            raise ShapeError(
                f"linalg.norm: If ord is specified but dim is not, the input must be 1D or 2D. Got {A._a.ndim}D."
            )
        if A._a.ndim == 2:
            result: Tensor = matrix_norm(A, ord, (-2, -1), keepdim, dtype=dtype)
            return result
    made: Tensor = vector_norm(A, ord, dim, keepdim, dtype=dtype)
    return made


@with_out
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: of the 2-norm by singular values, of others by the inverse."""
    check(A, "cond", square=p not in (None, 2, -2))
    if p in (None, 2, -2):
        s = svdvals_(A)
        made: Tensor = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
        return made
    inverse = inv_ex(A)[0]
    made = matrix_norm(A, p) * matrix_norm(inverse, p)
    return made


LINALG = ["cond", "matrix_norm", "norm", "vector_norm"]
__all__: list[str] = []
publish(globals())

"""Products: matrix, batched, vector, einsum and linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor, check_dim
from .arithmetic import conj, mul
from .registry import attach, composite, inplace_of, method, operator, publish, with_out
from .shape import _a, permute, reshape, reshape_, transpose, unsqueeze

xp: Any = None  # bound per array type


def mT(x: Any) -> Any:
    """The last two dimensions exchanged, on arrays or Tensors."""
    return transpose(x, dim0=-2, dim1=-1)


# ---- matmul -------------------------------------------------------------------------------------
def _same_dtypes(a: Any, b: Any, name: str) -> None:
    if a.dtype != b.dtype:
        raise DTypeError(
            f"expected m1 and m2 to have the same dtype, but got: {_cname(a)} != {_cname(b)}"
        )


_C_NAMES = {"float32": "float", "float64": "double", "int64": "long", "int32": "int", "bool": "bool",
            "float16": "c10::Half", "bfloat16": "c10::BFloat16"}  # fmt: skip


def _cname(a: Any) -> str:
    made: str = _C_NAMES.get(a.dtype.name, a.dtype.name)
    return made


def _matmul(a: Any, b: Any) -> Any:
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(
            f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D"
        )
    _same_dtypes(a, b, "matmul")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(_mismatch(a, b))
    if a.dtype.kind == "b":
        return xp.matmul(a.astype("u1"), b.astype("u1")).astype("?")
    try:
        return xp.matmul(a, b)
    except ValueError:
        raise ShapeError(_batches(a, b)) from None


def _batches(a: Any, b: Any) -> str:
    """What is wrong with the batch dimensions of two inputs whose matrices fit."""
    pairs = zip(a.shape[-3::-1], b.shape[-3::-1])
    i, p, q = next((i, p, q) for i, (p, q) in enumerate(pairs) if p != q and 1 not in (p, q))
    at = max(a.ndim, b.ndim) - 3 - i
    return (
        f"The size of tensor a ({p}) must match the size of tensor b ({q}) at non-singleton dimension "
        f"{at}"
    )


def _mismatch(a: Any, b: Any) -> str:
    if a.ndim == 1 and b.ndim == 1:
        return f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to have the same number of elements, but got {a.shape[0]} and {b.shape[0]} elements respectively"
    if a.ndim == 2 and b.ndim == 1:
        return f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({b.shape[0]})"
    rows = int(np.prod(a.shape[:-1])) if a.ndim > 1 else 1
    if b.ndim > 2:
        return f"Expected size for first two dimensions of batch2 tensor to be: [{b.shape[0]}, {a.shape[-1]}] but got: [{b.shape[0]}, {b.shape[-2]}]."
    return f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a.shape[-1]} and {b.shape[-2] if b.ndim > 1 else b.shape[0]}x{b.shape[-1] if b.ndim > 1 else 1})"


def _grad_a(g: Any, b: Any, a_shape: Any) -> Any:
    if len(b.shape) == 1:
        return mul(g if len(a_shape) == 1 else unsqueeze(g, dim=-1), conj(b))
    if len(a_shape) == 1:
        return reshape_(sum_to_last(matmul_(unsqueeze(g, dim=-2), mT(conj(b)))), shape=a_shape)
    return matmul_(g, mT(conj(b)))


def _grad_b(g: Any, a: Any, b_shape: Any) -> Any:
    if len(a.shape) == 1 and len(b_shape) == 1:
        return mul(g, conj(a))
    if len(a.shape) == 1:
        return mul(unsqueeze(conj(a), dim=-1), unsqueeze(g, dim=-2))
    if len(b_shape) == 1:
        product = matmul_(mT(conj(a)), unsqueeze(g, dim=-1))
        return sum_to_last(reshape_(product, shape=tuple(product.shape[:-1])))
    if len(b_shape) == 2 and len(a.shape) > 2:
        return matmul_(mT(conj(rows(a))), rows(g))
    return matmul_(mT(conj(a)), g)


def sum_to_last(x: Any) -> Any:
    """Sum over all dimensions but the last."""
    from .reduce import sum as total

    n = len(x.shape) - 1
    if n == 0:
        return x
    if isinstance(x, Tensor):
        return total(x, dim=tuple(range(n)))
    return _sum_lead(x, n)


def _sum_lead(x: Any, n: int) -> Any:
    return xp.add.reduce(x, tuple(range(n)))


def rows(x: Any) -> Any:
    """All dimensions but the last joined, on arrays or Tensors."""
    if len(x.shape) == 2:
        return x
    n = 1
    for k in x.shape[:-1]:
        n *= k
    return reshape_(x, shape=(n, x.shape[-1]))


matmul_ = operator(
    "matmul", lambda input, other: _matmul(input, other),
    (lambda g, other, input_shape: _grad_a(g, other, input_shape),
     lambda g, input, other_shape: _grad_b(g, input, other_shape)),
    "math", out=True, grad_name="MmBackward0",
    samples=lambda: [((_a(2, 3), _a(3, 4)), {}), ((_a(2, 2, 3), _a(3, 4)), {}), ((_a(3), _a(3)), {}),
                     ((_a(3), _a(3, 2)), {}), ((_a(2, 3), _a(3)), {}), ((_a(2, 1, 2, 3), _a(3, 3, 2)), {}),
                     ((_a(2, 2, 3), _a(3)), {}), ((_a(3), _a(2, 3, 2)), {})],
    ref=lambda a, b: np.dot(a, b) if b.ndim < 3 else np.einsum("...ij,...jk->...ik" if a.ndim > 1 else "j,...jk->...k", a, b),
    onnx="MatMul",
)  # fmt: skip
matmul = matmul_
attach("__matmul__", matmul_)
attach("__rmatmul__", lambda self, other: matmul_(other, self))


def _dims(x: Any, n: int, name: str, arg: str) -> None:
    if x._a.ndim != n:
        raise ShapeError(f"{name}: Expected {n}-D argument {arg}, but got {x._a.ndim}-D")


@method()
@with_out
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    if input._a.ndim != 2 or mat2._a.ndim != 2:
        raise ShapeError(
            f"self must be a matrix, got {input._a.ndim}-D"
            if input._a.ndim != 2
            else f"mat2 must be a matrix, got {mat2._a.ndim}-D"
        )
    made: Tensor = matmul_(input, mat2)
    return made


@method()
@with_out
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices."""
    if input._a.ndim != 3 or mat2._a.ndim != 3:
        raise ShapeError(
            "batch1 must be a 3D tensor" if input._a.ndim != 3 else "batch2 must be a 3D tensor"
        )
    if input._a.shape[0] != mat2._a.shape[0]:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input._a.shape[0]}, {input._a.shape[2]}] but got: [{mat2._a.shape[0]}, {mat2._a.shape[1]}]."
        )
    made: Tensor = matmul_(input, mat2)
    return made


@method()
@with_out
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector."""
    if input._a.ndim != 2 or vec._a.ndim != 1:
        raise ShapeError(
            f"vector + matrix @ vector expected, got {vec._a.ndim}, {input._a.ndim}, {vec._a.ndim}"
        )
    made: Tensor = matmul_(input, vec)
    return made


@method()
@with_out
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors."""
    if input._a.ndim != 1 or tensor._a.ndim != 1:
        raise ShapeError(
            f"1D tensors expected, but got {input._a.ndim}D and {tensor._a.ndim}D tensors"
        )
    if input._a.dtype != tensor._a.dtype:
        raise DTypeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype.name.title()} and {tensor.dtype.name.title()}"
        )
    made: Tensor = matmul_(input, tensor)
    return made


@method()
@with_out
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of products of two vectors, the first conjugated."""
    made: Tensor = dot(conj(input), other)
    return made


@method()
@with_out
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors' elements."""
    if input._a.ndim != 1 or vec2._a.ndim != 1:
        raise ShapeError(
            f"outer: Expected 1-D argument {'self' if input._a.ndim != 1 else 'vec2'}, but got {(input if input._a.ndim != 1 else vec2)._a.ndim}-D"
        )
    made: Tensor = mul(unsqueeze(input, -1), vec2)
    return made


ger = method("ger")(outer)


@method()
@with_out
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimensions."""
    if input._a.ndim == 0 or other._a.ndim == 0:
        made: Tensor = mul(input, other)
        return made
    if input._a.shape[-1] != other._a.shape[-1]:
        raise ShapeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input._a.shape)} and {list(other._a.shape)}"
        )
    result: Tensor = tensordot(input, other, ([-1], [-1]))
    return result


# ---- products added to a tensor ------------------------------------------------------------------
def _plus(input: Tensor, product: Any, beta: Any, alpha: Any) -> Tensor:
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        made: Tensor = scaled.expand(
            np.broadcast_shapes(tuple(input._a.shape), tuple(scaled._a.shape))
        )
        return made
    made = (input if beta == 1 else input * beta) + scaled
    return made


def _fits(input: Tensor, product: Tensor) -> None:
    want = tuple(product._a.shape)
    try:
        ok = np.broadcast_shapes(tuple(input._a.shape), want) == want
    except ValueError:
        ok = False
    if not ok:
        raise ShapeError(
            f"The expanded size of the tensor must match: got {list(input._a.shape)}, expected {list(want)}"
        )
    if input._a.dtype != product._a.dtype:
        raise DTypeError(
            f"self and mat2 must have the same dtype, but got {input.dtype} and {product.dtype}"
        )


@method()
@with_out
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    if mat1._a.ndim != 2 or mat2._a.ndim != 2:
        raise ShapeError(
            f"mat1 and mat2 must be matrices, got {mat1._a.ndim}-D and {mat2._a.ndim}-D tensors"
        )
    product = mm(mat1, mat2)
    _fits(input, product)
    return _plus(input, product, beta, alpha)


@method()
@with_out
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    product = mv(mat, vec)
    _fits(input, product)
    return _plus(input, product, beta, alpha)


@method()
@with_out
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    return _plus(input, outer(vec1, vec2), beta, alpha)


@method()
@with_out
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    product = bmm(batch1, batch2)
    _fits(input, product)
    return _plus(input, product, beta, alpha)


@method()
@with_out
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * the sum of bmm(batch1, batch2)."""
    product = bmm(batch1, batch2).sum(0)
    _fits(input, product)
    return _plus(input, product, beta, alpha)


for _f in (addmm, addmv, addr, baddbmm, addbmm):
    inplace_of(_f)


def chain_matmul(*matrices: Any, out: Any = None) -> Tensor:
    """The product of several matrices."""
    made = matrices[0]
    for m in matrices[1:]:
        made = mm(made, m)
    result: Tensor = made
    return result


# ---- linear ---------------------------------------------------------------------------------------
def _linear(input: Any, weight: Any, bias: Any) -> Any:
    if input.dtype is not weight.dtype and input.dtype != weight.dtype:
        raise DTypeError(
            f"mat1 and mat2 must have the same dtype, but got {_kind(input)} and {_kind(weight)}"
        )
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        n = int(np.prod(input.shape[:-1])) if input.ndim > 1 else 1
        k = input.shape[-1] if input.ndim else 1
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({n}x{k} and {weight.shape[-1]}x{weight.shape[0]})"
        )
    if bias is None:
        return xp.matmul(input, weight.T)
    y = xp.matmul(input, weight.T)
    y += bias
    return y


def _kind(a: Any) -> str:
    from ..autograd.inplace import kind

    return kind(a.dtype)


def linear_formula(input: Any, weight: Any, bias: Any = None) -> Any:
    """The meaning of linear, in differentiable operators."""
    y = matmul_(input, weight.T if weight._a.ndim == 2 else weight)
    return y if bias is None else y + bias


def _linear_backward(g: Any, input: Any, weight: Any, want: Any, bias_shape: Any) -> Any:
    gi = gw = gb = None
    if g.dtype.kind == "c":
        input, weight = xp.conj(input), xp.conj(weight)
    if want[0]:
        gi = xp.matmul(g, weight) if weight.ndim == 2 else g[..., None] * weight
    flat = g if g.ndim == 2 else g.reshape(-1, g.shape[-1]) if weight.ndim == 2 else g.reshape(-1)
    if want[1]:
        x = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
        gw = xp.matmul(flat.T, x)
    if want[2]:
        gb = xp.add.reduce(flat, 0) if bias_shape else xp.add.reduce(flat, None)
    return gi, gw, gb


linear = composite(
    "linear", linear_formula, lambda input, weight, bias=None: _linear(input, weight, bias),
    lambda g, input, weight, want, bias_shape: _linear_backward(g, input, weight, want, bias_shape),
    rule="math", method=False, grad_name="AddmmBackward0", onnx="Gemm", out=True,
    samples=lambda: [((_a(4, 3), _a(2, 3), _a(2)), {}), ((_a(2, 4, 3), _a(2, 3)), {}), ((_a(3), _a(2, 3), _a(2)), {})],
    ref=lambda x, w, b=0.0: np.einsum("...i,oi->...o", x, w) + b,
)  # fmt: skip


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """x1' W x2 + b for every output: input1 [*, m], input2 [*, n], weight [o, m, n]."""
    if input1._a.shape[:-1] != input2._a.shape[:-1]:
        raise ShapeError(
            f"bilinear(): input batch dimensions do not match: {list(input1._a.shape)} and {list(input2._a.shape)}"
        )
    if input1._a.shape[-1] != weight._a.shape[1] or input2._a.shape[-1] != weight._a.shape[2]:
        raise ShapeError(f"bilinear(): input sizes do not match weight {list(weight._a.shape)}")
    y = einsum("...m,omn,...n->...o", input1, weight, input2)
    return y if bias is None else y + bias


# ---- einsum and tensordot ------------------------------------------------------------------------------
@with_out
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over given dimensions of both, or over the last and first few."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a._a.ndim, b._a.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        da, db = list(range(a._a.ndim - dims, a._a.ndim)), list(range(dims))
    else:
        da, db = ([d] if isinstance(d, int) else list(d) for d in dims)
    da, db = [check_dim(d, a._a.ndim) for d in da], [check_dim(d, b._a.ndim) for d in db]
    if len(da) != len(db):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(da, db, strict=True):
        if a._a.shape[i] == 1 != b._a.shape[j]:
            b = b.sum(j, keepdim=True)
        elif b._a.shape[j] == 1 != a._a.shape[i]:
            a = a.sum(i, keepdim=True)
        if a._a.shape[i] != b._a.shape[j]:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {a._a.shape[i]} in dim {i} and second has size {b._a.shape[j]} in dim {j}"
            )
    free_a = [i for i in range(a._a.ndim) if i not in da]
    free_b = [j for j in range(b._a.ndim) if j not in db]
    k = int(np.prod([a._a.shape[i] for i in da]))
    left = reshape(permute(a, (*free_a, *da)), (int(np.prod([a._a.shape[i] for i in free_a])), k))
    right = reshape(permute(b, (*db, *free_b)), (k, int(np.prod([b._a.shape[j] for j in free_b]))))
    product = matmul_(left, right)
    return reshape(product, [a._a.shape[i] for i in free_a] + [b._a.shape[j] for j in free_b])


def einsum(*args: Any) -> Tensor:
    """Sums of products by index letters, as ``einsum("bij,bjk->bik", a, b)``."""
    from .einsum import evaluate

    return evaluate(*args)


@method()
@with_out
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product."""
    n = max(input._a.ndim, other._a.ndim)
    s = (1,) * (n - input._a.ndim) + tuple(input._a.shape)
    t = (1,) * (n - other._a.ndim) + tuple(other._a.shape)
    a = reshape(input, [k for i in s for k in (i, 1)])
    b = reshape(other, [k for i in t for k in (1, i)])
    return reshape(mul(a, b), [i * j for i, j in zip(s, t, strict=True)])


@method()
@with_out
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of three elements."""
    from .join import stack

    shape = np.broadcast_shapes(tuple(input._a.shape), tuple(other._a.shape))
    if dim is None:
        found = [i for i, n in enumerate(shape) if n == 3]
        if not found:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0]
    d = check_dim(dim, len(shape))
    if shape[d] != 3:
        raise RuntimeError(
            f"inputs dimension {dim} must have length 3. Got {input._a.shape[d]} and {other._a.shape[d]}"
        )
    a, b = (x.expand(shape).unbind(d) for x in (input, other))
    parts = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    made: Tensor = stack(parts, d)
    return made


__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "cross", "dot", "einsum", "ger",
    "inner", "kron", "matmul", "mm", "mv", "outer", "tensordot", "vdot",
]  # fmt: skip
NN = ["bilinear", "linear"]
publish(globals())

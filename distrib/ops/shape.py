"""Shapes: views, permutations, joins, splits and repetitions."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Leaf, Size, Tensor, W, cell_of, check_dim, wrap
from .registry import attach, method, operator, publish

xp: Any = None  # bound per array type


def _a(*shape: int) -> Any:
    """A sample without ties."""
    n = int(np.prod(shape))
    return np.random.default_rng(n).permutation(n).reshape(shape) * 0.37 - 1.0


# ---- views --------------------------------------------------------------------------------------
def _reshape(x: Any, shape: Any) -> Any:
    try:
        return x.reshape(shape)
    except (ValueError, TypeError):
        raise _bad_shape(x, shape) from None


def _bad_shape(x: Any, shape: Any) -> Exception:
    if any(not isinstance(n, (int, np.integer)) for n in shape):
        return TypeError(f"reshape(): argument 'shape' must be tuple of ints, but got {shape!r}")
    if sum(n == -1 for n in shape) > 1:
        return ShapeError("only one dimension can be inferred")
    if any(n < -1 for n in shape):
        return ShapeError(f"invalid shape dimension {min(shape)}")
    if -1 in shape and x.size == 0:
        return ShapeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
            "dimension size -1 can be any value and is ambiguous"
        )
    return ShapeError(f"shape '{list(shape)}' is invalid for input of size {x.size}")


def _view(x: Any, shape: Any) -> Any:
    try:
        return x.reshape(shape, copy=False) if type(x) is np.ndarray else x.reshape(shape)
    except (ValueError, TypeError):
        if math.prod(shape) != x.size and -1 not in shape:
            raise _bad_shape(x, shape) from None
        try:
            x.reshape(shape)
        except (ValueError, TypeError):
            raise _bad_shape(x, shape) from None
        raise ShapeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans "
            "across two contiguous subspaces). Use .reshape(...) instead."
        ) from None


_reshape_op = operator(
    "reshape", lambda x, *, shape: _reshape(x, shape), (lambda g, x_shape: reshape_(g, shape=x_shape),),
    view="maybe", method=False, grad_name="ViewBackward0",
    samples=lambda: [((_a(2, 6),), {"shape": (3, -1)}), ((_a(4, 3).T,), {"shape": (12,)})],
    ref=lambda x, shape: np.reshape(x, shape), onnx="Reshape",
)  # fmt: skip
reshape_: Any = _reshape_op
_view_op = operator(
    "view", lambda x, *, shape: _view(x, shape), (lambda g, x_shape: reshape_(g, shape=x_shape),),
    view=True, method=False, grad_name="ViewBackward0",
    samples=lambda: [((_a(2, 6),), {"shape": (3, -1)})], ref=lambda x, shape: np.reshape(x, shape),
    onnx="Reshape",
)  # fmt: skip


def _transpose(x: Any, dim0: int, dim1: int) -> Any:
    if x.ndim == 0 and dim0 in (0, -1) and dim1 in (0, -1):
        return x[...]
    return x.swapaxes(dim0, dim1)


transpose: Any = operator(
    "transpose", lambda input, *, dim0, dim1: _transpose(input, dim0, dim1),
    (lambda g, dim0, dim1: transpose(g, dim0=dim0, dim1=dim1),), view=True,
    samples=lambda: [((_a(2, 3, 4),), {"dim0": 0, "dim1": -1})],
    ref=lambda x, dim0, dim1: np.moveaxis(x, (dim0, dim1), (dim1, dim0)), onnx="Transpose",
)  # fmt: skip


def _order(x: Any, dims: Any) -> Any:
    if len(dims) != x.ndim:
        raise ShapeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the "
            f"desired ordering of dimensions i.e. input.dim() = {x.ndim} is not equal to len(dims) = "
            f"{len(dims)}"
        )
    order = [check_dim(d, x.ndim) for d in dims]
    if len(set(order)) != len(order):
        raise ShapeError("permute(): duplicate dims are not allowed.")
    return x.transpose(order) if order else x[...]


def _inverse(dims: Any) -> tuple[int, ...]:
    n = len(dims)
    back = [0] * n
    for i, d in enumerate(dims):
        back[d % n] = i
    return tuple(back)


permute_: Any = operator(
    "permute", lambda x, *, dims: _order(x, dims), (lambda g, dims: permute_(g, dims=_inverse(dims)),),
    view=True, method=False, samples=lambda: [((_a(2, 3, 4),), {"dims": (2, 0, 1)})],
    ref=lambda x, dims: np.einsum(x, list(range(3)), list(dims)), onnx="Transpose",
)  # fmt: skip


def _expand(x: Any, shape: Any) -> Any:
    lead = len(shape) - x.ndim
    if lead < 0:
        raise ShapeError(
            f"expand: the number of sizes provided ({len(shape)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({x.ndim})"
        )
    if any(n == -1 for n in shape[:lead]):
        raise ShapeError(
            "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension 0"
        )
    want = tuple(shape[:lead]) + tuple(
        k if n == -1 else n for n, k in zip(shape[lead:], x.shape, strict=True)
    )
    for i, (n, k) in enumerate(zip(want[lead:], x.shape, strict=True)):
        if k not in (n, 1):
            raise ShapeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({k}) at non-singleton "
                f"dimension {lead + i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(x.shape)}"
            )
    return xp.broadcast_to(x, want)


expand_ = operator(
    "expand", lambda x, *, shape: _expand(x, shape), (lambda g: g,), view=True, method=False,
    samples=lambda: [((_a(3, 1),), {"shape": (2, -1, 4)})],
    ref=lambda x, shape: x[None] * np.ones((2, 1, 4)), onnx="Expand",
)  # fmt: skip


def _squeezed(shape: Any, dim: Any) -> tuple[int, ...]:
    if dim is None:
        return tuple(n for n in shape if n != 1)
    dims = {check_dim(d, len(shape)) for d in (dim if isinstance(dim, tuple) else (dim,))}
    return tuple(n for i, n in enumerate(shape) if n != 1 or i not in dims)


squeeze = operator(
    "squeeze", lambda input, *, dim=None: input.reshape(_squeezed(input.shape, dim)),
    (lambda g, input_shape: reshape_(g, shape=input_shape),), view=True,
    samples=lambda: [((_a(1, 3, 1),), {}), ((_a(1, 3, 1),), {"dim": 0})],
    ref=lambda x, dim=None: np.squeeze(x, dim), onnx="Squeeze",
)  # fmt: skip


def _unsqueezed(shape: Any, dim: int) -> tuple[int, ...]:
    d = check_dim(dim, len(shape) + 1)
    return (*shape[:d], 1, *shape[d:])


unsqueeze = operator(
    "unsqueeze", lambda input, *, dim: input.reshape(_unsqueezed(input.shape, dim)),
    (lambda g, input_shape: reshape_(g, shape=input_shape),), view=True,
    samples=lambda: [((_a(2, 3),), {"dim": -1})], ref=lambda x, dim: np.expand_dims(x, dim),
    onnx="Unsqueeze",
)  # fmt: skip


def _diagonal(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    d1, d2 = check_dim(dim1, x.ndim), check_dim(dim2, x.ndim)
    if d1 == d2:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    view = x.diagonal(offset, d1, d2)
    if type(view) is np.ndarray and not view.flags.writeable and x.flags.writeable:
        view.flags.writeable = True
    return view


def _undiagonal(g: Any, shape: Any, offset: int, dim1: int, dim2: int) -> Any:
    z = xp.zeros(shape, g.dtype)
    v = z.swapaxes(0, 0)
    rows = xp.arange(g.shape[-1]) + max(0, -offset)
    cols = xp.arange(g.shape[-1]) + max(0, offset)
    lead = [i for i in range(len(shape)) if i not in (dim1 % len(shape), dim2 % len(shape))]
    v = z.transpose([*lead, dim1 % len(shape), dim2 % len(shape)])
    v[..., rows, cols] = g
    return z


diagonal = operator(
    "diagonal", lambda input, *, offset=0, dim1=0, dim2=1: _diagonal(input, offset, dim1, dim2),
    (lambda g, input_shape, offset, dim1, dim2: undiagonal(
        g, shape=input_shape, offset=offset, dim1=dim1, dim2=dim2),),
    view=True, samples=lambda: [((_a(3, 4),), {"offset": 1}), ((_a(2, 3, 4),), {"dim1": -1, "dim2": 0})],
    ref=lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
)  # fmt: skip
undiagonal: Any = operator(
    "_undiagonal",
    lambda g, *, shape, offset, dim1, dim2: _undiagonal(g, shape, offset, dim1, dim2),
    (lambda h, offset, dim1, dim2: diagonal(h, offset=offset, dim1=dim1, dim2=dim2),),
    samples=lambda: [((_a(3),), {"shape": (3, 4), "offset": 1, "dim1": 0, "dim2": 1})],
    ref=lambda g, shape, offset, dim1, dim2: np.pad(np.diag(g), ((0, 0), (1, 0))),
)  # fmt: skip


# ---- PyTorch's signatures over them ---------------------------------------------------------------
def _size(args: Any) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    return tuple(args) if all(type(n) is int for n in args) else tuple(int(n) for n in args)


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same values in another shape: a view where strides allow it, else a copy."""
    return _as_tensor(_reshape_op(input, _size((shape,) if isinstance(shape, int) else shape)))


def _as_tensor(t: Any) -> Tensor:
    made: Tensor = t
    return made


def _method_reshape(self: Tensor, *shape: Any, **kw: Any) -> Tensor:
    return _as_tensor(_reshape_op(self, _size(shape or (kw["shape"],))))


def _method_view(self: Tensor, *shape: Any) -> Tensor:
    """A view in another shape (RuntimeError if strides do not allow it) or of another dtype."""
    if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list, np.integer)):
        return view_dtype(self, shape[0])
    made: Tensor = _view_op(self, _size(shape))
    return made


def _recast(x: Any, dtype: Any) -> Any:
    if x.dtype.itemsize == dtype.itemsize:
        return x.view(dtype)
    if x.ndim == 0:
        raise ShapeError(
            f"self.dim() cannot be 0 to view {x.dtype} as {dtype} (different element sizes)"
        )
    return x.view(dtype)


_recast_op = operator(
    "view_dtype", lambda x, *, dtype: _recast(x, dtype), None, view=True, method=False,
    samples=lambda: [((np.arange(4.0),), {"dtype": np.dtype("i8")})], ref=lambda x, dtype: x.view(dtype),
)  # fmt: skip


def view_dtype(x: Tensor, dtype: Any) -> Tensor:
    """The same bytes under another dtype."""
    from .. import dtypes

    made: Tensor = _recast_op(x, dtype=dtypes.raw_of(dtype))
    return made


attach("reshape", _method_reshape)
attach("view", _method_view)


def permute(input: Tensor, dims: Any) -> Tensor:
    """Dimensions in another order; a view."""
    return _as_tensor(permute_(input, dims=_size((dims,))))


@method("permute")
def _method_permute(self: Tensor, *dims: Any) -> Tensor:
    return permute(self, _size(dims))


@method("expand")
def _expand_method(self: Tensor, *size: Any, implicit: bool = False) -> Tensor:
    """A view in which dimensions of size 1 are repeated without memory; -1 keeps a size."""
    return _as_tensor(expand_(self, shape=_size(size)))


def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """A view in a larger shape."""
    return _as_tensor(expand_(input, shape=_size((size,))))


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Views of all tensors in their common shape."""
    ts = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    shape = broadcast_shapes(*(t.shape for t in ts))
    return tuple(broadcast_to(t, shape) for t in ts)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that shapes broadcast to; RuntimeError if they do not fit."""
    try:
        return Size(
            np.broadcast_shapes(*(tuple(s) if not isinstance(s, int) else (s,) for s in shapes))
        )
    except ValueError:
        raise ShapeError(
            f"Shape mismatch: objects cannot be broadcast to a single shape: {shapes}"
        ) from None


@method()
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor."""
    return broadcast_to(self, other.shape)


@method()
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor of as many elements."""
    return _method_view(self, *other.shape)


@method()
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The values in the shape of another tensor of as many elements."""
    return reshape(self, other.shape)


@method()
def ravel(input: Tensor) -> Tensor:
    """One dimension; a view where possible."""
    return reshape(input, (-1,) if input.numel() else (0,))


@method()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Several neighbouring dimensions joined into one."""
    n = input._a.ndim
    if n == 0:
        return reshape(input, (1,))
    a, b = check_dim(start_dim, n), check_dim(end_dim, n)
    if a > b:
        raise ShapeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if a == b:
        return input
    s = input._a.shape
    return reshape(input, (*s[:a], math.prod(s[a : b + 1]), *s[b + 1 :]))


@method()
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension split into several."""
    d, s, sizes = check_dim(dim, input._a.ndim), input._a.shape, tuple(sizes)
    if not sizes:
        raise ShapeError("unflatten: sizes must be non-empty")
    if -1 not in sizes and math.prod(sizes) != s[d]:
        raise ShapeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({s[d]}) in "
            "the input tensor"
        )
    return _method_view(input, *s[:d], *sizes, *s[d + 1 :]) if -1 not in sizes else reshape(
        input, (*s[:d], *sizes, *s[d + 1 :]))  # fmt: skip


@method()
def t(input: Tensor) -> Tensor:
    """A matrix transposed; vectors and scalars as they are."""
    if input._a.ndim > 2:
        raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._a.ndim}D")
    return input if input._a.ndim < 2 else _as_tensor(transpose(input, 0, 1))


@method()
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places; the others keep their order."""
    n = input._a.ndim
    src = [check_dim(d, n) for d in ((source,) if isinstance(source, int) else source)]
    dst = [
        check_dim(d, n) for d in ((destination,) if isinstance(destination, int) else destination)
    ]
    if len(src) != len(dst):
        raise ShapeError(
            "movedim: Invalid source or destination dims: source "
            f"({src} dims) should contain the same number of dims as destination ({dst} dims)"
        )
    if len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise ShapeError("movedim: repeated dim in `source` or `destination`")
    order = [i for i in range(n) if i not in src]
    for d, s in sorted(zip(dst, src, strict=True)):
        order.insert(d, s)
    return permute(input, tuple(order))


@method()
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, conjugated."""
    swapped: Tensor = transpose(input, -2, -1)
    return swapped.conj() if swapped.is_complex() else swapped


def _property(name: str, fn: Any) -> None:
    setattr(Tensor, name, property(fn))


def _matrix_only(x: Tensor, name: str) -> Tensor:
    if x._a.ndim < 2 and x._a.ndim != 0:
        raise ShapeError(
            f"tensor.{name} is only supported on matrices or batches of matrices. Got {x._a.ndim}-D tensor."
        )
    return x


_property("T", lambda x: permute(x, tuple(range(x._a.ndim))[::-1]))
_property("mT", lambda x: transpose(_matrix_only(x, "mT"), -2, -1))
_property("H", lambda x: adjoint(x) if x._a.ndim else x)
_property("mH", lambda x: adjoint(_matrix_only(x, "mH")))
for _names, _f in (
    ("swapaxes swapdims", transpose), ("moveaxis", movedim), ("broadcast_to", _expand_method),
):  # fmt: skip
    for _n in _names.split():
        attach(_n, _f)
swapaxes = swapdims = transpose
moveaxis = movedim


def _method_inplace(name: str, fn: Any) -> None:
    """Shape changes of the tensor itself: the same memory, another shape."""

    def written(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        W["check_writable"](self)
        # what it was lives on as the owner of the memory, and what viewed it now views that
        was = wrap(self._a, self._n)
        was._c, was._view = cell_of(self), self._view
        made = fn(was, *args, **kwargs)
        self._a = made._a
        self._bump()
        if type(self._n) is Leaf:  # under no_grad
            self._n.shape = made._a.shape
            return self
        views = [v for r in was._c.views if (v := r()) is not None and v._view is not None]
        of_self = [v for v in views if v._view is not None and v._view[0] is self]
        if made is was or (self._n is None and self._view is None and not of_self):
            return self
        for v in of_self:
            assert v._view is not None
            v._view = (was, *v._view[1:])
        if made._view is not None:
            self._n, self._view = made._n, made._view
            was._c.views.append(weakref.ref(self))
        return self

    written.__name__ = name
    attach(name, written)


for _n, _f in (
    ("squeeze_", squeeze), ("unsqueeze_", unsqueeze), ("transpose_", transpose), ("t_", t),
    ("swapaxes_", transpose), ("swapdims_", transpose),
):  # fmt: skip
    _method_inplace(_n, _f)


@method()
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself if it lies in memory in the order of its dimensions (or in the given format), else a copy."""
    from .layout import in_format

    return in_format(self, memory_format)


__all__ = [
    "adjoint", "broadcast_shapes", "broadcast_tensors", "broadcast_to", "diagonal", "flatten", "moveaxis",
    "movedim", "permute", "ravel", "reshape", "squeeze", "swapaxes", "swapdims", "t", "transpose",
    "unflatten", "unsqueeze",
]  # fmt: skip
publish(globals())

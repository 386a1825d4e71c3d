"""Tensor: raw array, gradient, graph node, version cell, view. No maths: `ops` attaches the methods.

What a recorded call leaves behind is declared in `graph`; what is done with it lives in `autograd`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from . import dtypes
from .devices import MetaArray, device, device_of, xp_of
from .dtypes import Array
from .graph import FREED, SEQ, Cell, Leaf, Node, W, lock, new, state
from .methods import Methods

ndarray = np.ndarray


class Size(tuple[int, ...]):
    """A shape; prints as PyTorch's.

    >>> Size([2, 3]).numel()
    6
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for k in self:
            n *= k
        return n

    def __getitem__(self, key: Any) -> Any:
        got = tuple.__getitem__(self, key)
        return Size(got) if type(key) is slice else got

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, n: Any) -> Size:
        return Size(tuple.__mul__(self, n))

    def __reduce__(self) -> tuple[Any, ...]:
        return Size, (tuple(self),)


# ---- Tensor -----------------------------------------------------------------------------------------
class Tensor(Methods):
    """A multi-dimensional array with a gradient; PyTorch's methods are attached by `distrib.ops`."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_a",  # the raw array
        "_c",  # version cell or None
        "_grad",  # what .grad reads and, checked, writes
        "_n",  # None, a graph node, or the leaf's own accumulator: this slot is requires_grad
        "_view",  # None or (tensor viewed, op, attrs): how to make this view again
    )
    _a: Array
    _n: Any
    _c: Cell | None
    _view: tuple[Tensor, Any, Any] | None
    _grad: Tensor | None
    __array_priority__ = 1000

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        t = new(cls)
        if cls is Tensor:
            t._a = _legacy_array(args)
        elif args and isinstance(args[0], Tensor):
            t._a = args[0]._a
        else:
            t._a = _legacy_array(args)
        t._n = t._c = t._view = t._grad = None
        return t

    def _assign_grad(self, g: Tensor | None) -> None:
        if g is not None:
            check_grad(self, g)
        self._grad = g

    def _drop_grad(self) -> None:
        self._grad = None

    # read in C, as a slot is
    grad = property(attrgetter("_grad"), _assign_grad, _drop_grad, "The gradient, or None.")

    # -- graph
    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        return self._n is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    @property
    def is_leaf(self) -> bool:
        """Whether this tensor was not made by a recorded operation."""
        return self._n is None or type(self._n) is Leaf

    @property
    def grad_fn(self) -> Any:
        """The node that made this tensor; None for a leaf."""
        return None if type(self._n) is Leaf else self._n

    @property
    def output_nr(self) -> int:
        """Which output of its node this tensor is."""
        n = self._n
        return int(n.attrs) if type(n) is Node and n.op.pick else 0

    @property
    def _version(self) -> int:
        if self._c is None:
            return 0
        if self._c.version is None:
            raise RuntimeError("Inference tensors do not track version counter.")
        return int(self._c.version)

    def _bump(self) -> None:
        """Mark a write into the raw array that went past the operators."""
        c = cell_of(self)
        if c.version is not None:
            c.version += 1

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Record (or stop recording) operations on this leaf, in place."""
        on = bool(requires_grad)
        if not self.is_leaf:
            if on:
                return self
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if on and dtypes.OF[self._a.dtype].category < dtypes.FLOAT:
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients, got "
                f"{self.dtype}"
            )
        if on and self.is_inference() and not state.inference:
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
            )
        self._n = (self._n or Leaf(self)) if on else None
        return self

    def is_inference(self) -> bool:
        """Whether this tensor was made in inference mode."""
        return self._c is not None and self._c.version is None

    @property
    def data(self) -> Tensor:
        """The same memory outside of the graph, without a shared version counter."""
        return wrap(self._a)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        self._a = value._a
        if type(self._n) is Leaf:
            self._n.shape, self._n.dt = value._a.shape, value._a.dtype

    # -- what it is
    @property
    def shape(self) -> Size:
        """The sizes of all dimensions."""
        return Size(self._a.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        """The element type."""
        return dtypes.OF[self._a.dtype]

    @property
    def device(self) -> device:
        """Where the memory lies."""
        return device_of(self._a)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return int(self._a.ndim)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self._a.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.itemsize

    layout_name = "strided"
    is_sparse = is_quantized = is_mkldnn = is_nested = is_xpu = is_mps = is_vulkan = False

    @property
    def is_cuda(self) -> bool:
        """Whether the memory lies on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """Whether the memory lies on the CPU."""
        return type(self._a) is ndarray

    @property
    def is_meta(self) -> bool:
        """Whether there is a shape and no memory."""
        return type(self._a) is MetaArray

    def dim(self) -> int:
        """The number of dimensions."""
        return int(self._a.ndim)

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return int(self._a.size)

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return int(self._a.dtype.itemsize)

    def size(self, dim: int | None = None) -> Any:
        """All sizes, or the size of one dimension; IndexError if there is none such."""
        if dim is None:
            return Size(self._a.shape)
        return self._a.shape[check_dim(dim, self._a.ndim)]

    def stride(self, dim: int | None = None) -> Any:
        """Steps between elements, counted in elements."""
        strides = element_strides(self._a)
        return strides if dim is None else strides[check_dim(dim, self._a.ndim)]

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating."""
        made: bool = self.dtype.is_floating_point
        return made

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        made: bool = self.dtype.is_complex
        return made

    def is_signed(self) -> bool:
        """Whether the dtype has a sign."""
        made: bool = self.dtype.is_signed
        return made

    def get_device(self) -> int:
        """The index of the GPU, -1 on the CPU."""
        index = self.device.index
        return -1 if index is None else index

    # -- values
    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""
        a = self._a
        if a.size != 1:
            raise RuntimeError(f"a Tensor with {a.size} elements cannot be converted to Scalar")
        value = a.item()
        return value if type(value) in (float, int, bool, complex) else float(value)

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        from .devices import to_host

        a = to_host(self._a)
        return (a.astype("f4") if a.dtype.kind == "V" else a).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The memory as a NumPy array; RuntimeError if it requires grad, TypeError on a GPU."""
        if force:
            from .devices import to_host

            return to_host(self.detach()._a)
        if self._n is not None:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
        if type(self._a) is not ndarray:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the "
                "tensor to host memory first."
            )
        if self._a.dtype.kind == "V":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._a

    def detach(self) -> Tensor:
        """The same memory outside of the graph; writes through it are noticed."""
        d = wrap(self._a)
        d._c = cell_of(self)
        return d

    def __len__(self) -> int:
        if self._a.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return int(self._a.shape[0])

    def __bool__(self) -> bool:
        if self._a.size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        if self._a.size != 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._a.item())

    def __float__(self) -> float:
        return float(self._real_item("double"))

    def __int__(self) -> int:
        return int(self._real_item("int64_t"))

    def _real_item(self, to: str) -> Any:
        x = self.item()
        if type(x) is complex:
            if x.imag:
                raise RuntimeError(
                    f"value cannot be converted to type {to} without overflow: got {x}"
                )
            return x.real
        return x

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if dtypes.OF[self._a.dtype].category > dtypes.INTEGER or self._a.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._a.item())

    def __hash__(self) -> int:
        return id(self)

    def __iter__(self) -> Iterator[Tensor]:
        if self._a.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        a = self.numpy()
        return a if dtype is None else a.astype(dtype, copy=False)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from .printing import text

        return text(self)

    def __format__(self, spec: str) -> str:
        if self._a.ndim == 0 and not self.is_meta and type(self) is Tensor:
            return format(self.item(), spec)
        return object.__format__(self, spec)


W.update(Tensor=Tensor, ndarray=ndarray)


def _legacy_array(args: tuple[Any, ...]) -> Array:
    """The array of ``Tensor(2, 3)`` (uninitialised) or ``Tensor([1, 2])``: always the default dtype."""
    raw = dtypes.default_raw()
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0]._a
    if len(args) == 1 and not isinstance(args[0], (int, Size)):
        return np.array(args[0], dtype=raw)
    shape = args[0] if len(args) == 1 and isinstance(args[0], Size) else args
    return np.zeros(tuple(shape), raw) if args else np.zeros((0,), raw)


def wrap(a: Array, node: Any = None) -> Tensor:
    """A plain Tensor of an array; shares its memory."""
    t: Tensor = new(Tensor)
    t._a = a
    t._n = node
    t._grad = t._c = t._view = None
    return t


def check_grad(t: Tensor, g: Any) -> None:
    """TypeError or RuntimeError for what cannot be the gradient of a tensor."""
    if not isinstance(g, Tensor):
        raise TypeError(
            f"assigned grad expected to be a Tensor or None but got grad of type {type(g).__name__}"
        )
    if g is t:
        raise RuntimeError("can't assign Variable as its own grad")
    if g._a.dtype != t._a.dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{g.dtype}' to a tensor with dtype "
            f"'{t.dtype}'. Please ensure that the gradient and the tensor have the same dtype"
        )
    if type(g._a) is not type(t._a) or (type(t._a) is not ndarray and g.device != t.device):
        raise RuntimeError(
            f"attempting to assign a gradient located on device '{g.device}' to a tensor located on "
            f"device '{t.device}'. Please ensure that the gradient and the tensor are on the same device"
        )
    if g._a.shape != t._a.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(g._a.shape)}' to a tensor of size "
            f"'{list(t._a.shape)}'. Please ensure that the gradient and the tensor are the same size"
        )


def raw(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x._a if isinstance(x, Tensor) else x


def cell_of(t: Tensor) -> Cell:
    """The version cell of a tensor, made at the first need."""
    c = t._c
    if c is None:
        c = t._c = Cell()
        if type(t._n) is Node:  # the node may have saved this output: let it see later writes
            t._n.cell = c
    return c


def forget(c: Cell) -> None:
    """Drop dead views when their list has doubled."""
    c.views = [r for r in c.views if r() is not None]
    c.limit = 2 * len(c.views) + 8


def register_view(v: Tensor, base: Tensor, op: Any, attrs: Any) -> Tensor:
    """Make v known as a view of base: they share a version, and writes reach v's history."""
    c = v._c = base._c or cell_of(base)
    if not W["nograd"] or state.grad:
        v._view = (base, op, attrs)
        c.views.append(weakref.ref(v))
        if len(c.views) > c.limit:
            forget(c)
    return v


def chain_of(t: Tensor) -> tuple[Tensor, list[tuple[Any, Any]]]:
    """The tensor that owns the memory, and the view operators that lead from it to t."""
    steps = []
    while t._view is not None:
        t, op, attrs = t._view
        steps.append((op, attrs))
    return t, steps[::-1]


def check_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front; IndexError with PyTorch's text if there is none such."""
    top = max(ndim, 1)
    try:
        if -top <= dim < top:
            return dim % top
    except TypeError:
        raise TypeError(f"dim must be an int, not {type(dim).__name__}") from None
    raise IndexError(
        f"Dimension out of range (expected to be in range of [{-top}, {top - 1}], but got {dim})"
    )


def element_strides(a: Array) -> tuple[int, ...]:
    """Strides counted in elements, as PyTorch would have them for the same memory."""
    k, strides = a.dtype.itemsize, a.strides
    if 0 not in strides:
        return tuple(s // k for s in strides)
    out: list[int] = []
    step = 1
    for n, s in zip(a.shape[::-1], strides[::-1]):  # NumPy writes 0 where PyTorch goes on counting
        out.append(s // k if s or (n > 1 and a.size) else step)
        step = out[-1] * max(n, 1) if out[-1] else step
    return tuple(out[::-1])


W.update(wrap=wrap, cell_of=cell_of, forget=forget, xp_of=xp_of, register_view=register_view)
__all__ = [
    "FREED", "SEQ", "Cell", "Leaf", "Node", "Size", "Tensor", "W", "cell_of", "chain_of", "check_dim",
    "element_strides", "forget", "lock", "ndarray", "new", "raw", "register_view", "state", "wrap",
]  # fmt: skip

"""Conversion: dtypes, devices, copies; Tensor.to and its relatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..devices import device, device_of, move, resolve, xp_of
from ..tensor import Tensor
from .core import cast
from .layout import clone, in_format, preserve_format
from .promote import result_raw
from .registry import attach, method, operator, publish

xp: Any = None  # bound per array type


def _moved(x: Any, to: Any) -> Any:
    return move(x, to)


move_: Any = operator(
    "move", lambda x, *, to, home: _moved(x, to), (lambda g, to, home: move_(g, to=home, home=to),),
    method=False, grad_name="ToCopyBackward0",
    samples=lambda: [((np.arange(3.0),), {"to": device("cpu"), "home": device("cpu")})],
    ref=lambda x, to, home: x,
)  # fmt: skip


@method()
def to(
    self: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False,
    copy: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Another dtype, device or memory format; the tensor itself if nothing changes."""
    for i, a in enumerate(args):
        if isinstance(a, dtypes.dtype):
            dtype = a
        elif isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, bool):
            non_blocking, copy = (a, copy) if i < 2 else (non_blocking, a)
        elif a is None:
            continue
        elif isinstance(a, (str, int)) or type(a).__name__ == "device":
            device = a
        elif a is float or a is int:
            dtype = dtypes.OF[dtypes.raw_of(a)]
        else:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(a).__name__})"
            )
    t = self
    if device is not None:
        want = resolve(device)
        if want.type != device_of(t._a).type or (
            want.index is not None and want != t.device and want.type == "cuda"
        ):
            t = move_(t, to=want, home=t.device)
    if dtype is not None:
        raw = dtypes.raw_of(dtype)
        if t._a.dtype != raw:
            t = cast(t, dtype=raw)
    if memory_format is not None and memory_format is not preserve_format:
        t = in_format(t, memory_format)
    return clone(t) if copy and t is self else t


def _to_dtype(name: str, d: dtypes.dtype) -> None:
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        made: Tensor = self if self._a.dtype == d.np else cast(self, dtype=d.np)
        return in_format(made, memory_format) if memory_format is not None else made

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"This tensor as {d!r}; itself if it is."
    attach(name, convert)


for _name, _d in (
    ("float", dtypes.float32), ("double", dtypes.float64), ("half", dtypes.float16),
    ("bfloat16", dtypes.bfloat16), ("long", dtypes.int64), ("int", dtypes.int32),
    ("short", dtypes.int16), ("char", dtypes.int8), ("byte", dtypes.uint8), ("bool", dtypes.bool_),
    ("cfloat", dtypes.complex64), ("cdouble", dtypes.complex128),
):  # fmt: skip
    _to_dtype(_name, _d)

_TYPES = {
    "FloatTensor": dtypes.float32, "DoubleTensor": dtypes.float64, "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16, "LongTensor": dtypes.int64, "IntTensor": dtypes.int32,
    "ShortTensor": dtypes.int16, "CharTensor": dtypes.int8, "ByteTensor": dtypes.uint8,
    "BoolTensor": dtypes.bool_,
}  # fmt: skip


@method("type")
def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor converted to a type."""
    if dtype is None:
        name = next((k for k, d in _TYPES.items() if d is self.dtype), "Tensor")
        return f"torch.{'cuda.' if self.is_cuda else ''}{name}"
    if isinstance(dtype, str):
        last = dtype.rsplit(".", 1)[-1]
        if last not in _TYPES:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = _TYPES[last]
    return to(self, dtype=getattr(dtype, "as_dtype", dtype))


@method()
def type_as(self: Tensor, tensor: Tensor) -> Tensor:
    """This tensor in the dtype and on the device of another."""
    made: Tensor = to(self, tensor)
    return made


@method()
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor on the CPU."""
    made: Tensor = to(self, device="cpu", memory_format=memory_format)
    return made


@method()
def cuda(
    self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """This tensor on a GPU."""
    made: Tensor = to(
        self, device="cuda" if device is None else device, memory_format=memory_format
    )
    return made


@method()
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """This tensor in page-locked memory; without an accelerator an error, as in PyTorch."""
    if not self.is_cpu:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    raise RuntimeError("Cannot access accelerator device when none is available.")


@method()
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the memory is page-locked."""
    return False


@method()
def share_memory_(self: Tensor) -> Tensor:
    """Move into memory that forked processes share; arrays of forked workers already are copies on write."""
    return self


@method()
def is_shared(self: Tensor) -> bool:
    """Whether the memory is shared between processes."""
    return False


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is floating."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input.is_complex()


def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """The dtype that an operation on two tensors or numbers gives."""
    return dtypes.OF[result_raw([tensor1, tensor2])]


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    if input.numel() != 1:
        raise RuntimeError(
            f"Boolean value of Tensor with {'no values' if not input.numel() else 'more than one value'} is ambiguous"
        )
    return bool(input)


attach("is_nonzero", is_nonzero)


@method("detach_")
def detach_(self: Tensor) -> Tensor:
    """Take this tensor out of the graph, in place."""
    if self._view is not None:
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    self._n = None
    return self


def detach(input: Tensor) -> Tensor:
    """The same memory outside of the graph."""
    return input.detach()


@method("__deepcopy__")
def _deepcopy(self: Tensor, memo: Any) -> Tensor:
    """A copy with its gradient; only for leaves."""
    if id(self) in memo:
        found: Tensor = memo[id(self)]
        return found
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
        )
    made = object.__new__(type(self))
    made._a = xp_of(self._a).copy(self._a) if not self.is_meta else self._a
    made._n = made._c = made._view = None
    made._grad = None if self.grad is None else _deepcopy(self.grad, memo)
    made.requires_grad_(self.requires_grad)
    memo[id(self)] = made
    for k, v in self.__dict__.items():
        import copy

        made.__dict__[k] = copy.deepcopy(v, memo)
    return made


def _rebuild(cls: Any, array: Any, requires_grad: bool, attributes: Any) -> Tensor:
    made: Tensor = object.__new__(cls)
    made._a, made._grad = array, None
    made._n = made._c = made._view = None
    made.__dict__.update(attributes)
    return made.requires_grad_(requires_grad)


@method("__reduce_ex__")
def _reduce_ex(self: Tensor, protocol: Any) -> Any:
    """Pickle by value; only leaves keep requires_grad."""
    if self._n is not None and not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the pickle protocol at the moment."
        )
    array = self._a if self._a.flags.c_contiguous else self._a.copy()
    return _rebuild, (type(self), array, self.requires_grad, dict(self.__dict__))


@method("__dlpack__")
def _dlpack(self: Tensor, **options: Any) -> Any:
    """The memory as a DLPack capsule."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return self._a.__dlpack__(**options)


@method("__dlpack_device__")
def _dlpack_device(self: Tensor) -> Any:
    """The device in DLPack's terms."""
    return self._a.__dlpack_device__()


__all__ = ["detach", "is_complex", "is_floating_point", "is_nonzero", "result_type"]
publish(globals())

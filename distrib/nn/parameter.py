"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""

from collections import OrderedDict
from typing import Any

import numpy as np

from distrib import dtypes
from distrib.ops.creation import empty
from distrib.tensor import Leaf, Tensor, new, wrap

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]


class _ParameterMeta(type):
    """A tensor of another subclass is a Parameter once it is marked as one."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return (
            cls is Parameter
            and isinstance(instance, Tensor)
            and getattr(instance, "_is_param", False)
        )


def _containing(self: Tensor, *, tensor_contents: Any = None) -> str:
    return "Parameter containing:\n" + Tensor.__repr__(self)


def _uninitialized(self: Tensor, *, tensor_contents: Any = None) -> str:
    return f"<{self.__class__.__name__}>"


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that becomes a module's parameter when it is assigned as an attribute.

    >>> from distrib.nn import Parameter
    >>> from distrib.tensor import Tensor
    >>> Parameter(Tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = Tensor()
        if type(data) is not Tensor and not isinstance(data, Parameter):
            return _mark(data, requires_grad)
        if requires_grad and dtypes.OF[data._a.dtype].category < dtypes.FLOAT:
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients, got "
                f"{data.dtype}"
            )
        t: Any = new(cls)
        t._a = data._a
        t._c = t._view = t._grad = None
        t._n = Leaf(t) if requires_grad else None
        return t

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(wrap(_copied(self._a)), self.requires_grad)
        memo[id(self)] = result
        return result

    __repr__: Any = _containing

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        state = {k: v for k, v in self.__dict__.items() if k != "_is_param"}
        args = (self.data, self.requires_grad, OrderedDict[Any, Any]())
        if state:
            return _rebuild_parameter_with_state, (*args, state)
        return _rebuild_parameter, args


def _copied(a: Any) -> Any:
    return a.copy(order="K") if isinstance(a, np.ndarray) else a.copy()


def _mark(data: Any, requires_grad: bool) -> Any:
    t = data.detach()
    if type(t) is not type(data):
        raise RuntimeError(
            f"Creating a Parameter from an instance of type {type(data).__name__} requires that "
            "detach() "
            f"returns an instance of the same type, but got type {type(t).__name__} instead."
        )
    t.requires_grad_(requires_grad)
    t._is_param = True
    return t


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Any:
    return Parameter(data, requires_grad)


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, backward_hooks: Any, state: dict[str, Any]
) -> Any:
    result = Parameter(data, requires_grad)
    result.__dict__.update(state)
    return result


class _BufferMeta(type):
    """Any tensor marked as a buffer is a Buffer."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is Buffer:
            return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)
        return type.__instancecheck__(cls, instance)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that becomes a module's buffer when it is assigned as an attribute.

    The result is a plain Tensor that carries a mark, as in PyTorch; `persistent` says whether
    `state_dict()` holds it.
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = Tensor()
        t = data.detach()
        t.requires_grad_(data.requires_grad)
        t.persistent = persistent
        t._is_buffer = True
        return t


class UninitializedTensorMixin:
    """A tensor that has a device and a dtype but no shape yet, and refuses everything else."""

    __slots__ = ()

    _is_lazy = True
    _known = frozenset(
        "_n _c _view grad_fn _is_buffer _is_param persistent grad requires_grad is_leaf "
        "materialize "
        "cls_to_become share_memory_ dtype device data is_meta is_floating_point is_complex "
        "dim detach to cpu cuda type float double half bfloat16 _become _array".split()
    )

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name in UninitializedTensorMixin._known:
            return object.__getattribute__(self, name)
        if name in ("shape", "size"):
            raise RuntimeError(
                "Can't access the shape of an uninitialized parameter or buffer. This error "
                "usually "
                "happens in `load_state_dict` when trying to load an uninitialized parameter "
                "into an "
                "initialized one. Call `forward` to initialize the parameters before accessing "
                "their "
                "attributes."
            )
        raise ValueError(
            f"Attempted to use an uninitialized parameter in '{name}'. This error happens when you "
            f"are using a `LazyModule` or explicitly manipulating `{type(self).__name__}` objects. "
            "When using LazyModules Call `forward` with a dummy batch to initialize the parameters "
            "before calling torch functions"
        )

    @property
    def _array(self) -> Any:
        return object.__getattribute__(self, "_a")

    @property
    def data(self) -> Tensor:
        """A plain tensor of no elements that has the dtype and device."""
        return wrap(self._array)

    @data.setter
    def data(self, value: Tensor) -> None:
        object.__setattr__(self, "_a", value._a)

    @property
    def dtype(self) -> dtypes.dtype:
        """The element type."""
        return self.data.dtype

    @property
    def device(self) -> Any:
        """Where the memory will lie."""
        return self.data.device

    @property
    def is_meta(self) -> bool:
        """Whether there will be no memory."""
        return self.data.is_meta

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating."""
        return self.data.is_floating_point()

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.data.is_complex()

    def dim(self) -> int:
        """One: as long as there is no shape."""
        return 1

    def _become(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.data, method)(*args, **kwargs)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """A plain tensor of no elements with another dtype or device; so the others below."""
        return self._become("to", *args, **kwargs)

    def cpu(self) -> Any:
        return self._become("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> Any:
        return self._become("cuda", *args, **kwargs)

    def type(self, *args: Any, **kwargs: Any) -> Any:
        return self._become("type", *args, **kwargs)

    def float(self) -> Any:
        return self._become("float")

    def double(self) -> Any:
        return self._become("double")

    def half(self) -> Any:
        return self._become("half")

    def bfloat16(self) -> Any:
        return self._become("bfloat16")

    def share_memory_(self) -> Any:
        """RuntimeError: there is nothing to share yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize "
            "the parameters before calling `module.share_memory()`."
        )

    __repr__: Any = _uninitialized


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A Parameter without a shape; `materialize(shape)` makes it a plain one, in place."""

    __slots__ = ()

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        t: Any = new(cls)
        t._a = empty((0,), device=device, dtype=dtype)._a
        t._c = t._view = t._grad = None
        t._n = Leaf(Parameter(t.data)) if requires_grad else None
        return t

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take a shape, and uninitialised memory of the dtype and device noted or given."""
        device = self.device if device is None else device
        dtype = self.dtype if dtype is None else dtype
        wanted = self.requires_grad
        self._a = empty(tuple(shape), device=device, dtype=dtype)._a
        this: Any = self
        this.__class__ = self.cls_to_become
        this._n = Leaf(this) if wanted else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.requires_grad, self.device, self.dtype)
        memo[id(self)] = result
        return result

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return UninitializedParameter, (self.requires_grad, self.device, self.dtype)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer without a shape; `materialize(shape)` makes it a plain Tensor, in place."""

    __slots__ = ()

    cls_to_become = Tensor

    def __new__(
        cls,
        requires_grad: bool = False,
        device: Any = None,
        dtype: Any = None,
        persistent: bool = True,
    ) -> Any:
        t: Any = new(cls)
        t._a = empty((0,), device=device, dtype=dtype)._a
        t._n = t._c = t._view = t._grad = None
        t.persistent = persistent
        t._is_buffer = True
        return t

    def _become(self, method: str, *args: Any, **kwargs: Any) -> Any:
        t = super()._become(method, *args, **kwargs)
        if not isinstance(t, Tensor):
            return t
        return UninitializedBuffer(False, t.device, t.dtype, self.persistent)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take a shape, and uninitialised memory of the dtype and device noted or given."""
        device = self.device if device is None else device
        dtype = self.dtype if dtype is None else dtype
        self._a = empty(tuple(shape), device=device, dtype=dtype)._a
        this: Any = self
        this.__class__ = self.cls_to_become

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        memo[id(self)] = result = type(self)(False, self.device, self.dtype, self.persistent)
        return result

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return UninitializedBuffer, (False, self.device, self.dtype, self.persistent)


def is_lazy(param: Any) -> bool:
    """Whether a tensor still waits for its shape."""
    return getattr(type(param), "_is_lazy", False)

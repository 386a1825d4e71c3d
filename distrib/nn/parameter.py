"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""

from collections import OrderedDict
from typing import Any

import numpy as np

from distrib import dtypes
from distrib.tensor import Leaf, Tensor, new, wrap

__all__ = ["Buffer", "Parameter", "is_lazy"]


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
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        t: Any = new(cls)
        t._a = data._a
        t._c = t._view = t.grad = None
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

    def __repr__(self, **options: Any) -> str:
        return "Parameter containing:\n" + Tensor.__repr__(self)

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


def is_lazy(param: Any) -> bool:
    """Whether a tensor still waits for its shape."""
    return getattr(type(param), "_is_lazy", False)

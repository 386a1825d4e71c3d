"""Pickles as PyTorch writes them: its names for our classes, tensors as views of storages."""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from types import FunctionType
from typing import Any

from ..devices import device_of
from ..dtypes import dtype, of
from ..meta import MetaArray
from ..ops.layout import UntypedStorage, layout, memory_format
from ..tensor import Leaf, Tensor, element_strides
from . import names, rebuild
from .rebuild import NEW_DTYPES, StorageType, foundation


class _Reference:
    """What a tensor's pickle holds in place of its storage; becomes a persistent id."""

    __slots__ = ("id",)

    def __init__(self, id: tuple[Any, ...]) -> None:
        self.id = id


class Storages:
    """The storages of a file: memory is written once, however many tensors lie in it."""

    def __init__(self) -> None:
        self.data: list[Any] = []  # arrays of bytes; the key is the place
        self._known: dict[int, tuple[int, Any, str]] = {}  # address -> key, dtype, location
        self._kept: list[Any] = []  # addresses stay taken while these live
        self._types: dict[Any, StorageType] = {}

    def reference(self, flat: Any, kind: dtype | None, location: str, keep: Any) -> _Reference:
        """The persistent id of a memory; RuntimeError if it was written under another dtype."""
        address = flat.__array_interface__["data"][0] if flat.size else -1 - len(self.data)
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = len(self.data), kind, location
            self.data.append(flat)
            self._kept.append(keep)
        elif known[1] is not kind:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different "
                "types"
            )
        type_ = self._types.setdefault(kind, StorageType(kind))
        return _Reference(("storage", type_, str(known[0]), location, flat.size // type_.itemsize))

    def of_array(self, a: Any) -> tuple[_Reference, int, tuple[int, ...]]:
        """(persistent id of the memory under an array, offset, strides in elements)."""
        d = of(a.dtype)
        root, flat, offset, strides = foundation(a)
        kind = None if d in NEW_DTYPES else d
        return self.reference(flat, kind, str(device_of(a)), root), offset, strides


def _no_hooks() -> OrderedDict[Any, Any]:
    hooks: OrderedDict[Any, Any] = OrderedDict()  # OrderedDict[...]() would leave a note in it
    return hooks


class Pickler(pickle._Pickler):
    """Writes tensors, dtypes, devices and our classes under PyTorch's names."""

    dispatch = pickle._Pickler.dispatch.copy()

    def __init__(self, stream: Any, protocol: int, storages: Storages) -> None:
        super().__init__(stream, protocol=protocol)
        self._storages = storages

    def persistent_id(self, obj: Any) -> Any:
        """The id of a storage; None for all else."""
        if type(obj) is _Reference:
            return obj.id
        if isinstance(obj, UntypedStorage):
            flat = obj.bytes()
            return self._storages.reference(flat, None, str(obj.device), obj).id
        return None

    def reducer_override(self, obj: Any) -> Any:
        """How tensors and our descriptors are taken apart."""
        if isinstance(obj, Tensor):
            return self._tensor(obj)
        if type(obj) in (dtype, memory_format):
            return obj.name
        if type(obj) is layout:
            return names._get_layout, (f"torch.{obj.name}",)
        return NotImplemented

    def _tensor(self, t: Tensor) -> Any:
        kind, attributes = type(t), dict(t.__dict__)
        if isinstance(t._n, Leaf) and t._n.hooks:
            warnings.warn("hooks of a tensor are not saved with it", UserWarning, stacklevel=2)
        if (kind.__module__, kind.__name__) == (f"{names.PACKAGE}.nn.parameter", "Parameter"):
            args: tuple[Any, ...] = (t.data, t.requires_grad, _no_hooks())
            attributes.pop("_is_param", None)
            if attributes:
                return rebuild._rebuild_parameter_with_state, (*args, attributes)
            return rebuild._rebuild_parameter, args
        fn, args = self._parts(t._a, t.requires_grad)
        if kind is Tensor and not attributes:
            return fn, args
        return rebuild._rebuild_from_type_v2, (fn, kind, args, attributes)

    def _parts(self, a: Any, requires_grad: bool) -> tuple[Any, tuple[Any, ...]]:
        size, d = tuple(a.shape), of(a.dtype)
        if type(a) is MetaArray:
            args: tuple[Any, ...] = (d, size, element_strides(a), requires_grad)
            return rebuild._rebuild_meta_tensor_no_storage, args
        storage, offset, strides = self._storages.of_array(a)
        args = (storage, offset, size, strides, requires_grad, _no_hooks())
        if d in NEW_DTYPES:
            return rebuild._rebuild_tensor_v3, (*args, d)
        return rebuild._rebuild_tensor_v2, args

    def save_global(self, obj: Any, name: Any = None) -> None:
        """Write a class, function or descriptor by name; ours by PyTorch's."""
        full = name or getattr(obj, "__qualname__", None)
        if isinstance(full, str) and "<locals>" in full:
            raise AttributeError(f"Can't pickle local object {full!r}")
        found = names.written(obj, name)
        if found is None:
            super().save_global(obj, name)
            return
        module, own = found
        if self.proto >= 4:
            self.save(module)
            self.save(own)
            self.write(pickle.STACK_GLOBAL)
        elif "." in own:  # before protocol 4 a nested name is an attribute of what holds it
            parent, _, last = own.rpartition(".")
            raise pickle.PicklingError(
                f"{module}.{parent} holds {last}: a nested class needs pickle_protocol=4"
            )
        else:
            self.write(pickle.GLOBAL + f"{module}\n{own}\n".encode())
        self.memoize(obj)

    def save_storage_type(self, obj: Any) -> None:
        """Write what stands for a storage class."""
        self.save_global(obj)

    dispatch[FunctionType] = save_global
    dispatch[StorageType] = save_storage_type

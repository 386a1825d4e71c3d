"""Pickles as PyTorch writes them: its names for our classes, tensors as views of storages."""

from __future__ import annotations

import functools
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

HOOKS = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)  # fmt: skip


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


def _persistent_id(self: Any, obj: Any) -> Any:
    if type(obj) is _Reference:
        return obj.id
    if isinstance(obj, UntypedStorage):
        return self.storages.reference(obj.bytes(), None, str(obj.device), obj).id
    return None


def _reducer_override(self: Any, obj: Any) -> Any:
    if isinstance(obj, Tensor):
        return _tensor(obj, self.storages)
    if type(obj) in (dtype, memory_format):
        return obj.name
    if type(obj) is layout:
        return names._get_layout, (f"torch.{obj.name}",)
    kind: Any = type(obj)
    if _is_module(kind):
        return _module(obj, self.proto)
    return NotImplemented


@functools.cache
def _is_module(kind: Any) -> bool:
    room = f"{names.PACKAGE}.nn.modules.module"
    return any((c.__module__, c.__name__) == (room, "Module") for c in kind.__mro__)


def _module(obj: Any, protocol: int) -> Any:
    """A module with the empty tables that PyTorch's own look for when they are loaded there."""
    parts = obj.__reduce_ex__(protocol)
    if len(parts) < 3 or not isinstance(parts[2], dict):
        return parts
    state: dict[str, Any] = {"training": True, "_parameters": {}, "_buffers": {}}
    state |= {"_non_persistent_buffers_set": set(), "_is_full_backward_hook": None}
    state |= {name: OrderedDict() for name in HOOKS}
    if "_flat_weights_names" in parts[2]:  # recurrent layers keep a list of their weights there
        state["_flat_weights"] = list(obj._flat_weights)
    return parts[0], parts[1], {**state, "_modules": {}, **parts[2]}, *parts[3:]


def _tensor(t: Tensor, storages: Storages) -> tuple[Any, ...]:
    kind, attributes = type(t), dict(t.__dict__)
    if isinstance(t._n, Leaf) and t._n.hooks:
        warnings.warn("hooks of a tensor are not saved with it", UserWarning, stacklevel=2)
    if (kind.__module__, kind.__name__) == (f"{names.PACKAGE}.nn.parameter", "Parameter"):
        args: tuple[Any, ...] = (t.data, t.requires_grad, _no_hooks())
        attributes.pop("_is_param", None)
        if attributes:
            return rebuild._rebuild_parameter_with_state, (*args, attributes)
        return rebuild._rebuild_parameter, args
    fn, args = _parts(t._a, t.requires_grad, storages)
    if kind is Tensor and not attributes:
        return fn, args
    return rebuild._rebuild_from_type_v2, (fn, kind, args, attributes)


def _parts(a: Any, requires_grad: bool, storages: Storages) -> tuple[Any, tuple[Any, ...]]:
    size, d = tuple(a.shape), of(a.dtype)
    if type(a) is MetaArray:
        args: tuple[Any, ...] = (d, size, element_strides(a), requires_grad)
        return rebuild._rebuild_meta_tensor_no_storage, args
    storage, offset, strides = storages.of_array(a)
    args = (storage, offset, size, strides, requires_grad, _no_hooks())
    if d in NEW_DTYPES:
        return rebuild._rebuild_tensor_v3, (*args, d)
    return rebuild._rebuild_tensor_v2, args


def _save_global(self: Any, obj: Any, name: Any = None) -> None:
    """Write a class, function or descriptor by name; ours by PyTorch's."""
    found = names.written(obj, name)
    full = name or getattr(obj, "__qualname__", None)
    if found is None:
        if isinstance(full, str) and "<locals>" in full:
            raise AttributeError(f"Can't pickle local object {full!r}")
        _PYTHON.save_global(self, obj, name)
        return
    module, own = found
    if self.proto >= 4:
        self.save(module)
        self.save(own)
        self.write(pickle.STACK_GLOBAL)
    elif "." in own:
        parent, _, last = own.rpartition(".")
        raise pickle.PicklingError(
            f"{module}.{parent} holds {last}: a nested class needs pickle_protocol=4"
        )
    else:
        self.write(pickle.GLOBAL + f"{module}\n{own}\n".encode())
    self.memoize(obj)


# Python's own pickler, because the C one writes no name that it cannot import; made by type(),
# because its stub does not know the methods that are replaced.
_PYTHON: Any = pickle._Pickler
_Pickler: Any = type(
    "Pickler",
    (_PYTHON,),
    {
        "persistent_id": _persistent_id,
        "reducer_override": _reducer_override,
        "save_global": _save_global,
        "dispatch": {
            **_PYTHON.dispatch,
            FunctionType: _save_global,
            StorageType: _save_global,
        },
    },
)


def dump(obj: Any, stream: Any, protocol: int, storages: Storages) -> None:
    """Pickle an object; the memory of its tensors goes to ``storages``."""
    pickler = _Pickler(stream, protocol=protocol)
    pickler.storages = storages
    pickler.dump(obj)

"""What files may name when they are loaded with ``weights_only=True``."""

from __future__ import annotations

import _compat_pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

from ..devices import device
from ..dtypes import dtype
from ..ops.layout import layout, memory_format
from ..tensor import Size, Tensor
from . import names, rebuild

_MAX_KEY_DEPTH = 16
user: dict[str, Any] = {}  # full name -> class or function that the user trusts


# ---- what the user trusts -----------------------------------------------------------------------
def _full_name(obj: Any) -> str:
    found = names.written(obj)
    return ".".join(found) if found else f"{obj.__module__}.{obj.__qualname__}"


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Allow classes and functions in files that are loaded with ``weights_only=True``.

    An entry is an object, or (object, its full name in the file).
    """
    user.update(_named(safe_globals))


def _named(safe_globals: list[Any]) -> dict[str, Any]:
    found = {}
    for entry in safe_globals:
        if isinstance(entry, tuple):
            if len(entry) != 2 or not isinstance(entry[1], str):
                raise ValueError(
                    f"Expected tuple of (global, str of callable full path), but got {entry}"
                )
            found[entry[1]] = entry[0]
        else:
            found[_full_name(entry)] = entry
    return found


def get_safe_globals() -> list[Any]:
    """What was allowed with `add_safe_globals`."""
    return list(dict.fromkeys(user.values()))


def clear_safe_globals() -> None:
    """Allow nothing any more but what every checkpoint may hold."""
    user.clear()


@contextmanager
def safe_globals(safe_globals: list[Any]) -> Iterator[None]:
    """Allow classes and functions for a block."""
    before = dict(user)
    user.update(_named(safe_globals))
    try:
        yield
    finally:
        user.clear()
        user.update(before)


# ---- what every checkpoint may hold -------------------------------------------------------------
def check_key(key: Any, depth: int = 0) -> Any:
    """A key or an element of a set, if hashing it is harmless."""
    kind = type(key)
    if kind in (tuple, Size, frozenset):
        if depth >= _MAX_KEY_DEPTH:
            raise UnpicklingError("a key is nested too deeply")
        for part in key:
            check_key(part, depth + 1)
    elif kind not in _KEYS and not isinstance(key, Tensor) and kind not in user.values():
        raise UnpicklingError(f"unhashable or unsafe key of type {kind.__name__}")
    return key


_KEYS = (str, int, float, bool, complex, bytes, type(None), dtype, device, layout, memory_format)


def _pairs(x: Any) -> list[Any]:
    if not isinstance(x, list):
        raise UnpicklingError(f"expected a list of pairs, got {type(x).__name__}")
    for pair in x:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise UnpicklingError("expected a list of pairs")
        check_key(pair[0])
    return x


def _ordered(*args: Any) -> Any:
    return OrderedDict(_pairs(args[0]) if args else ())


def _counter(*args: Any) -> Any:
    found: Counter[Any] = Counter()
    if args:
        if not isinstance(args[0], dict):
            raise UnpicklingError(f"expected a dict of counts, got {type(args[0]).__name__}")
        dict.update(found, args[0])
    return found


def _set(*args: Any) -> Any:
    if args and type(args[0]) is not list:
        raise UnpicklingError(f"expected a list of elements, got {type(args[0]).__name__}")
    return {check_key(x) for x in args[0]} if args else set()


def _bytearray(*args: Any) -> Any:
    if not args:
        return bytearray()
    if isinstance(args[0], str):
        return bytearray(encode(*args))
    if not isinstance(args[0], bytes):  # a number would be a size to allocate
        raise UnpicklingError(f"expected bytes, got {type(args[0]).__name__}")
    return bytearray(args[0])


def _bytes(*args: Any) -> bytes:
    if args:
        raise UnpicklingError("bytes: expected no arguments")
    return b""


def encode(*args: Any) -> bytes:
    """What stands for ``_codecs.encode``, which old protocols write bytes with."""
    text, coding = (*args, "utf-8")[:2] if args else (None, None)
    if type(text) is not str or type(coding) is not str or coding not in ("latin1", "utf-8"):
        raise UnpicklingError("_codecs.encode: expected a string and 'latin1' or 'utf-8'")
    return text.encode(coding)


def _complex(*args: Any) -> complex:
    if len(args) != 2 or not all(isinstance(x, (int, float)) for x in args):
        raise UnpicklingError("complex: expected two numbers")
    return complex(*args)


def _size(*args: Any) -> Size:
    if len(args) != 1 or not isinstance(args[0], (tuple, list)):
        raise UnpicklingError("torch.Size: expected a tuple")
    if not all(type(n) is int for n in args[0]):
        raise UnpicklingError("torch.Size: expected numbers")
    return Size(args[0])


def from_type(func: Any, new_type: Any, args: Any, state: Any) -> Any:
    """What stands for ``_rebuild_from_type_v2``: calls nothing but what rebuilds tensors."""
    if not any(func is fn for fn in rebuild.UTILS.values()) or type(args) is not tuple:
        raise UnpicklingError("_rebuild_from_type_v2: expected a function that rebuilds a tensor")
    return rebuild._rebuild_from_type_v2(func, new_type, args, state)


class Made:
    """A class of which the pickle may make instances, by a function of ours."""

    def __init__(self, cls: Any, make: Callable[..., Any]) -> None:
        self.cls, self.make = cls, make


def allowed() -> dict[str, Any]:
    """All names that need no allowing, with what they stand for."""
    table = names.core()
    for name in ("torch.Tensor", "torch._tensor.Tensor"):
        table[name] = Tensor
    table["torch._tensor._rebuild_from_type_v2"] = from_type
    table["torch.Size"] = Made(Size, _size)
    table["torch.device"] = Made(device, device)
    return table | {
        "collections.OrderedDict": Made(OrderedDict, _ordered),
        "collections.Counter": Made(Counter, _counter),
        "builtins.set": Made(set, _set),
        "builtins.bytes": Made(bytes, _bytes),
        "builtins.bytearray": Made(bytearray, _bytearray),
        "builtins.complex": Made(complex, _complex),
        "_codecs.encode": encode,
    }


def find_allowed(table: dict[str, Any], module: str, name: str) -> Any:
    """The object of a global; UnpicklingError naming it if it is not allowed."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[(module, name)]
    else:
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    full = f"{module}.{name}"
    if full in user:
        return user[full]
    if full in table:
        return table[full]
    if full == "torch.nn.parameter.Parameter":
        return names.read(module, name)
    shown = full.removeprefix("builtins.")
    raise UnpicklingError(
        f"Unsupported global: GLOBAL {shown} was not an allowed global by default. Please use "
        f"`torch.serialization.add_safe_globals([{shown}])` or the "
        f"`torch.serialization.safe_globals([{shown}])` context manager to allowlist this global "
        "if "
        "you trust this class/function."
    )


def trusted(x: Any) -> bool:
    """Whether the user allowed this very class or function."""
    return any(x is entry for entry in user.values())


# what a pickle may call, beside classes and what the user allowed
CALLS: list[Any] = [*rebuild.UTILS.values(), from_type, encode, names._get_layout]

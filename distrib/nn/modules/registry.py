"""The dicts behind `_parameters`, `_buffers`, `_modules`, mirrored into the module's `__dict__`."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

_ABSENT = object()


class Registry(dict[str, Any]):
    """A dict whose writes also land in its module's instance dict, where lookup finds them first.

    The module is held weakly, so that dropping the last reference to it frees its memory at once.
    """

    __slots__ = ("owner",)

    owner: Callable[[], Any]

    def __init__(self, owner: object, items: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        self.owner = weakref.ref(owner)
        for name, value in items:
            self[name] = value

    def _mirror(self) -> dict[str, Any]:
        owner = self.owner()
        return {} if owner is None else owner.__dict__

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._mirror()[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._mirror().pop(name, None)

    def pop(self, name: str, default: Any = _ABSENT) -> Any:
        if name in self:
            value = self[name]
            del self[name]
            return value
        if default is _ABSENT:
            raise KeyError(name)
        return default

    def popitem(self) -> tuple[str, Any]:
        name, value = super().popitem()
        self._mirror().pop(name, None)
        return name, value

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def move_to_end(self, name: str, last: bool = True) -> None:
        """Move an entry to the end, or to the front, of the order."""
        items = [item for item in self.items() if item[0] != name]
        items.insert(len(items) if last else 0, (name, self[name]))
        super().clear()
        for key, value in items:
            super().__setitem__(key, value)

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # A copy belongs to no module yet: it travels as a plain dict.
        return dict, (), None, None, iter(self.items())

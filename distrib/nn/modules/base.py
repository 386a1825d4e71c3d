"""What the parts of Module know of each other: its attributes, and its two lookups of hooks."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distrib.nn.modules.module import Module

Hooks = OrderedDict[int, Callable[..., Any]]


class ModuleBase:
    """The attributes that every Module has; hook dicts are made when they are first asked for."""

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _plain: bool = True  # False as soon as a call must look for hooks, on this module or on all
    _version: int = 1
    _is_full_backward_hook: bool | None = None

    def _hooks(self, name: str) -> "OrderedDict[int, Any]":
        """The hook dict of that name."""
        found: OrderedDict[int, Any] | None = self.__dict__.get(name)
        if found is None:
            found = self.__dict__[name] = OrderedDict()
        return found

    def _get_name(self) -> str:
        return self.__class__.__name__

    def children(self) -> "Iterator[Module]":
        raise NotImplementedError

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        raise NotImplementedError

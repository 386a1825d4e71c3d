"""Hooks of modules: handles, the hooks of all modules, and the call that looks for them."""

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from distrib.autograd.hooks import RemovableHandle
from distrib.nn.modules.base import ModuleBase

__all__ = [
    "RemovableHandle",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

Hook = Callable[..., Any]


class ModuleHandle(RemovableHandle):
    """The handle of a module's hook: when the last hook goes, calls are plain again."""

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None, owner: Any = None) -> None:
        super().__init__(hooks_dict, extra_dict=extra_dict)
        self.owner = None if owner is None else weakref.ref(owner)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "owner": None}  # a copy belongs to another module

    def remove(self) -> None:
        """Take the hook out; does nothing if it is gone."""
        super().remove()
        if self.owner is None:
            _settle_globals()
            return
        owner = self.owner()
        if owner is not None:
            _settle(owner)


# ---- hooks of all modules
_global_forward_pre_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_forward_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_backward_pre_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_backward_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_parameter_registration_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_buffer_registration_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_module_registration_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_is_full_backward_hook: bool | None = None

_CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_CALL_HOOKS = (
    _global_forward_pre_hooks,
    _global_forward_hooks,
    _global_backward_pre_hooks,
    _global_backward_hooks,
)


def _has_own_hook(module: ModuleBase) -> bool:
    return any(module.__dict__.get(name) for name in _CALL_HOOKS)


def _settle(module: ModuleBase) -> None:
    if not _has_own_hook(module):
        module.__dict__.pop("_plain", None)


def _settle_globals() -> None:
    ModuleBase._plain = not any(_GLOBAL_CALL_HOOKS)


def _has_any_global_hook() -> bool:
    return any(_GLOBAL_CALL_HOOKS)


def _register_global(
    hooks: "OrderedDict[int, Hook]", hook: Hook, extra: Any = None
) -> RemovableHandle:
    handle = ModuleHandle(hooks, extra_dict=extra)
    hooks[handle.id] = hook
    _settle_globals()
    return handle


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module."""
    return _register_global(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module."""
    extras = [_global_forward_hooks_with_kwargs, _global_forward_hooks_always_called]
    handle = _register_global(_global_forward_hooks, hook, extras)
    if with_kwargs:
        _global_forward_hooks_with_kwargs[handle.id] = True
    if always_call:
        _global_forward_hooks_always_called[handle.id] = True
    return handle


def _register_global_backward(hook: Hook, full: bool) -> RemovableHandle:
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is (not full):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a "
            "global Module hook. Please use only one of them."
        )
    _global_is_full_backward_hook = full
    return _register_global(_global_backward_hooks, hook)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` at the last node of every module."""
    return _register_global_backward(hook, full=False)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when a module's input gradients are known."""
    return _register_global_backward(hook, full=True)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, grad_output)` when the gradients of a module's outputs are known."""
    return _register_global(_global_backward_pre_hooks, hook)


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, parameter)` at registration; it may return another one."""
    return _register_global(_global_parameter_registration_hooks, hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, buffer)` when a buffer is registered; it may return another."""
    return _register_global(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, submodule)` when a module is registered; it may return another."""
    return _register_global(_global_module_registration_hooks, hook)


def replaced(hooks: "OrderedDict[int, Hook]", module: Any, name: str, value: Any) -> Any:
    """The value to register, after the registration hooks."""
    for hook in hooks.values():
        output = hook(module, name, value)
        if output is not None:
            value = output
    return value

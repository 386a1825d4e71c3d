"""Hooks of modules: handles, the hooks of all modules, and the call that looks for them."""

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from distrib.autograd import Function, is_grad_enabled
from distrib.autograd.hooks import RemovableHandle
from distrib.nn.modules.base import ModuleBase
from distrib.tensor import Tensor

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


# ---- backward hooks
class BackwardHookFunction(Function):
    """The identity whose gradients pass through a callback."""

    @staticmethod
    def forward(ctx: Any, callback: Hook, *tensors: Tensor) -> Any:
        ctx.callback = callback
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, *ctx.callback(grads))


def _boundary(callback: Hook, values: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int] | None]:
    """The values with their tensors passed through the identity, and the places of the tensors."""
    index = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
    tensors = [values[i] for i in index]
    if not (is_grad_enabled() and any(t.requires_grad for t in tensors)):
        return values, None
    passed = BackwardHookFunction.apply(callback, *tensors)
    result = list(values)
    for i, t in zip(index, passed, strict=True):
        result[i] = t
    return tuple(result), index


def _spread(index: list[int] | None, grads: Any, num_values: int) -> tuple[Any, ...]:
    result: list[Any] = [None] * num_values
    for i, g in zip(index or (), grads, strict=False):
        result[i] = g
    return tuple(result)


class BackwardHook:
    """Runs the full backward hooks of one call of a module."""

    def __init__(self, module: Any, hooks: list[Hook], pre_hooks: list[Hook]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.input_index: list[int] | None = None
        self.output_index: list[int] | None = None
        self.num_inputs = self.num_outputs = 0
        self.grad_outputs: tuple[Any, ...] | None = None

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, watched."""
        self.num_inputs = len(args)
        result, self.input_index = _boundary(self.on_inputs, args)
        return result

    def setup_output_hook(self, result: Any) -> Any:
        """The result, watched."""
        is_tuple = isinstance(result, tuple)
        values = result if is_tuple else (result,)
        self.num_outputs = len(values)
        index = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        self.output_index = index
        passed, _ = _boundary(self.on_outputs, values)
        if not is_tuple:
            return passed[0]
        return type(result)(*passed) if hasattr(result, "_fields") else passed

    def on_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the outputs are known."""
        outputs = _spread(self.output_index, grads, self.num_outputs)
        for hook in self.pre_hooks:
            changed = hook(self.module, outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(outputs):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(changed)}, but expected {len(outputs)}"
                )
            outputs = changed
        self.grad_outputs = outputs
        if self.input_index is None:
            self._without_inputs(outputs)
        return tuple(outputs[i] for i in self.output_index or ())

    def _without_inputs(self, outputs: tuple[Any, ...]) -> None:
        if not self.hooks:
            self.grad_outputs = None
            return
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module "
            "outputs "
            "since no inputs require gradients. See "
            "https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
            "#torch.nn.Module.register_full_backward_hook for more details.",
            stacklevel=5,
        )
        inputs = (None,) * self.num_inputs
        for hook in self.hooks:
            changed = hook(self.module, inputs, outputs)
            if changed is not None and not (
                isinstance(changed, tuple) and all(g is None for g in changed)
            ):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None "
                    "or None for all gradients."
                )
        self.grad_outputs = None

    def on_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the inputs are known."""
        if self.grad_outputs is None:  # this call took no part in the backward at hand
            return grads
        inputs = _spread(self.input_index, grads, self.num_inputs)
        for hook in self.hooks:
            changed = hook(self.module, inputs, self.grad_outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(inputs):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(changed)}, but expected {len(inputs)}"
                )
            inputs = changed
        self.grad_outputs = None
        return tuple(inputs[i] for i in self.input_index or ())

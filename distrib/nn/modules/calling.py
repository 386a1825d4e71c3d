"""Calling a module that has hooks, and registering them."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

from distrib.nn.modules import hooks as _h
from distrib.nn.modules.base import ModuleBase
from distrib.nn.modules.hooks import ModuleHandle, RemovableHandle
from distrib.tensor import Tensor

Hook = Callable[..., Any]


class CallMixin(ModuleBase):
    """Registration of hooks, and the call that runs them."""

    def _register(
        self, name: str, hook: Hook, prepend: bool = False, extra: list[str] | None = None
    ) -> RemovableHandle:
        registered = self._hooks(name)
        extras = [self._hooks(e) for e in extra or ()]
        handle = ModuleHandle(registered, extra_dict=extras, owner=self)
        registered[handle.id] = hook
        if prepend:
            registered.move_to_end(handle.id, last=False)
        self.__dict__["_plain"] = False
        return handle

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)`, or `hook(module, args, kwargs)`, before `forward`."""
        kwargs_name = "_forward_pre_hooks_with_kwargs"
        handle = self._register("_forward_pre_hooks", hook, prepend, [kwargs_name])
        if with_kwargs:
            self._hooks(kwargs_name)[handle.id] = True
        return handle

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; `always_call`: even if it raised."""
        extra = ["_forward_hooks_with_kwargs", "_forward_hooks_always_called"]
        handle = self._register("_forward_hooks", hook, prepend, extra)
        if with_kwargs:
            self._hooks(extra[0])[handle.id] = True
        if always_call:
            self._hooks(extra[1])[handle.id] = True
        return handle

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known."""
        return self._register("_backward_pre_hooks", hook, prepend)

    def _one_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a "
                "single Module. Please use only one of them."
            )
        self._is_full_backward_hook = full

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` at the last node that `forward` recorded."""
        self._one_kind(full=False)
        return self._register("_backward_hooks", hook)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the inputs' gradients are known."""
        self._one_kind(full=True)
        return self._register("_backward_hooks", hook, prepend)

    def _get_backward_hooks(self) -> tuple[list[Hook], list[Hook]]:
        full: list[Hook] = []
        other: list[Hook] = []
        shared = full if _h._global_is_full_backward_hook is True else other
        shared.extend(_h._global_backward_hooks.values())
        own = full if self._is_full_backward_hook is True else other
        own.extend((self.__dict__.get("_backward_hooks") or {}).values())
        return full, other

    def _get_backward_pre_hooks(self) -> list[Hook]:
        own = (self.__dict__.get("_backward_pre_hooks") or {}).values()
        return [*_h._global_backward_pre_hooks.values(), *own]

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """The call with every hook that there is."""
        d = self.__dict__
        if not (_h._has_any_global_hook() or _h._has_own_hook(self)):
            d.pop("_plain", None)
            return self.forward(*args, **kwargs)
        after = [*_h._global_forward_hooks.items(), *(d.get("_forward_hooks") or {}).items()]
        called: set[int] = set()
        result: Any = None
        try:
            args, kwargs = self._run_pre_hooks(args, kwargs)
            full, other = self._get_backward_hooks()
            pre = self._get_backward_pre_hooks()
            watch = _watch(self, full, pre) if full or pre else None
            if watch is not None:
                args = watch.setup_input_hook(args)
            result = self.forward(*args, **kwargs)
            for hook_id, hook in after:
                called.add(hook_id)
                changed = self._run_hook(hook_id, hook, args, kwargs, result)
                if changed is not None:
                    result = changed
            if watch is not None:
                if not isinstance(result, (Tensor, tuple)):
                    warnings.warn(
                        "For backward hooks to be called, module output should be a Tensor or a "
                        "tuple of "
                        f"Tensors but received {type(result)}",
                        stacklevel=3,
                    )
                result = watch.setup_output_hook(result)
            if other:
                self._hook_last_node(other, args, result)
            return result
        except Exception:
            self._run_always_called(after, called, args, kwargs, result)
            raise

    def _run_pre_hooks(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        own = self.__dict__.get("_forward_pre_hooks") or {}
        with_kwargs = self.__dict__.get("_forward_pre_hooks_with_kwargs") or {}
        for hook_id, hook in [*_h._global_forward_pre_hooks.items(), *own.items()]:
            if hook_id in with_kwargs:
                both = hook(self, args, kwargs)
                if both is None:
                    continue
                if not (isinstance(both, tuple) and len(both) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple "
                        f"of (new_args, new_kwargs), but got {both}."
                    )
                args, kwargs = both
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _run_hook(
        self, hook_id: int, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        own = self.__dict__.get("_forward_hooks_with_kwargs") or {}
        if hook_id in own or hook_id in _h._global_forward_hooks_with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    def _run_always_called(
        self,
        after: list[tuple[int, Hook]],
        called: set[int],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        own = self.__dict__.get("_forward_hooks_always_called") or {}
        for hook_id, hook in after:
            shared = hook_id in _h._global_forward_hooks_always_called
            if hook_id in called or not (shared or hook_id in own):
                continue
            try:
                changed = self._run_hook(hook_id, hook, args, kwargs, result)
                if changed is not None:
                    result = changed
            except Exception as error:
                kind = "global module" if shared else "module"
                warnings.warn(
                    f"{kind} forward hook with ``always_call=True`` raised an exception "
                    f"that was silenced as another error was raised in forward: {error}",
                    stacklevel=3,
                )

    def _hook_last_node(self, hooks: list[Hook], args: tuple[Any, ...], result: Any) -> None:
        found = result
        while not isinstance(found, Tensor):
            if isinstance(found, dict):
                found = next(v for v in found.values() if isinstance(v, Tensor))
            else:
                found = found[0]
        node = found.grad_fn
        if node is None:
            return
        for hook in hooks:
            node.register_hook(functools.partial(hook, self))
        self._maybe_warn_non_full_backward_hook(args, result, node)

    def _maybe_warn_non_full_backward_hook(self, inputs: Any, result: Any, node: Any) -> None:
        if not isinstance(result, Tensor):
            plain = isinstance(result, tuple) and all(isinstance(r, Tensor) for r in result)
            what = (
                "takes as input and returns multiple autograd Nodes"
                if plain
                else "does not return a single Tensor or a tuple of Tensors"
            )
            _deprecated(
                "non-full backward hooks on a Module that " + what, "some of the grad_output"
            )
        elif not all(isinstance(i, Tensor) for i in inputs):
            what = "does not take as input a single Tensor or a tuple of Tensors"
            _deprecated(
                "non-full backward hooks on a Module that " + what, "some of the grad_input"
            )
        elif {n[0] for n in node.next_functions} != {i.grad_fn for i in inputs if i.grad_fn}:
            what = "a non-full backward hook when the forward contains multiple autograd Nodes"
            _deprecated(what, "some grad_input")

    forward: Callable[..., Any]


def _watch(module: Any, hooks: list[Hook], pre_hooks: list[Hook]) -> Any:
    from distrib.nn.modules.backward_hook import BackwardHook

    return BackwardHook(module, hooks, pre_hooks)


def _deprecated(what: str, missing: str) -> None:
    warnings.warn(
        f"Using {what} is deprecated and will be removed in future versions. This hook will be "
        f"missing {missing}. Please use register_full_backward_hook to get the documented "
        "behavior.",
        FutureWarning,
        stacklevel=5,
    )

"""state_dict and load_state_dict of modules."""

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distrib.autograd import no_grad
from distrib.nn.modules.base import ModuleBase
from distrib.nn.modules.hooks import ModuleHandle, RemovableHandle
from distrib.nn.parameter import Parameter, is_lazy
from distrib.tensor import Tensor

if TYPE_CHECKING:
    from distrib.nn.modules.module import Module

Hook = Callable[..., Any]
_EXTRA_STATE_KEY_SUFFIX = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` returns: the names that were missing, and those that nobody wanted."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateMixin(ModuleBase):
    """Saving and loading of parameters, buffers and extra state under PyTorch's keys."""

    def get_extra_state(self) -> Any:
        """Anything else to store in `state_dict()`; override it together with `set_extra_state`."""
        raise RuntimeError(_EXTRA_UNREACHED.format("get_extra_state"))

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned."""
        raise RuntimeError(_EXTRA_UNREACHED.format("set_extra_state"))

    # -- saving
    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, param in self._parameters.items():
            if param is not None:
                destination[prefix + name] = param if keep_vars else param.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not StateMixin.get_extra_state:
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Parameters and persistent buffers by name, in an OrderedDict with `_metadata`.

        >>> from distrib import nn
        >>> list(nn.Sequential(nn.Linear(2, 3)).state_dict())
        ['0.weight', '0.bias']
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to "
                "https://pytorch.org/docs/main/generated/torch.nn.Module.html"
                "#torch.nn.Module.state_dict for details.",
                FutureWarning,
                stacklevel=2,
            )
            given = [destination, prefix, keep_vars]
            given[: len(args)] = args
            destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in (self.__dict__.get("_state_dict_pre_hooks") or {}).values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=prefix + name + ".", keep_vars=keep_vars
                )
        for hook in (self.__dict__.get("_state_dict_hooks") or {}).values():
            changed = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if changed is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif changed is not None:
                destination = changed
        return destination

    def _add_hook(self, name: str, hook: Hook) -> RemovableHandle:
        hooks = self._hooks(name)
        handle = ModuleHandle(hooks, owner=self)
        hooks[handle.id] = hook
        return handle

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously "
                "registered via register_state_dict_post_hook"
            )
        return self._add_hook("_state_dict_hooks", hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` at the end of `state_dict()`."""
        vars(hook)["_from_public_api"] = True
        return self._add_hook("_state_dict_hooks", hook)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` at the start of `state_dict()`."""
        return self._add_hook("_state_dict_pre_hooks", hook)

    # -- loading
    def _register_load_state_dict_pre_hook(
        self, hook: Hook, with_module: bool = False
    ) -> RemovableHandle:
        return self._add_hook("_load_state_dict_pre_hooks", _PreHook(hook, with_module))

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, *arguments of _load_from_state_dict)` before this module is loaded."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after this module is loaded."""
        return self._add_hook("_load_state_dict_post_hooks", hook)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found = (missing_keys, unexpected_keys, error_msgs)
        for hook in (self.__dict__.get("_load_state_dict_pre_hooks") or {}).values():
            hook(self, state_dict, prefix, local_metadata, strict, *found)
        state = {
            name: value
            for name, value in (*self._parameters.items(), *self._buffers.items())
            if value is not None and name not in self._non_persistent_buffers_set
        }
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, own in state.items():
            key = prefix + name
            if key in state_dict:
                error = self._load_one(name, key, own, state_dict[key], assign)
                if error:
                    error_msgs.append(error)
            elif strict:
                missing_keys.append(key)
        self._load_extra(state_dict, prefix, strict, missing_keys, unexpected_keys)
        if strict:
            unexpected_keys.extend(self._unexpected(state_dict, prefix, state))

    def _load_one(self, name: str, key: str, own: Any, given: Any, assign: bool) -> str | None:
        if not isinstance(given, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or '
                "Tensor-like object "
                f"from checkpoint but received {type(given)}"
            )
        lazy = is_lazy(own)
        if not lazy and own.dim() == 0 and given.dim() == 1 and given.shape[0] == 1:
            given = given.select(0, 0)  # PyTorch 0.3 saved 0-d values so
        if not lazy and given.shape != own.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {given.shape} from "
                "checkpoint, "
                f"the shape in current model is {own.shape}."
            )
        if not lazy and own.is_meta and not given.is_meta and not assign:
            warnings.warn(
                f"for {key}: copying from a non-meta parameter in the checkpoint to a meta "
                "parameter in the "
                "current model, which is a no-op. (Did you mean to pass `assign=True` to assign "
                "items in the "
                "state dictionary to their corresponding key in the module instead of copying "
                "them in place?)",
                stacklevel=6,
            )
        if lazy and is_lazy(given):
            return None
        try:
            with no_grad():
                if assign:
                    setattr(self, name, _assigned(own, given))
                else:
                    own.copy_(given)
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model '
                f"are {own.shape} "
                f"and whose dimensions in the checkpoint are {given.shape}, an exception "
                "occurred : "
                f"{error.args}."
            )
        return None

    def _load_extra(
        self, state_dict: Any, prefix: str, strict: bool, missing: list[str], unexpected: list[str]
    ) -> None:
        key = prefix + _EXTRA_STATE_KEY_SUFFIX
        if type(self).set_extra_state is not StateMixin.set_extra_state:
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing.append(key)
        elif strict and key in state_dict:
            unexpected.append(key)

    def _unexpected(self, state_dict: Any, prefix: str, state: dict[str, Any]) -> list[str]:
        found = []
        extra = prefix + _EXTRA_STATE_KEY_SUFFIX
        for key in state_dict:
            if not key.startswith(prefix) or key == extra:
                continue
            first, dot, _ = key[len(prefix) :].partition(".")
            if first not in (self._modules if dot else state):
                found.append(key)
        return found

    def _load_tree(
        self,
        state_dict: Any,
        metadata: Any,
        prefix: str,
        strict: bool,
        assign: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        local = {} if metadata is None else metadata.get(prefix[:-1], {})
        if assign:
            local["assign_to_params_buffers"] = assign
        self._load_from_state_dict(state_dict, prefix, local, True, missing, unexpected, errors)
        for name, child in self._modules.items():
            if child is not None:
                inner = prefix + name + "."
                part = OrderedDict((k, v) for k, v in state_dict.items() if k.startswith(inner))
                child._load_tree(part, metadata, inner, strict, assign, missing, unexpected, errors)
        keys = _IncompatibleKeys(missing, unexpected)
        for hook in (self.__dict__.get("_load_state_dict_post_hooks") or {}).values():
            if hook(self, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                    "expected to "
                    "return new values, if incompatible_keys need to be modified, it should be "
                    "done inplace."
                )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Copy in (or with `assign` take over) saved tensors; RuntimeError lists all that differ.

        With `strict=False` missing and unexpected keys are only returned.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state: Any = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata
        self._load_tree(state, metadata, "", strict, assign, missing, unexpected, errors)
        if strict:
            for title, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    names = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(0, f"{title} key(s) in state_dict: {names}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {self.__class__.__name__}:\n\t{listed}"
            )
        return _IncompatibleKeys(missing, unexpected)


_EXTRA_UNREACHED = "Reached a code path in Module.{}() that should never be called."


class _PreHook:
    """A hook that may want the module; holds no reference to it, so that copies bind their own."""

    def __init__(self, hook: Hook, with_module: bool) -> None:
        self.hook, self.with_module = hook, with_module

    def __call__(self, module: "Module", *args: Any) -> Any:
        return self.hook(module, *args) if self.with_module else self.hook(*args)


def _assigned(own: Any, given: Any) -> Any:
    if isinstance(own, Parameter):
        if not isinstance(given, Parameter):
            return Parameter(given, requires_grad=own.requires_grad)
        given.requires_grad_(own.requires_grad)
    return given

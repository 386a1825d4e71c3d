"""Module: attributes and registration, calling, modes, printing, copying."""

from collections.abc import Callable
from typing import Any, Self

from distrib.nn.modules import hooks as _h
from distrib.nn.modules.calling import CallMixin
from distrib.nn.modules.convert import ConvertMixin
from distrib.nn.modules.hooks import (
    RemovableHandle,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
    replaced,
)
from distrib.nn.modules.registry import Registry
from distrib.nn.modules.state import StateMixin, _IncompatibleKeys
from distrib.nn.modules.traverse import TraverseMixin
from distrib.nn.parameter import Parameter
from distrib.tensor import Tensor

__all__ = [
    "Module",
    "RemovableHandle",
    "_IncompatibleKeys",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_LAZY_DICTS = frozenset(
    "_forward_hooks _forward_hooks_with_kwargs _forward_hooks_always_called _forward_pre_hooks "
    "_forward_pre_hooks_with_kwargs _backward_hooks _backward_pre_hooks _state_dict_hooks "
    "_state_dict_pre_hooks _load_state_dict_pre_hooks _load_state_dict_post_hooks".split()
)


class Module(CallMixin, StateMixin, ConvertMixin, TraverseMixin):
    """The base of all layers and models, with PyTorch's attributes, names and messages.

    Parameters, buffers and submodules also stand in the instance's `__dict__`, which PyTorch's do
    not: reading one costs a plain attribute read.

    >>> from distrib import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(4, 2)
    ...
    ...     def forward(self, x):
    ...         return self.fc(x)
    >>> Net()
    Net(
      (fc): Linear(in_features=4, out_features=2, bias=True)
    )
    """

    dump_patches: bool = False
    call_super_init: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.call_super_init is False and (args or kwargs):
            name = f"{type(self).__name__}.__init__()"
            if kwargs:
                raise TypeError(f"{name} got an unexpected keyword argument '{next(iter(kwargs))}'")
            raise TypeError(f"{name} takes 1 positional argument but {len(args) + 1} were given")
        d = self.__dict__
        d["training"] = True
        for name in _REGISTRIES:
            d[name] = Registry(self)
        d["_non_persistent_buffers_set"] = set()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def _forward_unimplemented(self, *input: Any) -> None:
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    forward: Callable[..., Any] = _forward_unimplemented

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._plain:
            return self.forward(*args, **kwargs)
        return self._call_impl(*args, **kwargs)

    # -- registration
    def _check_name(self, kind: str, name: Any, registry: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in registry and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer; one that is not persistent is left out of `state_dict()`."""
        buffers = self.__dict__.get("_buffers")
        if buffers is None:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_typename(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        buffers[name] = replaced(_h._global_buffer_registration_hooks, self, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name."""
        parameters = self.__dict__.get("_parameters")
        if parameters is None:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    "be created "
                    f"explicitly. To express '{name}' as a function of another Tensor, compute "
                    "the value in "
                    "the forward() method."
                )
            param = replaced(_h._global_parameter_registration_hooks, self, name, param)
        parameters[name] = param

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a submodule; None reserves the name."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        if module is not None:
            module = replaced(_h._global_module_registration_hooks, self, name, module)
        self._modules[name] = module

    def register_module(self, name: str, module: "Module | None") -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # -- attributes
    def __getattr__(self, name: str) -> Any:
        if name in _LAZY_DICTS:
            if name.endswith("ward_hooks") or name.endswith("ward_pre_hooks"):
                self.__dict__["_plain"] = False  # the caller may put a hook in by hand
            return self._hooks(name)
        for registry in _REGISTRIES:  # only where somebody replaced a registry by a plain dict
            found = self.__dict__.get(registry)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        d = self.__dict__
        parameters = d.get("_parameters")
        if isinstance(value, Tensor) and isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
            return
        if parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
            return
        modules = d.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_modules")
            modules[name] = replaced(_h._global_module_registration_hooks, self, name, value)
        elif modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as child module '{name}' "
                    "(torch.nn.Module or None expected)"
                )
            modules[name] = replaced(_h._global_module_registration_hooks, self, name, value)
        else:
            self._set_other(name, value, d)

    def _set_other(self, name: str, value: Any, d: dict[str, Any]) -> None:
        buffers = d.get("_buffers")
        if isinstance(value, Tensor) or (value is None and buffers and name in buffers):
            is_buffer = getattr(value, "_is_buffer", False)
            if is_buffer and buffers is None:
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            if buffers is not None and (is_buffer or name in buffers):
                if name not in buffers:
                    self.register_buffer(name, value, getattr(value, "persistent", True))
                else:
                    buffers[name] = replaced(
                        _h._global_buffer_registration_hooks, self, name, value
                    )
                return
        elif buffers and name in buffers:
            raise TypeError(
                f"cannot assign '{_typename(value)}' as buffer '{name}' "
                "(torch.nn.Buffer, torch.Tensor or None expected)"
            )
        elif name in _REGISTRIES and type(value) is not Registry:
            for old in list(d.get(name) or ()):
                d.pop(old, None)
            value = Registry(self, value.items())
        object.__setattr__(self, name, value)

    def _forget(self, name: str, keep: str) -> None:
        """Take a name out of everything but one registry, so that it can be registered there."""
        d = self.__dict__
        for registry in _REGISTRIES:
            if registry != keep and name in d[registry]:
                del d[registry][name]
        if name not in d[keep]:
            d.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for registry in _REGISTRIES:
            found = self.__dict__.get(registry)
            if found is not None and name in found:
                del found[name]
                if registry == "_buffers":
                    self._non_persistent_buffers_set.discard(name)
                return
        try:
            object.__delattr__(self, name)
        except AttributeError:
            raise AttributeError(
                f"'{type(self).__name__}' object has no attribute '{name}'"
            ) from None

    def __dir__(self) -> list[str]:
        names: set[str] = {*dir(self.__class__), *self.__dict__}
        for registry in _REGISTRIES:
            names.update(self.__dict__.get(registry) or ())
        return sorted(n for n in names if not n[:1].isdigit())

    # -- copying
    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for registry in _REGISTRIES:
            entries = state.get(registry)
            if type(entries) is Registry:
                for name in entries:
                    state.pop(name, None)
                state[registry] = dict(entries)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for registry in _REGISTRIES:
            self.__dict__[registry] = Registry(self, (state.get(registry) or {}).items())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())

    def _replicate_for_data_parallel(self) -> Self:
        replica = self.__new__(type(self))
        replica.__dict__.update(Module.__getstate__(self))
        for registry in _REGISTRIES:
            entries = () if registry == "_parameters" else self.__dict__[registry].items()
            replica.__dict__[registry] = Registry(replica, entries)
        replica.__dict__["_is_replica"] = True
        return replica

    # -- modes and gradients
    def apply(self, fn: "Callable[[Module], None]") -> Self:
        """Call `fn` on every submodule, then on this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and in all submodules."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in all submodules."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of all parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero."""
        for param in self.parameters():
            grad = param.grad
            if grad is None:
                continue
            if set_to_none:
                param.grad = None
                continue
            if grad.grad_fn is not None:
                grad.detach_()
            else:
                grad.requires_grad_(False)
            grad.zero_()

    # -- printing
    def extra_repr(self) -> str:
        """What stands between the parentheses of the printed module; override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        num_extra = len(lines)
        lines += [f"({n}): {_indented(repr(m))}" for n, m in self._modules.items()]
        if not lines:
            return f"{self._get_name()}()"
        if len(lines) == num_extra == 1:
            return f"{self._get_name()}({lines[0]})"
        return "\n  ".join([f"{self._get_name()}(", *lines]) + "\n)"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _typename(obj: Any) -> str:
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = type(obj)
    home = kind.__module__
    return kind.__qualname__ if home == "builtins" else f"{home}.{kind.__qualname__}"

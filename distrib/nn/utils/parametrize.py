"""Parametrizations: a parameter or buffer computed from others at every access."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distrib.autograd import no_grad
from distrib.nn.modules.container import ModuleDict, ModuleList
from distrib.nn.modules.module import Module
from distrib.nn.parameter import Parameter
from distrib.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache_depth = 0
_cache: dict[tuple[int, str], Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Inside, a parametrized tensor is computed once and kept until the outermost block ends."""
    global _cache_depth
    _cache_depth += 1
    try:
        yield
    finally:
        _cache_depth -= 1
        if not _cache_depth:
            _cache.clear()


def _check(ok: bool, text: str) -> None:
    if not ok:
        raise ValueError(text)


def _register(module: Module, name: str, value: Any) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and its `original` or `original0`, `original1`..."""

    original: Tensor
    unsafe: bool

    def __init__(
        self, modules: Sequence[Module], original: Tensor | Parameter, unsafe: bool = False
    ) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        given: Any = original
        value = given
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        value = module.right_inverse(value)
                    except NotImplementedError:
                        pass
        if not isinstance(value, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(value).__name__}"
            )
        self.is_tensor = isinstance(value, Tensor)
        self.ntensors = 1 if isinstance(value, Tensor) else len(value)
        if isinstance(value, Tensor):
            if dtype != value.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: "
                    f"{value.dtype}"
                )
            # The tensor the user holds stays the one that is trained.
            with no_grad():
                given.data = value
            _register(self, "original", given)
        else:
            for i, item in enumerate(value):
                if not isinstance(item, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors "
                        f"(list, tuple...). Got element {i} of the sequence with type "
                        f"{type(item).__name__}."
                    )
                if isinstance(original, Parameter):
                    item = Parameter(item, original.requires_grad)
                item.requires_grad_(original.requires_grad)
                _register(self, f"original{i}", item)
        if not unsafe:
            result = self()
            if not isinstance(result, Tensor):
                raise ValueError(
                    f"A parametrization must return a tensor. Got {type(result).__name__}."
                )
            if result.dtype != dtype:
                raise ValueError(
                    "Registering a parametrization may not change the dtype of the tensor, unless "
                    f"`unsafe` flag is enabled.\nunparametrized dtype: {dtype}\n"
                    f"parametrized dtype: {result.dtype}"
                )
            if result.shape != shape:
                raise ValueError(
                    "Registering a parametrization may not change the shape of the tensor, unless "
                    f"`unsafe` flag is enabled.\nunparametrized shape: {shape}\n"
                    f"parametrized shape: {result.shape}"
                )

    def _originals(self) -> list[Any]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the computed tensor is `value`; needs every `right_inverse`."""
        with no_grad():
            current: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                current = module.right_inverse(current)
            if self.is_tensor:
                if not isinstance(current, Tensor):
                    raise ValueError(
                        f"`right_inverse` should return a tensor. Got {type(current).__name__}"
                    )
                if current.dtype != self.original.dtype:
                    raise ValueError(
                        "The tensor returned by `right_inverse` has dtype "
                        f"{current.dtype} while `original` has dtype {self.original.dtype}"
                    )
                self.original.data = current
                return
            if not isinstance(current, Sequence):
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors. "
                    f"Got {type(current).__name__}."
                )
            if len(current) != self.ntensors:
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors of length "
                    f"{self.ntensors}. Got a sequence of length {len(current)}."
                )
            for i, (own, item) in enumerate(zip(self._originals(), current, strict=True)):
                if not isinstance(item, Tensor):
                    raise ValueError(
                        f"`right_inverse` must return a sequence of tensors. Got element {i} of "
                        f"type {type(item).__name__}"
                    )
                if own.dtype != item.dtype:
                    raise ValueError(
                        f"Tensor {i} returned by `right_inverse` has dtype {item.dtype} while "
                        f"`original{i}` has dtype {own.dtype}"
                    )
                own.data = item

    def forward(self) -> Any:
        if not len(self):
            raise RuntimeError("ParametrizationList has no parametrizations")
        value = self[0](*self._originals())
        for module in list(self)[1:]:
            value = module(value)
        return value


def _inject_new_class(module: Module) -> None:
    """Give the module a class of its own, where properties can stand."""
    cls = module.__class__

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        replica = memo[id(self)] = self.__new__(self.__class__)
        replica.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return replica

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
        )

    members: dict[str, Any] = {"__reduce_ex__": __reduce_ex__}
    if not hasattr(cls, "__deepcopy__"):
        members["__deepcopy__"] = __deepcopy__
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), members)


def _inject_property(module: Module, tensor_name: str) -> None:
    assert not hasattr(module, tensor_name)

    def get(self: Any) -> Any:
        if not _cache_depth:
            return self.parametrizations[tensor_name]()
        key = (id(self), tensor_name)
        value = _cache.get(key)
        if value is None:
            value = _cache[key] = self.parametrizations[tensor_name]()
        return value

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[tensor_name].right_inverse(value)

    setattr(module.__class__, tensor_name, property(get, put))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer by a module from now on; returns the module.

    ValueError if dtype or shape change, unless `unsafe`.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_added(getattr(module, tensor_name), parametrization)
        added: Any = module.parametrizations[tensor_name]
        added.append(parametrization)
        added.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        parametrizations = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _inject_new_class(module)
            module.parametrizations = ModuleDict()
        _inject_property(module, tensor_name)
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a "
            f"parametrized element with name '{tensor_name}'"
        )
    return module


def _check_added(before: Any, parametrization: Any) -> None:
    after = parametrization(before)
    _check(
        isinstance(after, Tensor),
        f"A parametrization must return a tensor. Got {type(after).__name__}.",
    )
    _check(
        after.dtype == before.dtype,
        "Registering a parametrization may not change the dtype of the tensor, unless the `unsafe` "
        f"flag is enabled.\nmodule dtype: {before.dtype}\nparametrized dtype: {after.dtype}",
    )
    _check(
        after.shape == before.shape,
        "Registering a parametrization may not change the shape of the tensor, unless the `unsafe` "
        f"flag is enabled.\nmodule shape: {before.shape}\nparametrized shape: {after.shape}",
    )
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(after)
    except NotImplementedError:
        return
    _check(
        isinstance(back, Tensor),
        f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}",
    )
    _check(
        back.dtype == after.dtype,
        "The tensor returned by parametrization.right_inverse must have the same dtype, unless the "
        f"`unsafe` flag is enabled.\nmodule dtype: {after.dtype}\nreturned dtype: {back.dtype}",
    )
    _check(
        back.shape == after.shape,
        "The tensor returned by parametrization.right_inverse must have the same shape, unless the "
        f"`unsafe` flag is enabled.\nmodule shape: {after.shape}\nreturned shape: {back.shape}",
    )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module, or one of its tensors, is parametrized."""
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a tensor a plain one again: with the computed value, or with the original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations = module.parametrizations[tensor_name]
    if parametrizations.is_tensor:
        original = parametrizations.original
        if leave_parametrized:
            with no_grad():
                value = getattr(module, tensor_name)
            original.data = value.detach()
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    delattr(module.__class__, tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = module.__class__.__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before it was parametrized."""
    return module.__class__.__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give another module copies of the parametrizations and the originals they act on."""
    if not is_parametrized(from_module):
        return to_module
    for name in from_module.parametrizations if tensor_name is None else [tensor_name]:
        source = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(source.original))
        for module in source:
            register_parametrization(to_module, name, copy.deepcopy(module))
        target = to_module.parametrizations[name]
        for own, other in zip(target._originals(), source._originals(), strict=True):
            own.data = other.detach().clone()
    return to_module

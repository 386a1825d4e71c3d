"""Conversions of a module's tensors: to, float, cpu, cuda and the like."""

import warnings
from collections.abc import Callable
from typing import Any, Self

from distrib.autograd import no_grad
from distrib.devices import device as Device
from distrib.dtypes import dtype as DType
from distrib.nn.modules.base import ModuleBase
from distrib.nn.parameter import Parameter
from distrib.tensor import Tensor

Convert = Callable[[Any], Any]


class ConvertMixin(ModuleBase):
    """Everything that replaces the tensors of a module and of its submodules."""

    def _apply(self, fn: Convert, recurse: bool = True) -> Self:
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, param in list(self._parameters.items()):
            if param is None:
                continue
            with no_grad():
                applied = fn(param)
            kept = param
            grad = param.grad
            if _compatible(param, applied):
                param.data = applied
            else:
                kept = self._parameters[name] = Parameter(applied, param.requires_grad)
            if grad is not None:
                with no_grad():
                    applied = fn(grad)
                if _compatible(grad, applied) and kept is param:
                    grad.data = applied
                else:
                    kept.grad = applied.requires_grad_(grad.requires_grad)
        for name, buffer in list(self._buffers.items()):
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and cast in place: by device, dtype, both, another tensor, or memory_format.

        Only floating-point and complex tensors are cast; TypeError for another dtype.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex "
                    f"dtypes, but got desired dtype={dtype}"
                )
            if dtype.is_complex:
                warnings.warn(
                    "Complex modules are a new feature under active development whose design may "
                    "change, and "
                    "some modules might not work as expected when using complex tensors as "
                    "parameters or "
                    "buffers.",
                    stacklevel=2,
                )

        def convert(t: Any) -> Any:
            wanted = dtype if t.is_floating_point() or t.is_complex() else None
            options = {}
            if memory_format is not None and t.dim() in (4, 5):
                options["memory_format"] = memory_format
            try:
                return t.to(device, wanted, non_blocking, **options)
            except NotImplementedError as error:
                if "meta" not in str(error):
                    raise
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use "
                    "torch.nn.Module.to_empty() instead of "
                    "torch.nn.Module.to() when moving module from meta to a different device."
                ) from None

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to a device without copying: the values are uninitialised."""
        return self._apply(lambda t: t.new_empty(t.shape, device=device), recurse=recurse)

    def cuda(self, device: Any = None) -> Self:
        """Move all tensors to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def cpu(self) -> Self:
        """Move all tensors to the CPU."""
        return self._apply(lambda t: t.cpu())

    def type(self, dst_type: Any) -> Self:
        """Cast all tensors, integers too."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Self:
        """Cast floating-point tensors to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Self:
        """Cast floating-point tensors to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Self:
        """Cast floating-point tensors to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Self:
        """Cast floating-point tensors to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def share_memory(self) -> Self:
        """Move all tensors into memory that other processes may share."""
        return self._apply(lambda t: t.share_memory_())


def _compatible(old: Any, new: Any) -> bool:
    return bool(old.is_meta == new.is_meta)


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) of the forms that `Tensor.to` takes."""
    memory_format = kwargs.pop("memory_format", None)
    kwargs.pop("copy", None)
    first = args[0] if args else None
    names: tuple[str, ...] = ("device", "dtype", "non_blocking", "copy")
    if isinstance(first, Tensor) or "tensor" in kwargs or "other" in kwargs:
        other: Any = first if args else kwargs.pop("tensor", None) or kwargs.pop("other")
        blocking = args[1] if len(args) > 1 else kwargs.get("non_blocking", False)
        return other.device, other.dtype, bool(blocking), memory_format
    if isinstance(first, DType):
        names = ("dtype", "non_blocking", "copy")
    if len(args) > len(names) or any(n in kwargs for n in names[: len(args)]):
        raise TypeError("to() received an invalid combination of arguments")
    found: dict[str, Any] = {"device": None, "dtype": None, "non_blocking": False, "copy": False}
    for name, value in (*zip(names, args, strict=False), *kwargs.items()):
        if name not in found:
            raise TypeError(f"to() got an unexpected keyword argument '{name}'")
        found[name] = value
    device, dtype = found["device"], found["dtype"]
    if device is not None and not isinstance(device, Device):
        device = Device(device)
    if dtype is not None and not isinstance(dtype, DType):
        raise TypeError(f"to(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    return device, dtype, bool(found["non_blocking"]), memory_format

"""Full backward hooks: one call of a module between two identities that watch gradients pass."""

import warnings
from collections.abc import Callable
from typing import Any

from distrib.autograd import Function, is_grad_enabled
from distrib.tensor import Tensor

__all__ = ["BackwardHook"]

Hook = Callable[..., Any]


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

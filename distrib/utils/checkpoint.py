"""checkpoint: forget activations in the forward pass, compute them again in the backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Function, backward, enable_grad, no_grad
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor


def _detached(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    made = x.detach()
    return made.requires_grad_() if x.requires_grad else made


class CheckpointError(RuntimeError):
    """The function gave other results when it was run again."""


def _described(outs: Any) -> list[str]:
    """Shapes and dtypes, to compare."""
    outs = outs if isinstance(outs, (tuple, list)) else (outs,)
    return [f"{list(o.shape)} {o.dtype}" if isinstance(o, Tensor) else "no tensor" for o in outs]


class CheckpointFunction(Function):
    """Runs a function without recording, and again with recording when its gradient is wanted."""

    @staticmethod
    def forward(ctx: Any, run: Any, preserve: bool, *args: Any) -> Any:
        """The function's value."""
        ctx.run, ctx.preserve = run, preserve
        ctx.random = get_rng_state() if preserve else None
        ctx.inputs = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*(args[i] for i in ctx.places))
        with no_grad():
            out = run(*args)
        ctx.described = _described(out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Run the function again, then its backward."""
        args = list(ctx.inputs)
        for i, t in zip(ctx.places, ctx.saved_tensors, strict=True):
            args[i] = _detached(t)
        now = get_rng_state() if ctx.preserve else None
        if ctx.preserve:
            set_rng_state(ctx.random)
        try:
            with enable_grad():
                out = ctx.run(*args)
        finally:
            if now is not None:
                set_rng_state(now)
        if _described(out) != ctx.described:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values have different metadata than during the "
                f"forward pass: expected {ctx.described}, got {_described(out)}"
            )
        outs = out if isinstance(out, (tuple, list)) else (out,)
        pairs = [
            (o, g)
            for o, g in zip(outs, grads, strict=True)
            if isinstance(o, Tensor) and o.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *(a.grad if isinstance(a, Tensor) else None for a in args))


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, context_fn: Any = None,
    determinism_check: str = "default", debug: bool = False, preserve_rng_state: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """Call a function without keeping its activations; the backward computes them again.

    The random state is restored for the second run unless preserve_rng_state is False.
    """
    if use_reentrant and kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))

    names = [k for k, v in kwargs.items() if isinstance(v, Tensor)]
    rest = {k: v for k, v in kwargs.items() if k not in names}
    count = len(args)
    args = (*args, *(kwargs[k] for k in names))

    def run(*given: Any) -> Any:
        return function(*given[:count], **rest, **dict(zip(names, given[count:])))

    if not any(isinstance(a, Tensor) and a.requires_grad for a in args):
        return _of_parameters_only(run, args, preserve_rng_state)
    return CheckpointFunction.apply(run, preserve_rng_state, *args)


def _of_parameters_only(run: Any, args: Any, preserve: bool) -> Any:
    """No input needs a gradient, but the function's parameters may: give it an input that does."""
    from ..ops.creation import zeros

    anchor = zeros(0, requires_grad=True)
    return CheckpointFunction.apply(lambda _, *given: run(*given), preserve, anchor, *args)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """checkpoint for a sequence of modules, cut into segments; the last one is run plainly."""
    modules = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def part(start: int, end: int) -> Callable[..., Any]:
        def forward(x: Any) -> Any:
            for m in modules[start:end]:
                x = m(x)
            return x

        return forward

    size, end = len(modules) // segments, -1
    for start in range(0, size * (segments - 1), size):
        end = start + size - 1
        input = checkpoint(part(start, end + 1), input, use_reentrant=use_reentrant, **kwargs)
    return part(end + 1, len(modules))(input)


__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]

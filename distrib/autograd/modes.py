"""Gradient modes: what is set is per thread; the wrappers read one shared count of open blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

from ..tensor import W, lock, state


class _Mode:
    """A context manager that is also a decorator, of functions and of generator functions."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return fn(*args, **kwargs)

        @functools.wraps(fn)
        def stepwise(*args: Any, **kwargs: Any) -> Any:
            made = fn(*args, **kwargs)
            step, value = made.send, None
            while True:
                try:
                    with self.clone():
                        out = step(value)
                except StopIteration as end:
                    return end.value
                try:
                    step, value = made.send, (yield out)
                except GeneratorExit:
                    with self.clone():
                        made.close()
                    raise
                except BaseException as error:
                    step, value = made.throw, error

        code = getattr(fn, "__code__", None)
        return stepwise if code is not None and code.co_flags & _GENERATOR else inside

    def clone(self) -> Any:
        """A fresh context manager with the same setting."""
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError


_GENERATOR = 0x20  # the flag of a generator function's code


def _set(grad: bool, inference: bool) -> None:
    """Set this thread's modes; W["nograd"] counts the threads that have left full speed."""
    was, now = not state.grad or state.inference, not grad or inference
    state.grad, state.inference = grad, inference
    if was is not now:
        with lock:
            W["nograd"] += 1 if now else -1


class _GradMode(_Mode):
    """Set whether operations are recorded, for a block."""

    on = True

    def __enter__(self) -> None:
        self.before = state.grad
        _set(self.on, state.inference)

    def __exit__(self, *exc: object) -> None:
        _set(self.before, state.inference)

    def __new__(cls, orig_func: Any = None) -> Any:
        made = object.__new__(cls)
        return made if orig_func is None else made(orig_func)


class no_grad(_GradMode):
    """Do not record operations in a block or function.

    >>> import distrib as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    on = False


class enable_grad(_GradMode):
    """Record operations in a block, inside of no_grad."""

    on = True


class set_grad_enabled(_Mode):
    """Set whether operations are recorded: at once, and as a context manager until the block's end."""

    def __init__(self, mode: bool) -> None:
        self.on, self.before = bool(mode), state.grad
        _set(self.on, state.inference)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        self.__exit__()
        return super().__call__(fn)

    def clone(self) -> Any:
        """A fresh context manager with the same setting."""
        return set_grad_enabled(self.on)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        _set(self.before, state.inference)


class inference_mode(_Mode):
    """No recording, no versions: tensors made inside can never take part in autograd."""

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if callable(mode):
            made.on = True
            return made(mode)
        made.on = bool(mode)
        return made

    on = True

    def clone(self) -> Any:
        """A fresh context manager with the same setting."""
        return inference_mode(self.on)

    def __enter__(self) -> None:
        self.before = state.grad, state.inference
        _set(not self.on, self.on)

    def __exit__(self, *exc: object) -> None:
        _set(*self.before)


def is_grad_enabled() -> bool:
    """Whether operations are recorded now, in this thread."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on, in this thread."""
    return state.inference


class intercept:
    """`fn(op, args, attrs, call)` sees every operator of this thread; `call(*args, **attrs)` goes on."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __enter__(self) -> Self:
        state.stack = (*state.stack, self.fn)
        with lock:
            W["icept"] += 1
        return self

    def __exit__(self, *exc: object) -> None:
        state.stack = state.stack[:-1]
        with lock:
            W["icept"] -= 1

"""Gradient modes: what is set is per thread; the wrappers read one shared count of open blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

from ..tensor import W, lock, state


class _Mode:
    """A context manager that is also a decorator."""

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return fn(*args, **kwargs)

        return inside

    def clone(self) -> Any:
        """A fresh context manager with the same setting."""
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError


def _open(on: bool) -> None:
    if not on:
        with lock:
            W["nograd"] += 1


def _close(on: bool) -> None:
    if not on:
        with lock:
            W["nograd"] -= 1


class _GradMode(_Mode):
    """Set whether operations are recorded, for a block."""

    on = True

    def __enter__(self) -> None:
        self.before = state.grad
        state.grad = self.on
        _open(self.on)

    def __exit__(self, *exc: object) -> None:
        state.grad = self.before
        _close(self.on)

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
        state.grad = self.on
        _open(self.on)
        self.counted = self.on

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        self.__exit__()
        return super().__call__(fn)

    def clone(self) -> Any:
        """A fresh context manager with the same setting."""
        return set_grad_enabled(self.on)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        state.grad = self.before
        _close(self.on)


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
        state.grad, state.inference = (False, True) if self.on else (True, False)
        _open(not self.on)

    def __exit__(self, *exc: object) -> None:
        state.grad, state.inference = self.before
        _close(not self.on)


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

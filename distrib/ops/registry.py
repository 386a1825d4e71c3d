"""Declaring operators: the few functions that family files use, and the publishing of public names.

    sigmoid = elementwise("sigmoid", lambda x: 1 / (1 + m.exp(-x)),
                          grads=(lambda g, y: g * y * (1 - y),), ref=..., domain=(-8, 8))

A declared name is a stub until its first call, which compiles the operator's wrapper and puts it in
every place where the stub was published: importing hundreds of operators compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, W, raw, state, wrap
from .record import OPS, Op

Call = Callable[..., Any]


def stub(op: Op) -> Call:
    """A function that builds the operator at its first call."""

    def unbuilt(*args: Any, **kwargs: Any) -> Any:
        return op.call(*args, **kwargs)

    unbuilt.__name__ = unbuilt.__qualname__ = op.name
    unbuilt.__module__ = op.kernel.__module__
    unbuilt.__dict__["op"] = op
    return unbuilt


def operator(
    name: str, kernel: Call, grads: Any = None, rule: str | None = None, **more: Any
) -> Call:
    """Declare an operator by its kernel and gradient rules; see `Op` for the options."""
    assert name not in OPS, f"operator {name} is declared twice"
    op = OPS[name] = Op(name, kernel, grads, rule, **more)
    made = stub(op)
    if op.method and hasattr(Tensor, name) is False and not name.startswith("_"):
        attach(name, made)
    if op.inplace:
        attach(name + "_", inplace_method(op))
    return made


def elementwise(
    name: str, formula: Call, grads: Any = None, rule: str | None = None, **more: Any
) -> Call:
    """Declare an operator by a scalar formula in ``m``: one text for NumPy, C++ and Triton.

    The rule is "float" for one tensor and "promote" for several unless given; in-place forms and
    ``out=`` come with it.
    """
    count = formula.__code__.co_argcount
    more.setdefault("out", True)
    more.setdefault("inplace", True)
    return operator(name, formula, grads, rule or ("float" if count == 1 else "promote"),
                    scalar=formula, **more)  # fmt: skip


def composite(name: str, formula: Call, kernel: Call, backward: Call, **more: Any) -> Call:
    """Declare an operator that is written in others, with a kernel and a raw backward of its own.

    create_graph differentiates the formula; a derived test proves that kernel and formula agree.
    """
    return operator(name, kernel, backward, formula=formula, **more)


# ---- methods ----------------------------------------------------------------------------------------
def attach(name: str, fn: Any) -> None:
    """Make a function a Tensor method."""
    setattr(Tensor, name, fn)
    op = getattr(fn, "op", None)
    if op is not None:
        op.places.append((Tensor, name))


def method(*names: str) -> Callable[[Call], Call]:
    """Decorator: also a Tensor method, under the function's name or the names given."""

    def attached(fn: Call) -> Call:
        for name in names or (fn.__name__,):
            attach(name, fn)
        return fn

    return attached


def inplace_method(op: Op) -> Call:
    """The in-place form of an operator, as a method."""
    count = len(op.tensors) - 1

    def written(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not kwargs and len(args) == count:
            done: Tensor = W["inplace"](op, self, args)
            return done
        names = [*op.tensors[1:], *op.attrs, *op.extra]
        given = dict(zip(names, args, strict=False))
        for k, v in kwargs.items():
            if k not in names:
                raise TypeError(f"{op.name}_() got an unexpected keyword argument '{k}'")
            given[k] = v
        values = {k: given.get(k, op.defaults.get(k, op.extra.get(k))) for k in names}
        if any(values[k] is not v and values[k] != v for k, v in op.extra.items()):
            result = op.call(alias_for_write(self), **values)
            return copy_into(self, result)
        tensors = tuple(values[k] for k in op.tensors[1:])
        attrs = {k: tuple(v) if type(v := values[k]) is list else v for k in op.attrs}
        done = W["inplace"](op, self, tensors, attrs)
        return done

    written.__name__ = written.__qualname__ = op.name + "_"
    return written


def alias_for_write(t: Tensor) -> Tensor:
    """What an in-place composite reads: the tensor, or a copy of its values if they must be kept."""
    if t._n is None or not (state.grad or not W["nograd"]):
        return t
    return wrap(t._a.copy(), t._n)


def copy_into(t: Tensor, result: Any) -> Tensor:
    """Write a computed result into a tensor, with the history of the result."""
    written: Tensor = W["inplace"](OPS["copy"], t, (result,))
    return written


def inplace_of(fn: Call, name: str | None = None) -> Call:
    """The in-place method of a function that is written in operators; attached as ``<name>_``."""

    def written(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        W["check_writable"](self)
        result = fn(alias_for_write(self), *args, **kwargs)
        if result._a.shape != self._a.shape:
            raise RuntimeError(
                f"output with shape {list(self._a.shape)} doesn't match the broadcast shape "
                f"{list(result._a.shape)}"
            )
        W["check_result"](result, self)
        return copy_into(self, result)

    written.__name__ = written.__qualname__ = (name or fn.__name__) + "_"
    attach(written.__name__, written)
    return written


def with_out(fn: Call) -> Call:
    """Decorator: give a function of tensors the ``out=`` parameter."""
    import functools

    @functools.wraps(fn)
    def outer(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        return result if out is None else W["write_out"](fn.__name__, result, out, args)

    return outer


def publish(names: dict[str, Any]) -> None:
    """Note where stubs were published, so that built wrappers replace them."""
    for key, value in list(names.items()):
        op = getattr(value, "op", None)
        if isinstance(op, Op):
            op.places.append((names, key))


class _Calls:
    """The operators by name, as the engine calls them on Tensors."""

    def __getitem__(self, name: str) -> Call:
        return OPS[name].call


W["ops"] = _Calls()
__all__ = [
    "OPS", "Op", "alias_for_write", "attach", "composite", "copy_into", "elementwise", "inplace_of",
    "method", "operator", "publish", "raw", "with_out",
]  # fmt: skip

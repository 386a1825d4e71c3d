"""Function: operators of the user's own, with a forward and a backward written in Tensors."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from ..tensor import FREED, SEQ, Node, Tensor, W, cell_of, new, register_view, state, wrap
from .hooks import box
from .inplace import check_writable, refresh, written
from .modes import no_grad


class FunctionCtx:
    """What forward leaves for backward."""

    def __init__(self) -> None:
        self.to_save: tuple[Any, ...] = ()
        self.non_differentiable: tuple[Any, ...] = ()
        self.dirty: tuple[Any, ...] = ()
        self.materialize_grads = True
        self.needs_input_grad: tuple[bool, ...] = ()
        self.node: Any = None  # a weak reference, as the node holds this context
        self.is_tensor: list[bool] = []
        self.out_arrays: list[Any] = []
        self.cells: dict[int, Any] = {}
        self.output_nodes: dict[int, Any] = {}

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward; their versions are checked there."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self.to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for forward-mode differentiation."""
        self.saved_for_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that forward kept; RuntimeError if they were freed or written to since."""
        n = None if self.node is None else self.node()
        if n is None:
            return self.to_save
        if n.saved is FREED:
            raise RuntimeError(W["TWICE"])
        out: list[Any] = []
        for i, (kind, t) in enumerate(n.saved):
            if kind is None:
                out.append(None)
                continue
            cell = t._c if kind == "in" else self.cells[t[0]]
            if cell is not None and cell.version is not None and cell.version != n.ver[i]:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace "
                    f"operation: [{self.name()}] is at version {cell.version}; expected version {n.ver[i]} "
                    "instead."
                )
            out.append(t if kind == "in" else wrap(t[1], self._output_node(n, t[0])))
        return tuple(out)

    saved_variables = saved_tensors

    def _output_node(self, n: Node, i: int) -> Any:
        """The node of an output; made anew where the output has died."""
        found = self.output_nodes.get(i)
        if found is None:
            return None
        p = found()
        if p is None:
            _, shape, dt = self.out_arrays[i][0]
            p = _pick(n, i, shape, dt, self.cells.get(i))
            self.output_nodes[i] = weakref.ref(p)
        return p

    def name(self) -> str:
        """The name of the node."""
        return type(self).__name__

    def mark_dirty(self, *args: Any) -> None:
        """Say which inputs forward wrote to in place."""
        self.dirty = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Say which outputs have no gradient."""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients come as zeros (default) or as None."""
        self.materialize_grads = value


class _Op:
    """Stands where an operator stands in a node: runs the user's backward."""

    formula = None
    hooked = pick = False
    frees = True

    def __init__(self, cls: Any, ctx: FunctionCtx) -> None:
        self.cls, self.ctx = cls, ctx
        self.name, self.grad_name = cls.__name__, cls.__name__ + "Backward"
        self.raw: dict[type, Any] = {}

    def glue(self, array_type: type) -> Callable[..., Any]:
        """The backward on raw arrays: boxed, without recording."""

        def call(n: Node, g: Any) -> Any:
            if n.saved is FREED:
                raise RuntimeError(W["TWICE"])
            with no_grad():
                found = self.rec(
                    n, [None if x is None else box(x) for x in g] if type(g) is list else box(g)
                )
            return [None if x is None else x._a for x in found]

        return call

    def rec(self, n: Node, g: Any) -> Any:
        """The backward on Tensors."""
        ctx = self.ctx
        gs = g if type(g) is list else [g]
        if ctx.materialize_grads:
            gs = [
                x if x is not None or not diff else wrap(like[0].zeros(like[1], like[2]))
                for x, (like, diff) in zip(gs, ctx.out_arrays, strict=True)
            ]
        elif all(x is None for x in gs):
            return [None] * len(n.edges)
        found = self.cls.backward(ctx, *gs)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        count = len(ctx.is_tensor)
        if len(found) > count and all(x is None for x in found[count:]):
            found = found[:count]
        if len(found) != count:
            raise RuntimeError(
                f"function {self.grad_name} returned an incorrect number of gradients (expected {count}, got {len(found)})"
            )
        out: list[Any] = []
        for i, (x, tensor) in enumerate(zip(found, ctx.is_tensor, strict=True)):
            if not tensor:
                if x is not None:
                    raise RuntimeError(
                        f"function {self.grad_name} returned a gradient different from None at position {i + 1}, "
                        "but the corresponding forward input was not a Variable"
                    )
                continue
            if x is not None:
                self._check(n.edges[len(out)], x, i)
            out.append(x)
        return out

    def _check(self, edge: Any, x: Any, i: int) -> None:
        """RuntimeError for what is no gradient of the input at a position."""
        if not isinstance(x, Tensor):
            raise RuntimeError(
                f"function {self.grad_name} returned an object that is not a Tensor at position "
                f"{i + 1}: expected Tensor or None, got {type(x).__name__}"
            )
        if edge is None or x._a.shape == edge.shape or type(edge.shape) is not tuple:
            return
        got, want = tuple(x._a.shape), edge.shape
        tail = got[len(got) - len(want) :]
        if len(want) > len(got) or any(w not in (1, k) for w, k in zip(want, tail, strict=True)):
            raise RuntimeError(
                f"Function {self.grad_name} returned an invalid gradient at index {i} - got "
                f"{list(got)} but expected shape compatible with {list(want)}"
            )


class _Meta(type):
    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class Function(FunctionCtx, metaclass=_Meta):
    """Base of user-defined operators: static `forward(ctx, *args)` and `backward(ctx, *grads)`.

    With `setup_context(ctx, inputs, output)`, forward takes no ctx.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should invoke them on the class itself."
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The operator's value."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of all inputs of forward."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it "
            "with backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward and record the call."""
        ctx = object.__new__(cls)
        FunctionCtx.__init__(ctx)
        ctx.is_tensor = [isinstance(a, Tensor) for a in args]
        tensors = [a for a in args if isinstance(a, Tensor)]
        recording = (state.grad or not W["nograd"]) and any(t._n is not None for t in tensors)
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a._n is not None for a in args)
        with no_grad():
            if "setup_context" in cls.__dict__ or any(
                "setup_context" in b.__dict__ for b in cls.__mro__[:-2]
            ):
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args, **kwargs)
        single = not isinstance(output, (tuple, list))
        outs = [output] if single else list(output)
        for o in outs:
            if single and o is not None and not isinstance(o, Tensor):
                raise TypeError(
                    f"{cls.__name__}.forward: expected to return Tensors, but got {type(o).__name__}"
                )
        made = _record(cls, ctx, tensors, outs, recording)
        return made[0] if single else tuple(made)


def _record(
    cls: Any, ctx: Any, tensors: list[Tensor], outs: list[Any], recording: bool
) -> list[Any]:
    dirty, plain = {id(t) for t in ctx.dirty}, {id(t) for t in ctx.non_differentiable}
    made: list[Any] = []
    for o in outs:
        if isinstance(o, Tensor):
            if id(o) in dirty:
                check_writable(o, recording)
                o._bump()
            elif any(o is t for t in tensors):
                v = wrap(o._a)
                o = register_view(v, o, W["alias_op"](), {}) if not recording else v
        made.append(o)
    if not recording:
        return made
    diff = [
        isinstance(o, Tensor) and id(x) not in plain and o._a.dtype.kind not in "biu"
        for o, x in zip(made, outs, strict=True)
    ]
    if not any(diff):
        return made
    n: Node = new(Node)
    ctx.node, n.op = weakref.ref(n), _Op(cls, ctx)
    n.edges = tuple(t._n for t in tensors)
    n.attrs, n.cell, n.seq = None, None, next(SEQ)
    n.meta = {"ctx": ctx}
    ctx.out_arrays = [
        ((W["xp_of"](o._a), o._a.shape, o._a.dtype), True)
        if isinstance(o, Tensor)
        else (None, False)
        for o in made
    ]
    index = {id(x): i for i, x in enumerate(outs) if isinstance(x, Tensor)}
    saved: list[Any] = []
    versions = []
    inputs = {id(t) for t in tensors}
    ctx.cells, ctx.output_nodes = {}, {}
    for t in ctx.to_save:
        if t is None:
            saved.append((None, None))
        elif id(t) in index and id(t) not in inputs:
            i = index[id(t)]
            saved.append(("out", (i, made[i]._a)))
            ctx.cells[i] = cell_of(made[i])
        else:
            saved.append(("in", t))
        if t is not None and t._c is not None and t._c.version is None:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward. To work around you can make a clone to get a normal tensor and use it in autograd."
            )
        versions.append(0 if t is None or t._c is None else t._c.version)
    n.saved, n.ver, n.op.frees = tuple(saved), versions, bool(saved)
    _attach(n, ctx, tensors, made, diff, dirty)
    ctx.to_save = ctx.dirty = ctx.non_differentiable = ()  # outputs among them would be cycles
    return made


def _attach(
    n: Node, ctx: Any, tensors: list[Tensor], made: list[Any], diff: list[bool], dirty: set[int]
) -> None:
    """Give the outputs their node; one pick node each where there are several."""
    if len(made) == 1:
        o = made[0]
        n.shape, n.dt, n.cell = o._a.shape, o._a.dtype, o._c
        ctx.output_nodes[0] = weakref.ref(n)
        if id(o) in dirty:
            written(o, n, next(i for i, t in enumerate(tensors) if t is o), o._c)
            return
        o._n = n
    else:
        if any(isinstance(o, Tensor) and id(o) in dirty and o._view is not None for o in made):
            raise RuntimeError(
                "If your Function modifies inplace an input that is a view of another tensor, it must "
                "return a single output."
            )
        n.shape, n.dt = [None if not isinstance(o, Tensor) else o._a.shape for o in made], None
        for i, o in enumerate(made):
            if not diff[i]:
                continue
            o._n = p = _pick(n, i, o._a.shape, o._a.dtype, o._c)
            ctx.output_nodes[i] = weakref.ref(p)
    for o in made:
        if isinstance(o, Tensor) and id(o) in dirty and o._c is not None:
            refresh(o, o._c)


def _pick(n: Node, i: int, shape: Any, dt: Any, cell: Any) -> Node:
    """The node of one output of several."""
    p: Node = new(Node)
    p.op, p.edges, p.saved, p.attrs, p.ver = W["PICK"], (n,), (), i, None
    p.shape, p.dt, p.cell, p.seq = shape, dt, cell, next(SEQ)
    return p


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a backward that cannot be differentiated again: a second derivative is an error."""

    @functools.wraps(fn)
    def wrapper(ctx: Any, *args: Any) -> Any:
        with no_grad():
            outs = fn(ctx, *args)
        if not state.grad or not any(isinstance(a, Tensor) and a._n is not None for a in args):
            return outs
        single = not isinstance(outs, tuple)
        items = (outs,) if single else outs
        failing = tuple(
            None if o is None else _Once.apply(o.detach().requires_grad_()) for o in items
        )
        return failing[0] if single else failing

    return wrapper


class _Once(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The value itself."""
        made: Tensor = x.clone()
        return made

    @staticmethod
    def backward(ctx: Any, *g: Any) -> Any:
        """Always an error."""
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


InplaceFunction = Function
__all__ = ["Function", "FunctionCtx", "InplaceFunction", "once_differentiable"]

"""Hooks on tensors and nodes: a node with hooks has its operator replaced by one that calls them.

Where there are no hooks they cost nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Leaf, Node, Tensor, wrap


class RemovableHandle:
    """Removes a hook; a context manager too."""

    next_id = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.hooks = hooks_dict
        self.extra = extra_dict if isinstance(extra_dict, (list, tuple)) else [extra_dict] if extra_dict is not None else []  # fmt: skip
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1

    def remove(self) -> None:
        """Take the hook off."""
        self.hooks.pop(self.id, None)
        for d in self.extra:
            d.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Hooked:
    """Stands in for a node's operator."""

    formula = None
    hooked = True

    def __init__(self, op: Any) -> None:
        self.op, self.name, self.grad_name, self.pick = op, op.name, op.grad_name, op.pick
        self.on_tensor: dict[int, Callable[..., Any]] = {}
        self.pre: dict[int, Callable[..., Any]] = {}
        self.post: dict[int, Callable[..., Any]] = {}
        self.retain: Callable[..., Any] | None = None

    def before(self, g: Any, create_graph: bool) -> Any:
        """Run the tensor's hooks and the node's pre-hooks on the gradient that comes in."""
        many = type(g) is list
        for h in tuple(self.on_tensor.values()):
            r = h(box(g))
            g = g if r is None else checked(r, g, create_graph, h)
        if self.retain is not None:
            self.retain(box(g))
        for h in tuple(self.pre.values()):
            r = h(tuple(None if x is None else box(x) for x in g) if many else (box(g),))
            if r is not None:
                r = [
                    x if x is None or create_graph else x._a
                    for x in (r if isinstance(r, tuple) else (r,))
                ]
                g = r if many else r[0]
        return g

    def after(self, gs: Any, g: Any, create_graph: bool) -> Any:
        """Run the node's post-hooks on the gradients that go out."""
        for h in tuple(self.post.values()):
            ins = tuple(None if x is None else box(x) for x in gs)
            outs = tuple(None if x is None else box(x) for x in g) if type(g) is list else (box(g),)
            r = h(ins, outs)
            if r is not None:
                r = r if isinstance(r, tuple) else (r,)
                gs = tuple(x if x is None or create_graph else x._a for x in r)
        return gs


def box(g: Any) -> Any:
    """A gradient as a Tensor."""
    if isinstance(g, Tensor):
        return g
    return wrap(np.asarray(g) if isinstance(g, np.generic) else g)


def checked(r: Any, g: Any, create_graph: bool, hook: Any) -> Any:
    """What a hook returned, in the engine's form; RuntimeError if it has another shape."""
    if not isinstance(r, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(r).__name__}'")
    if r._a.shape != (g._a if create_graph else g).shape:
        name = getattr(hook, "__name__", "<unknown hook>")
        raise RuntimeError(f"hook '{name}' has changed the size of value")
    return r if create_graph else r._a


def hooked(n: Node) -> Hooked:
    """A node's stand-in, made at its first hook."""
    if not n.op.hooked:
        n.op = Hooked(n.op)
    found: Hooked = n.op
    return found


def register_hook(self: Tensor, hook: Callable[..., Any]) -> RemovableHandle:
    """Call hook(grad) whenever this tensor's gradient is computed; it may return a new one."""
    n = self._n
    if n is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if type(n) is Leaf:
        n.hooks = n.hooks if n.hooks is not None else {}
        table: Any = n.hooks
    else:
        table = hooked(n).on_tensor
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[..., Any]) -> RemovableHandle:
    """Call hook(tensor) after a gradient was added to this leaf's .grad."""
    n = self._n
    if n is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if type(n) is not Leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    n.post = n.post if n.post is not None else {}
    handle = RemovableHandle(n.post)
    n.post[handle.id] = hook
    return handle


def retain_grad(self: Tensor) -> None:
    """Keep this non-leaf's gradient in .grad."""
    if self._n is None:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if type(self._n) is Leaf:
        return
    ref = weakref.ref(self)

    def keep(g: Tensor) -> None:
        t = ref()
        if t is not None:
            t._grad = g if t._grad is None else t._grad + g

    hooked(self._n).retain = keep


def move_retain(t: Tensor, before: Any) -> None:
    """Let .grad follow a tensor whose node was replaced by a write in place."""
    op = before.op if type(before) is Node else None
    if op is not None and op.hooked and op.retain is not None and before is not t._n:
        hooked(t._n).retain, op.retain = op.retain, None


def node_register_hook(self: Node, fn: Callable[..., Any]) -> RemovableHandle:
    """Call fn(grad_inputs, grad_outputs) after this node's backward."""
    table = hooked(self).post
    handle = RemovableHandle(table)
    table[handle.id] = fn
    return handle


def node_register_prehook(self: Node, fn: Callable[..., Any]) -> RemovableHandle:
    """Call fn(grad_outputs) before this node's backward."""
    table = hooked(self).pre
    handle = RemovableHandle(table)
    table[handle.id] = fn
    return handle


for _name, _value in {
    "register_hook": register_hook,
    "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
    "retain_grad": retain_grad,
    "retains_grad": property(
        lambda t: type(t._n) is Node and t._n.op.hooked and t._n.op.retain is not None
    ),
}.items():
    setattr(Tensor, _name, _value)
for _name, _value in {
    "register_hook": node_register_hook,
    "register_prehook": node_register_prehook,
}.items():
    setattr(Node, _name, _value)

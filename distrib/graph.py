"""What recorded calls leave behind: nodes, leaves, version cells, and the modes of threads.

Data only; `autograd` runs it. Tensor and graph hold each other, so both are the lowest room.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any

new = object.__new__


class Cell:
    """The version of a memory and its living views; shared by a tensor, its views and detached aliases."""

    __slots__ = ("limit", "version", "views")

    def __init__(self) -> None:
        self.version: Any = 0  # None marks memory made in inference mode
        self.views: list[weakref.ref[Any]] = []
        self.limit = 8


class Node:
    """One recorded call. ``saved`` holds what the rules name: input Tensors, the raw output, scalars."""

    __slots__ = (
        "__weakref__",
        "attrs",
        "cell",
        "dt",
        "edges",
        "meta",
        "op",
        "saved",
        "seq",
        "shape",
        "ver",
    )

    op: Any
    edges: tuple[Any, ...]
    saved: Any
    shape: Any
    dt: Any
    seq: int
    attrs: Any
    ver: Any
    cell: Cell | None
    meta: dict[str, Any]  # unset until somebody asks

    def name(self) -> str:
        """The name that PyTorch would print, as ``AddBackward0``."""
        n = self.edges[0] if self.op.pick else self
        return str(n.op.grad_name)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that this one's gradients go to, with the index of the output."""
        edges = (self.edges[0] if self.op.pick else self).edges
        return tuple(
            (None, 0) if e is None else (e.edges[0], e.attrs) if e.op and e.op.pick else (e, 0)
            for e in edges
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """A dictionary for the user's notes."""
        if not hasattr(self, "meta"):
            self.meta = {}
        return self.meta


class Leaf:
    """Accumulates into a leaf's ``.grad``. Holds it weakly, so a leaf and its accumulator are no cycle."""

    __slots__ = ("__weakref__", "dt", "hooks", "post", "ref", "shape")
    edges: tuple[Any, ...] = ()
    op: Any = None
    seq = -1

    def __init__(self, t: Any) -> None:
        self.ref = weakref.ref(t)
        self.shape, self.dt = t._a.shape, t._a.dtype
        self.hooks: dict[Any, Callable[..., Any]] | None = None
        self.post: dict[Any, Callable[..., Any]] | None = None

    def name(self) -> str:
        """PyTorch's name of an accumulator."""
        return "torch::autograd::AccumulateGrad"

    next_functions: tuple[Any, ...] = ()

    @property
    def variable(self) -> Any:
        """The leaf, if it still lives."""
        return self.ref()

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


# ---- modes -----------------------------------------------------------------------------------------
# The generated wrappers read W["icept"] and W["nograd"] as globals: the number of open blocks in all
# threads, falsy at full speed. What a mode is set to is per thread.
W: dict[str, Any] = {"icept": 0, "nograd": 0}
lock = threading.Lock()
SEQ = itertools.count()
FREED = ("freed",)  # what a node holds once its backward has run


class _State(threading.local):
    grad = True
    inference = False
    stack: tuple[Callable[..., Any], ...] = ()  # interceptors of this thread, innermost last


state = _State()


W.update(Node=Node, Leaf=Leaf, state=state, new=new, next=next, type=type)
W.update(SEQ=SEQ, FREED=FREED, ref=weakref.ref)

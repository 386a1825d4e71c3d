"""What a forward returned, and which parameters its graph reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from distrib.tensor import Leaf, Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples, dictionaries and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from tensors_in(v)
    elif isinstance(value, (list, tuple, set)):
        for v in value:
            yield from tensors_in(v)
    elif is_dataclass(value) and not isinstance(value, type):
        for f in fields(value):
            yield from tensors_in(getattr(value, f.name))


def reached_leaves(value: Any) -> set[Leaf]:
    """The leaves that a backward from the tensors in ``value`` can reach."""
    stack = [t._n for t in tensors_in(value) if t._n is not None]
    seen = set(stack)
    leaves = set()
    while stack:
        node = stack.pop()
        if type(node) is Leaf:
            leaves.add(node)
        for edge in node.edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return leaves

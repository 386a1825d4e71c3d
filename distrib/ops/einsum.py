"""einsum: an equation parsed, then evaluated pair by pair as batched matrix products."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ..tensor import Tensor
from .linalg import matmul_
from .shape import permute, reshape

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def evaluate(*args: Any) -> Tensor:
    """The public function: an equation and operands, or operands with sublists of indices."""
    if not isinstance(args[0], str):
        args = _from_sublists(args)
    equation, operands = args[0], list(args[1:])
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = list(operands[0])
    if not operands:
        raise RuntimeError("einsum(): must provide at least one operand")
    inputs, output = parse(equation, [t._a.ndim for t in operands])
    sizes: dict[Any, int] = {}
    terms = []
    for i, (labels, t) in enumerate(zip(inputs, operands, strict=True)):
        t, labels = _take_diagonals(t, labels)
        for label, n in zip(labels, t._a.shape, strict=True):
            if sizes.get(label, 1) not in (1, n) and n != 1:
                raise ShapeError(
                    f"einsum(): subscript {label} has size {n} for operand {i} which does not broadcast with "
                    f"previously seen size {sizes[label]}"
                )
            sizes[label] = max(sizes.get(label, 1), n) if n != 0 else 0
        terms.append((t, labels))
    while len(terms) > 1:
        (a, la), (b, lb), *rest = terms
        keep = set(output) | {k for _, labels in rest for k in labels}
        terms = [_pair(a, la, b, lb, keep), *rest]
    t, labels = terms[0]
    gone = [i for i, k in enumerate(labels) if k not in output]
    if gone:
        t, labels = t.sum(gone), [k for k in labels if k in output]
    return permute(t, [labels.index(k) for k in output]) if labels != list(output) else t


def _from_sublists(args: Any) -> Any:
    flat = list(args)
    out = flat.pop() if len(flat) % 2 else None

    def text(s: Any) -> str:
        return "".join("..." if k is Ellipsis else LETTERS[k] for k in s)

    equation = ",".join(text(s) for s in flat[1::2])
    return (equation if out is None else f"{equation}->{text(out)}", *flat[::2])


def parse(equation: str, ndims: list[int]) -> tuple[list[list[Any]], list[Any]]:
    """The labels of each operand and of the result; dimensions of ``...`` become numbers."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(ndims):
        raise RuntimeError(
            "einsum(): more operands were provided than specified in the equation"
            if len(parts) < len(ndims)
            else "einsum(): fewer operands were provided than specified in the equation"
        )
    inputs: list[list[Any]] = []
    extra = 0
    for part, ndim in zip(parts, ndims, strict=True):
        names = _labels(part)
        n = ndim - sum(k is not Ellipsis for k in names)
        if (Ellipsis not in names and n != 0) or n < 0:
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({len(names)}) does not match the number of dimensions ({ndim}) for operand {len(inputs)} and no ellipsis was given"
            )
        extra = max(extra, n)
        inputs.append([x for k in names for x in (range(-n, 0) if k is Ellipsis else (k,))])
    if arrow:
        output = [x for k in _labels(right) for x in (range(-extra, 0) if k is Ellipsis else (k,))]
        known = {k for labels in inputs for k in labels}
        for k in output:
            if output.count(k) > 1:
                raise RuntimeError(
                    f"einsum(): output subscript {k} appears more than once in the output"
                )
            if k not in known:
                raise RuntimeError(
                    f"einsum(): output subscript {k} does not appear in the equation for any input operand"
                )
    else:
        counts = [k for labels in inputs for k in labels if not isinstance(k, int)]
        output = list(range(-extra, 0)) + sorted(k for k in set(counts) if counts.count(k) == 1)
    return inputs, output


def _labels(part: str) -> list[Any]:
    out: list[Any] = []
    i = 0
    while i < len(part):
        if part[i] == ".":
            if part[i : i + 3] != "..." or Ellipsis in out:
                raise RuntimeError(
                    "einsum(): found '.' that is not part of any ellipsis"
                    if part[i : i + 3] != "..."
                    else "einsum(): found '.' for which an ellipsis was already found"
                )
            out.append(Ellipsis)
            i += 3
            continue
        if part[i] not in LETTERS:
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {i} in the equation string, subscripts must be in [a-zA-Z]"
            )
        out.append(part[i])
        i += 1
    return out


def _take_diagonals(t: Tensor, labels: list[Any]) -> tuple[Any, list[Any]]:
    for k in [k for k in labels if labels.count(k) > 1]:
        while labels.count(k) > 1:
            i = labels.index(k)
            j = labels.index(k, i + 1)
            if t._a.shape[i] != t._a.shape[j]:
                raise ShapeError(
                    f"einsum(): subscript {k} is repeated for an operand but the sizes don't match, {t._a.shape[j]} != {t._a.shape[i]}"
                )
            t = t.diagonal(0, i, j)
            labels = [x for n, x in enumerate(labels) if n not in (i, j)] + [k]
    return t, labels


def _pair(a: Any, la: list[Any], b: Any, lb: list[Any], keep: set[Any]) -> tuple[Any, list[Any]]:
    """Contract two operands: batch, free and summed indices, one batched product."""
    for t, labels, others in ((a, la, lb), (b, lb, la)):
        gone = [i for i, k in enumerate(labels) if k not in others and k not in keep]
        if gone:
            summed, left = t.sum(gone), [k for i, k in enumerate(labels) if i not in gone]
            if labels is la:
                a, la = summed, left
            else:
                b, lb = summed, left
    both = [k for k in la if k in lb]
    size = {k: max(a._a.shape[la.index(k)], b._a.shape[lb.index(k)]) for k in both}
    a = a.expand([size.get(k, n) for k, n in zip(la, a._a.shape, strict=True)])
    b = b.expand([size.get(k, n) for k, n in zip(lb, b._a.shape, strict=True)])
    batch = [k for k in both if k in keep]
    inner = [k for k in both if k not in keep]
    free_a, free_b = [k for k in la if k not in lb], [k for k in lb if k not in la]
    if not inner:  # an elementwise product: no matrix product is needed
        order = [*batch, *free_a, *free_b]
        x = permute(a, [la.index(k) for k in (*batch, *free_a)])
        y = permute(b, [lb.index(k) for k in (*batch, *free_b)])
        x = reshape(x, [*x._a.shape, *(1 for _ in free_b)])
        y = reshape(y, [*y._a.shape[: len(batch)], *(1 for _ in free_a), *y._a.shape[len(batch) :]])
        return x * y, order

    def count(t: Any, labels: list[Any], names: list[Any]) -> int:
        n = 1
        for k in names:
            n *= t._a.shape[labels.index(k)]
        return n

    x = permute(a, [la.index(k) for k in (*batch, *free_a, *inner)])
    y = permute(b, [lb.index(k) for k in (*batch, *inner, *free_b)])
    nb, na, nk, nf = (
        count(a, la, batch),
        count(a, la, free_a),
        count(a, la, inner),
        count(b, lb, free_b),
    )
    shape = [a._a.shape[la.index(k)] for k in (*batch, *free_a)] + [
        b._a.shape[lb.index(k)] for k in free_b
    ]
    product = matmul_(reshape(x, (nb, na, nk)), reshape(y, (nb, nk, nf)))
    return reshape(product, shape), [*batch, *free_a, *free_b]

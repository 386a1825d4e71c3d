"""Backward: collect the nodes, run them youngest first, on raw arrays; on Tensors under create_graph."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from sys import getrefcount
from typing import Any

import numpy as np

from ..devices import ndarray, xp_of
from ..tensor import FREED, Leaf, Tensor, W, wrap
from .hooks import box, checked, retain_grad
from .modes import set_grad_enabled

_SEQ = attrgetter("seq")


def sum_to(g: Any, shape: tuple[int, ...], create_graph: bool) -> Any:
    """Sum a gradient over the dimensions in which its tensor was broadcast."""
    lead = len(g.shape) - len(shape)
    if lead < 0:
        raise RuntimeError(
            f"a gradient of shape {list(g.shape)} came back for an input of shape {list(shape)}"
        )
    dims = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 != g.shape[lead + i]
    )
    if create_graph:
        g = W["ops"]["sum"](g, dim=dims, keepdim=True) if dims else g
        return W["ops"]["reshape"](g, shape) if lead else g
    if dims:
        g = xp_of(g).add.reduce(g, dims, keepdims=True)
    return g.reshape(shape)


def fit(g: Any, edge: Any, create_graph: bool) -> Any:
    """A gradient in the dtype of what it belongs to; the real part where that is real."""
    d = edge.dt
    if create_graph:
        if g._a.dtype.kind == "c" and d.kind != "c":
            g = W["ops"]["real"](g)
        return W["ops"]["cast"](g, dtype=d) if g._a.dtype != d else g
    if g.dtype.kind == "c" and d.kind != "c":
        g = g.real
    return g.astype(d)


class _Anomaly:
    """Set by detect_anomaly: check every gradient, and say which forward call a failure belongs to."""

    on = False
    check_nan = True


anomaly = _Anomaly()


def run(
    roots: Sequence[Any], seeds: list[Any], create_graph: bool = False, retain: bool = False,
    targets: dict[Any, Any] | None = None,
) -> None:  # fmt: skip
    """Run a backward pass from roots with their gradients.

    targets None accumulates into leaves; else {node: None} is filled with gradients instead.
    """
    uses: dict[Any, int] = {}
    seen, stack = set(roots), list(roots)
    while stack:
        for e in stack.pop().edges:
            if e is not None:
                if e.op is None:
                    uses[e] = uses.get(e, 0) + 1  # a leaf fires as soon as its last use has run
                elif e not in seen:
                    seen.add(e)
                    stack.append(e)
    inner: set[Any] = seen
    if targets is not None:
        inner = _leading(seen, targets)
        seen = inner | (seen & targets.keys())
        uses = {}
        for n in inner:
            for e in n.edges:
                if e is not None and e.op is None:
                    uses[e] = uses.get(e, 0) + 1
    kind = type(seeds[0])  # once: NumPy turns 0-d gradients into scalars on the way
    grads: dict[Any, Any] = {}
    for root, seed in zip(roots, seeds, strict=True):
        grads[root] = grads[root] + seed if root in grads else seed
        if root.op is None:
            uses.setdefault(root, 0)
    root = seed = None
    seeds.clear()
    checking = anomaly.on
    for n in sorted(seen, key=_SEQ, reverse=True):  # a consumer is always younger than its inputs
        g = grads.pop(n, None)
        op = n.op
        if op is None:  # backward() of a leaf itself
            if not uses.get(n):
                _leaf(n, g, create_graph, targets)
            elif g is not None:
                grads[n] = g
            continue
        after = None
        if op.hooked:
            if type(g) is dict:
                g = _all_outputs(n, g)
            early = targets is not None and n in targets and n in inner
            if targets is not None and early:
                targets[n] = g  # as PyTorch: what runs itself is taken before its hooks
            if g is not None:
                g = op.before(g, create_graph)
            if targets is not None and n in targets and not early:
                targets[n] = g
            after, op = op.after, op.op
        elif targets is not None and n in targets:
            targets[n] = g
        if n not in inner:
            continue
        if op.pick:
            if g is not None:
                grads.setdefault(n.edges[0], {})[n.attrs] = g
            continue
        if g is None:
            gs: Any = (None,) * len(n.edges)
        else:
            if type(g) is dict:
                g = _all_outputs(n, g)
            try:
                if create_graph:
                    gs = recorded(op, n, g)
                else:
                    gs = (op.raw.get(kind) or op.glue(kind))(n, g)
                    if not retain and op.frees:
                        n.saved = FREED
            except Exception as error:
                if hasattr(n, "meta"):
                    _tell(n)
                raise error
            if after is not None:
                gs = after(gs, g, create_graph)
            if checking:
                _check_nan(n, gs)
        g = None
        for e, x in zip(n.edges, gs, strict=False):
            if e is not None:
                if x is not None:
                    if x.shape != e.shape and type(e.shape) is tuple:
                        x = sum_to(x, e.shape, create_graph)
                    if (x._a if create_graph else x).dtype is not e.dt:
                        x = fit(x, e, create_graph)
                    o = grads.get(e)
                    if o is None:
                        grads[e] = x
                    elif (
                        not create_graph
                        and type(o) is ndarray
                        and o.base is None
                        and getrefcount(o) == 3
                        and o.flags.writeable
                    ):
                        o += x  # nobody else holds it
                    else:
                        grads[e] = o + x
                if e.op is None:
                    left = uses[e] = uses[e] - 1
                    if not left:
                        x = o = None
                        gs_left = grads.pop(e, None)
                        _leaf(e, gs_left, create_graph, targets)
                        gs_left = None
        gs = x = o = None


def _leading(seen: set[Any], targets: dict[Any, Any]) -> set[Any]:
    """Of the collected nodes, those whose backward leads to a target."""
    inner: set[Any] = set()
    for n in sorted(seen, key=_SEQ):
        if any(e is not None and (e in targets or e in inner) for e in n.edges):
            inner.add(n)
    return inner


def _leaf(leaf: Any, g: Any, create_graph: bool, targets: dict[Any, Any] | None) -> None:
    if g is None:
        return
    if leaf.hooks:
        for h in tuple(leaf.hooks.values()):
            r = h(box(g))
            if r is not None:
                g = checked(r, g, create_graph, h)
    if targets is not None:
        if leaf in targets:
            targets[leaf] = g
        return
    accumulate(leaf, g, create_graph)


def _all_outputs(n: Any, g: dict[int, Any]) -> list[Any]:
    """The gradients of all outputs of a node with several; None where there is none."""
    return [g.get(i) for i in range(len(n.shape))]


def recorded(op: Any, n: Any, g: Any) -> Any:
    """A node's backward on Tensors; a composite's is that of its formula at the saved inputs."""
    if op.formula is None:
        return op.rec(n, g)
    if n.saved is FREED:
        raise RuntimeError(W["TWICE"])
    ident = W["ops"]["alias"]
    xs = [ident(t) if isinstance(t, Tensor) else t for t in n.saved[: len(op.tensors)]]
    with set_grad_enabled(True):
        y = op.formula(*xs, **(n.attrs or {}))
    want = [x for x, e in zip(xs, n.edges, strict=True) if e is not None]
    got = iter(grad(y, want, g, create_graph=True, allow_unused=True))
    return [None if e is None else next(got) for e in n.edges]


def accumulate(leaf: Leaf, g: Any, create_graph: bool) -> None:
    """Add a gradient to a leaf's .grad, stealing the array when nobody else holds it."""
    t = leaf.ref()
    if t is None:
        return
    if create_graph:
        t._grad = g if t._grad is None else t._grad + g
    elif t._grad is None:
        if isinstance(g, np.generic):
            g = np.asarray(g)
        own = type(g) is ndarray and g.base is None and g.flags.writeable and getrefcount(g) <= 5
        fits = own and (g.flags.c_contiguous or g.strides == t._a.strides)
        t._grad = wrap(g if fits else _copy_like(g, t._a))
    else:
        held = t._grad
        if held._n is not None:
            t._grad = held + wrap(g)
        else:
            held._a += g
            held._bump()
    if leaf.post:
        for h in tuple(leaf.post.values()):
            h(t)


def _copy_like(g: Any, like: Any) -> Any:
    """A copy in the memory layout of the parameter."""
    xp = xp_of(g)
    if like.flags.c_contiguous or like.shape != g.shape or type(g) is not ndarray:
        return xp.array(g, order="C") if type(g) is ndarray else g.copy()
    out = np.empty_like(like, dtype=g.dtype)
    out[...] = g
    return out


def _check_nan(n: Any, gs: Any) -> None:
    if not anomaly.check_nan:
        return
    for i, g in enumerate(gs):
        a = g._a if isinstance(g, Tensor) else g
        if a is not None and a.dtype.kind in "fc" and bool(xp_of(np.asarray(a)).isnan(a).any()):
            _tell(n)
            raise RuntimeError(
                f"Function '{n.op.grad_name}' returned nan values in its {i}th output."
            )


def _tell(n: Any) -> None:
    import warnings

    trace = n.meta.get("traceback_") if hasattr(n, "meta") else None
    if trace:
        warnings.warn(
            f"Error detected in {n.op.grad_name}. Traceback of forward call that caused the error:\n{trace}",
            stacklevel=2,
        )


# ---- the public entries -----------------------------------------------------------------------------
def _seed(t: Tensor, gradient: Any) -> Tensor:
    """The gradient of a root: what the user gave, checked, or one for a scalar."""
    if t._n is None:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if t._a.size != 1:
            raise RuntimeError(
                "grad can be implicitly created only for scalar outputs, got shape "
                f"{list(t._a.shape)}"
            )
        if t._a.dtype.kind == "c":
            raise RuntimeError(
                f"grad can be implicitly created only for real scalar outputs but got {t.dtype}"
            )
        xp = xp_of(t._a)
        return wrap(xp.ones(t._a.shape, t._a.dtype))
    if not isinstance(gradient, Tensor):
        raise TypeError(
            f"gradients can be either Tensors or None, but got {type(gradient).__name__}"
        )
    if gradient._a.shape != t._a.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape "
            f"of {t.shape}."
        )
    if gradient._a.dtype.kind == "c" and t._a.dtype.kind != "c":
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. "
            f"Mismatch in dtype: grad_output[0] has a dtype of {gradient.dtype} and output[0] has a dtype "
            f"of {t.dtype}."
        )
    return gradient if gradient._a.dtype == t._a.dtype else wrap(gradient._a.astype(t._a.dtype))


def _sequence(x: Any) -> list[Any]:
    if isinstance(x, Tensor) or x is None:
        return [x]
    return list(x)


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, inputs: Any = None,
) -> None:  # fmt: skip
    """Sum the gradients of tensors into the leaves that they were computed from.

    Source: ``torch.autograd.backward``. RuntimeError where a root does not require a gradient.
    """
    roots = _sequence(tensors)
    given = [None] * len(roots) if grad_tensors is None else _sequence(grad_tensors)
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    seeds = [_seed(t, g) for t, g in zip(roots, given, strict=True)]
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        wanted = _sequence(inputs)
        if not wanted:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
        for x in wanted:
            if x._n is not None and type(x._n) is not Leaf:
                retain_grad(x)
        found = grad(roots, wanted, seeds, keep, create_graph, allow_unused=True)
        for x, g in zip(wanted, found, strict=True):
            if g is not None:
                if type(x._n) is Leaf:
                    accumulate(x._n, g if create_graph else g._a, create_graph)
        return
    nodes = [t._n for t in roots]
    if create_graph:
        with set_grad_enabled(True):
            run(nodes, list(seeds), True, keep)
    else:
        arrays = [s._a for s in seeds]
        del seeds
        run(nodes, arrays, False, keep)


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool | None = None, is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of outputs with respect to inputs, summed over the outputs.

    RuntimeError for an input that the outputs do not depend on, unless allow_unused.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    roots, wanted = _sequence(outputs), _sequence(inputs)
    given = [None] * len(roots) if grad_outputs is None else _sequence(grad_outputs)
    for x in wanted:
        if x._n is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    seeds = [_seed(t, g) for t, g in zip(roots, given, strict=True)]
    targets: dict[Any, Any] = {x._n: None for x in wanted}
    keep = create_graph if retain_graph is None else retain_graph
    nodes = [t._n for t in roots]
    if create_graph:
        with set_grad_enabled(True):
            run(nodes, list(seeds), True, True if retain_graph is None else keep, targets)
    else:
        run(nodes, [s._a for s in seeds], False, keep, targets)
    found: list[Any] = []
    for x in wanted:
        g = targets[x._n]
        if g is None and materialize_grads:
            found.append(wrap(xp_of(x._a).zeros(x._a.shape, x._a.dtype)))
            continue
        if g is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. Set "
                "allow_unused=True if this is the desired behavior."
            )
        found.append(g if g is None or isinstance(g, Tensor) else wrap(np.asarray(g) if isinstance(g, np.generic) else g))  # fmt: skip
    return tuple(found)


def _tensor_backward(
    self: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    inputs: Any = None,
) -> None:  # fmt: skip
    """Sum the gradient of this tensor into the leaves that it was computed from."""
    if gradient is None and inputs is None and not create_graph:
        if self._n is None or self._a.size != 1:
            _seed(self, None)
        run([self._n], [_seed(self, None)._a], False, bool(retain_graph))
        return
    backward(self, gradient, retain_graph, create_graph, inputs)


_METHODS = {"backward": _tensor_backward}
for _name, _method in _METHODS.items():
    setattr(Tensor, _name, _method)
W.update(accumulate=accumulate)

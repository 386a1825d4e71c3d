"""Writing in place: versions, the history of bases and views.

Who writes pays: a write through a view makes the base's node a CopySlices and gives every living view
a new history, so that a tensor's node is always right and reading needs no check.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..devices import ndarray, xp_of
from ..errors import ShapeError
from ..tensor import FREED, SEQ, Leaf, Node, Tensor, W, cell_of, chain_of, new, state, wrap
from .engine import grad, recorded
from .hooks import move_retain
from .modes import set_grad_enabled


class CopySlices:
    """The base after a write through a view: gradient outside the view passes, inside goes to the write."""

    name, grad_name, formula = "copy_slices", "CopySlices", None
    hooked = pick = False
    frees = True

    def __init__(self, inner: Node, chain: list[tuple[Any, Any]], place: int) -> None:
        self.inner, self.chain, self.place = (
            inner,
            chain,
            place,
        )  # place: the view's among the edges
        self.raw: dict[type, Any] = {}

    def glue(self, array_type: type) -> Any:
        """The backward on raw arrays."""

        def call(n: Node, g: Any) -> Any:
            g = np.array(g) if array_type is ndarray else g.copy()
            view = g
            for op, attrs in self.chain:
                view = W["kernel"](op, view)(view, **attrs)
            inner = self.inner
            outside, inner.saved = inner.saved, n.saved
            try:
                rest = list(inner.op.glue(array_type)(inner, view.copy()))
            finally:
                inner.saved = outside  # the outer node alone holds what was saved, and frees it
            first = rest.pop(self.place)
            if first is None:
                view[...] = 0
            else:
                view[...] = _sum_raw(first, view.shape)
            return (g, *rest)

        return call

    def rec(self, n: Node, g: Any) -> Any:
        """The backward on Tensors."""
        ops, view = W["ops"], g
        for op, attrs in self.chain:
            view = op.call(view, **attrs)
        self.inner.saved = (
            n.saved
        )  # stays: the gradient's own graph may lead through the inner node
        rest = list(recorded(self.inner.op, self.inner, view))
        first = rest.pop(self.place)
        patch = ops["mul"](view, -1.0) if first is None else ops["sub"](first, view)
        for i in range(len(self.chain) - 1, -1, -1):  # scatter: the gradient of the view chain
            inside = g
            for op, attrs in self.chain[:i]:
                inside = op.call(inside, **attrs)
            with set_grad_enabled(True):
                probe = wrap(xp_of(g._a).zeros(inside._a.shape, inside._a.dtype)).requires_grad_()
                op, attrs = self.chain[i]
                patch = grad(op.call(probe, **attrs), [probe], patch, create_graph=True)[0]
        return (ops["add"](g, patch), *rest)


def _sum_raw(g: Any, shape: Any) -> Any:
    from .engine import sum_to

    return g if g.shape == shape else sum_to(g, shape, False)


def _maker(t: Tensor) -> str:
    """The function that a tensor with a history came out of."""
    n = t._n.edges[0] if t._n.op.pick else t._n
    return str(n.op.grad_name)


def _check_overlap(a: Any) -> None:
    """RuntimeError where one element in memory stands for several of the array's."""
    if any(k == 0 and n > 1 for k, n in zip(a.strides, a.shape, strict=True)) and a.size:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single "
            f"memory location: got shape {list(a.shape)} with strides "
            f"{[k // a.itemsize for k in a.strides]}. Please clone() the tensor before performing the "
            "operation."
        )


def check_writable(t: Tensor, recording: bool) -> None:
    """RuntimeError for a leaf that requires grad, a view of one, an inference tensor outside of its mode."""
    if t._c is not None and t._c.version is None and not state.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone "
            "to get a normal tensor before doing inplace update."
        )
    if not recording:
        return
    base = t if t._view is None else chain_of(t)[0]
    if type(base._n) is Leaf or type(t._n) is Leaf:
        what = "a leaf Variable" if base is t else "a view of a leaf Variable"
        raise RuntimeError(f"{what} that requires grad is being used in an in-place operation.")
    view = t
    while view._view is not None:
        if view._view[1] is None and (t._n is not None):
            raise RuntimeError(
                f"Output {t.output_nr} of {_maker(t)} is a view and is being modified inplace. This "
                "view is the output of a function that returns multiple views. Such functions do not allow "
                "the output views to be modified inplace. You should replace the inplace operation by an "
                "out-of-place one."
            )
        view = view._view[0]


def inplace(
    op: Any, t: Tensor, args: tuple[Any, ...] = (), attrs: dict[str, Any] | None = None
) -> Tensor:
    """Run an operator whose first tensor is also its result; record it if need be."""
    attrs = attrs or {}
    recording = state.grad or not W["nograd"]
    needs = recording and (
        t._n is not None or any(isinstance(a, Tensor) and a._n is not None for a in args)
    )
    check_writable(t, recording and (t._n is not None or needs))
    a = t._a
    if 0 in a.strides and op.name != "fill":
        _check_overlap(a)
    given = tuple(_same(op, x, a) for x in args)
    first = op.tensors[0]  # a rule that reads the overwritten value gets a copy, as in PyTorch
    old = wrap(a.copy() if needs and first in op.saved else None, t._n)
    arrays = [x._a if isinstance(x, Tensor) else x for x in given]
    if op.into is not None and not op.kernels:
        op.kernel_for(a)  # binds what follows to the array module
    from_types = op.into is not None and type(a) is ndarray and a.dtype.kind in "fc"
    try:
        if from_types and all(not hasattr(x, "dtype") or x.dtype == a.dtype for x in arrays):
            op.into(a, *arrays, **attrs)
        else:
            out = W["kernel"](op, a)(a, *arrays, **attrs)
            if op.keeps:
                out = out[0]
            store(a, out, (t, *given))
    except W["ERRORS"] as e:
        raise _explain(op, t, given, attrs, e) from None
    cell = t._c or cell_of(t)
    if cell.version is not None:
        cell.version += 1
    if needs:
        _rebase(op, t, old, given, attrs, cell)
    return t


def _same(op: Any, x: Any, a: Any) -> Any:
    """An argument in the dtype that the operation is computed in."""
    if op.name == "sub":
        W["refuse_bool"]((x,))
    if not isinstance(x, Tensor):
        return x
    if op.rule in ("promote", "float") and x._a.dtype != a.dtype:
        d = W["result_raw"]([wrap(a), x])
        if d != a.dtype and not dtypes.can_cast(dtypes.OF[d], dtypes.OF[a.dtype]):
            raise RuntimeError(
                f"result type {kind(d)} can't be cast to the desired output type {kind(a.dtype)}"
            )
        return W["ops"]["cast"](x, dtype=a.dtype)
    return x


def kind(raw: Any) -> str:
    """PyTorch's name of a tensor type in messages: Float, Long ..."""
    names = {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte",
             "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16",
             "bool": "Bool", "complex64": "ComplexFloat", "complex128": "ComplexDouble"}  # fmt: skip
    name = dtypes.OF[raw].name
    return names.get(name, name)


def store(a: Any, out: Any, operands: tuple[Any, ...]) -> None:
    """Write a result into an array: same shape after broadcasting, a dtype that may be cast to it."""
    shape = getattr(out, "shape", ())
    if shape != a.shape:
        raise ShapeError(
            f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(shape)}"
        )
    d = getattr(out, "dtype", a.dtype)
    if d != a.dtype and not dtypes.can_cast(dtypes.OF[d], dtypes.OF[a.dtype]):
        taking = [x for x in operands if isinstance(x, (Tensor, bool, int, float, complex))]
        promoted = W["result_raw"](taking)  # NumPy's own differs for Python numbers
        if dtypes.OF[promoted].category < dtypes.OF[d].category:
            promoted = dtypes.default_raw() if d.kind == "f" else d
        raise RuntimeError(
            f"result type {kind(promoted)} can't be cast to the desired output type {kind(a.dtype)}"
        )
    a[...] = out


def _explain(op: Any, t: Tensor, args: Any, attrs: Any, e: Exception) -> Exception:
    shapes = [getattr(x, "shape", ()) for x in args]
    if "broadcast" in str(e) and not isinstance(e, RuntimeError):
        try:
            want = np.broadcast_shapes(tuple(t._a.shape), *(tuple(s) for s in shapes))
        except ValueError:
            pass
        else:
            return ShapeError(
                f"output with shape {list(t._a.shape)} doesn't match the broadcast shape {list(want)}"
            )
    explained: Exception = W["explain"](op, (t, *args), attrs, e)
    return explained


def _rebase(op: Any, t: Tensor, old: Tensor, args: Any, attrs: Any, cell: Any) -> None:
    n: Node = new(Node)
    n.op, n.attrs, n.shape, n.dt, n.seq, n.cell = (
        op,
        attrs or None,
        t._a.shape,
        t._a.dtype,
        next(SEQ),
        cell,
    )
    n.edges = (t._n, *(a._n if isinstance(a, Tensor) else None for a in args))
    n.saved = keep(op, (old, *args), t._a, n.edges)
    n.ver = tuple(
        cell.version
        if s is t._a
        else _version_before(s, old, cell)
        if isinstance(s, Tensor) and s._c is not None
        else 0
        for s in n.saved
    )
    written(t, n, 0, cell)


def written(t: Tensor, n: Node, place: int, cell: Any) -> None:
    """Give a tensor, or what it is a view of, and all living views the history of a write in place."""
    if t._view is not None:
        base, chain = chain_of(t)
        c: Node = new(Node)
        c.op, c.saved, c.attrs, c.ver = CopySlices(n, chain, place), n.saved, None, None
        n.saved = FREED
        c.edges = (base._n, *n.edges[:place], *n.edges[place + 1 :])
        c.shape, c.dt, c.seq, c.cell = base._a.shape, base._a.dtype, next(SEQ), cell
        before, base._n = base._n, c
    else:
        base, before, t._n = t, t._n, n
    move_retain(base, before)
    refresh(base, cell)


def _version_before(s: Tensor, old: Tensor, cell: Any) -> Any:
    """The version that a saved operand had: one that shares the written memory has lost its values."""
    own = cell_of(s)
    shares = s is not old and own is cell and own.version is not None
    return own.version - 1 if shares else own.version


def keep(op: Any, args: Any, y: Any, edges: Any) -> tuple[Any, ...]:
    """What a node keeps, for the paths that do not go through a generated wrapper."""
    named = dict(zip(op.tensors, args, strict=False), y=y)
    out = []
    for s in op.saved:
        if s.endswith(("_shape", "_dtype")) and s[:-6] in op.tensors:
            x = named[s[:-6]]
            a = (
                y
                if isinstance(x, Tensor) and x._a is None
                else x._a
                if isinstance(x, Tensor)
                else np.asarray(x)
            )
            out.append(getattr(a, s[-5:]))
        elif op.together or op.formula or any(edges[i] is not None for i in op.users[s]):
            out.append(named.get(s))
        else:
            out.append(None)
    return tuple(out)


def refresh(base: Tensor, cell: Any) -> None:
    """Give every living view of the base its new history."""
    for r in cell.views:
        v = r()
        if v is None or v is base or v._view is None:
            continue
        root, chain = chain_of(v)
        if root is not base or any(op is None for op, _ in chain):
            continue
        x = base
        for op, attrs in chain:
            w = wrap(W["kernel"](op, x._a)(x._a, **attrs))
            w._n = n = new(Node)
            n.op, n.edges, n.saved = op, (x._n,), keep(op, (x,), None, (x._n,))
            n.attrs, n.ver, n.shape, n.dt = attrs, None, w._a.shape, w._a.dtype
            n.seq, n.cell = next(SEQ), cell
            x = w
        before, v._n = v._n, x._n
        move_retain(v, before)


W.update(inplace=inplace)

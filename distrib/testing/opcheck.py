"""Derived tests: what a record says about its operator is enough to test it. No code per operator.

``check_op("sigmoid")`` runs them all on one operator, ``check_op("sigmoid", "grad")`` one of them;
`CHECKS` names them. Each raises AssertionError with what differs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import grad as gradients
from ..devices import MetaArray
from ..dtypes import BF16, F2
from ..ops.record import OPS, Op, kernel, space
from ..ops.samples import spread
from ..tensor import Tensor, raw, wrap

Sample = tuple[tuple[Any, ...], dict[str, Any]]
_SHAPES = ((3, 4), (4,), (3, 1))
EPS = 1e-6


# ---- samples ------------------------------------------------------------------------------------
def samples(op: Op) -> list[Sample]:
    """The record's own samples, or arrays that broadcast, with values from its domain."""
    if op.samples is not None:
        return [(tuple(arrays), dict(attrs)) for arrays, attrs in op.samples()]
    assert op.domain is not None, f"{op.name} has neither samples nor domain"
    low, high = op.domain
    shapes = _SHAPES if len(op.tensors) > 1 else _SHAPES[:1]
    return [
        (
            tuple(
                spread(*s, lo=low, hi=high, seed=i) for i, s in enumerate(shapes[: len(op.tensors)])
            ),
            {},
        )
    ]


def tree(fn: Callable[[Any], Any], x: Any) -> Any:
    """A function of every array of nested tuples; None stays."""
    if isinstance(x, (tuple, list)):
        return tuple(tree(fn, i) for i in x)
    return None if x is None else fn(x)


def flat(x: Any) -> list[Any]:
    """The entries of nested tuples."""
    return [j for i in x for j in flat(i)] if isinstance(x, (tuple, list)) else [x]


def call(
    op: Op, arrays: Any, attrs: dict[str, Any], leaf: Callable[[Any], Any] = wrap
) -> list[Any]:
    """The results of an operator on Tensors made of arrays, as a list."""
    return flat(op.call(*tree(leaf, arrays), **attrs))


def _close(got: Any, want: Any, what: str, rtol: float = 1e-7, atol: float = 1e-9) -> None:
    got, want = np.asarray(raw(got)), np.asarray(raw(want))
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if got.dtype.kind in "fcV" or want.dtype.kind in "fcV":
        wide = "c16" if "c" in (got.dtype.kind, want.dtype.kind) else "f8"
        np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol, atol, err_msg=what)
    else:
        np.testing.assert_array_equal(got, want, err_msg=what)


def _narrow(a: Any) -> Any:
    to = {np.dtype("f8"): np.dtype("f4"), np.dtype("c16"): np.dtype("c8")}
    return a.astype(to.get(a.dtype, a.dtype))


def _copy(a: Any) -> Any:
    return np.array(a)


# ---- values -------------------------------------------------------------------------------------
def check_complete(op: Op) -> None:
    """The record says enough to be tested, and is used under its own name."""
    assert op.samples is not None or op.domain is not None, "no samples and no domain"
    assert op.ref is not None or op.formula is not None, "no reference"
    assert op.variadic or op.together or len(op.rules) in (0, len(op.tensors)), (
        "a rule per tensor is needed"
    )
    known = {
        *op.tensors,
        *op.attrs,
        *op.keeps,
        *op.outputs,
        "y",
        "want",
        *(["others"] if op.variadic else []),
    }
    known |= {t + s for t in op.tensors for s in ("_shape", "_dtype")}
    for need in op.needs:
        assert set(need) <= known, f"a rule names {set(need) - known}"
    reserved = {"n", "s", "e", "at", "want", "y", "t"} & {
        *op.attrs,
        *op.tensors,
        *op.outputs,
        *op.keeps,
    }
    reserved |= {"g"} & {*op.attrs, *op.saved}
    assert not reserved or not op.grads, (
        f"generated code uses the names {reserved} for other things"
    )


def check_value(op: Op) -> None:
    """Values against the independent reference, in float64."""
    for arrays, attrs in samples(op):
        got = call(op, tree(_copy, arrays), attrs)
        if op.ref is not None:
            wanted = flat(op.ref(*tree(_copy, arrays), **attrs))
        else:
            assert op.formula is not None
            wanted = flat(op.formula(*tree(wrap, arrays), **attrs))
        for i, (a, b) in enumerate(zip(got, wanted)):
            _close(a, b, f"{op.name}{attrs} output {i}")


def check_dtype(op: Op) -> None:
    """float32 stays float32 and agrees with float64; a half precision comes back as one."""
    for arrays, attrs in samples(op):
        wide = call(op, tree(_copy, arrays), attrs)
        low = call(op, tree(_narrow, arrays), attrs)
        for i, (a, b) in enumerate(zip(low, wide)):
            given = "dtype" in attrs or all(
                x is None or x.dtype.kind not in "fc" for x in flat(arrays)
            )
            want = b._a.dtype if given else _narrow(b._a[...]).dtype
            assert a._a.dtype == want, f"{op.name}{attrs} output {i}: {a._a.dtype}, expected {want}"
            size = (
                float(np.abs(b._a[np.isfinite(b._a)]).max(initial=1.0))
                if b._a.dtype.kind in "fc"
                else 1.0
            )
            if b._a.dtype.kind in "fc":
                _close(a, b, f"{op.name}{attrs} output {i} in float32", 2e-4, 2e-5 * size)
        if op.rule is not None and len(op.promote) == len(op.tensors):
            _check_half(op, arrays, attrs, low)


def _check_half(op: Op, arrays: Any, attrs: dict[str, Any], low: list[Any]) -> None:
    """Where float32 gives float32, a half precision gives itself."""
    if any(x is not None and x.dtype.kind == "c" for x in flat(arrays)):
        return
    for half in (F2, BF16):

        def lowered(x: Any, half: Any = half) -> Any:
            return x.astype(half) if x.dtype.kind == "f" else x

        for i, (a, b) in enumerate(zip(call(op, tree(lowered, arrays), attrs), low)):
            want = half if b._a.dtype == np.float32 else b._a.dtype
            assert a._a.dtype == want, f"{op.name}{attrs} output {i}: {a._a.dtype} for {half}"


# ---- gradients --------------------------------------------------------------------------------------
class _Probe:
    """An operator at a point, as a real function of a step along one random direction."""

    def __init__(self, op: Op, arrays: Any, attrs: dict[str, Any]) -> None:
        self.op, self.attrs = op, attrs
        rng = np.random.default_rng(7)
        self.points = flat(tree(_copy, arrays))
        self.arrays = arrays
        wanted = [op.together or op.formula is not None or (i < len(op.rules) and op.rules[i] is not None)
                  for i in range(len(self.points))]  # fmt: skip
        self.wants = [
            w and p is not None and p.dtype.kind in "fc" for w, p in zip(wanted, self.points)
        ]
        self.ways = [self._random(rng, p) if w else None for w, p in zip(self.wants, self.points)]
        _, results = self.run(self.points)
        self.outs = [i for i, r in enumerate(results) if r._n is not None]
        self.low = [results[i]._a for i in self.outs]
        self.weights = [self._random(rng, a).astype(a.dtype) for a in self.low]

    @staticmethod
    def _random(rng: Any, like: Any) -> Any:
        made = rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape)
        return made + 1j * rng.uniform(-1, 1, like.shape) if like.dtype.kind == "c" else made

    def run(self, points: Sequence[Any], record: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves at these points and the results computed from them."""
        leaves: list[Any] = []
        for p, w in zip(points, self.wants):
            t = None if p is None else wrap(np.array(p))
            leaves.append(t.requires_grad_() if w and record and t is not None else t)
        it = iter(leaves)
        results = flat(self.op.call(*tree(lambda _: next(it), _fill(self.arrays)), **self.attrs))
        return leaves, results

    def at(self, step: float) -> list[Any]:
        """The points after a step."""
        return [p if v is None else p + step * v for p, v in zip(self.points, self.ways)]

    def loss(self, step: float) -> float:
        """The weighted sum of all results after a step."""
        _, results = self.run(self.at(step), record=False)
        return _dot([results[i]._a for i in self.outs], self.weights)

    def slopes(self, step: float = 0.0, create_graph: bool = False) -> tuple[list[Any], list[Any]]:
        """The wanted leaves, and the gradient of the loss for each; None where there is none."""
        leaves, results = self.run(self.at(step))
        wanted = [t for t, w in zip(leaves, self.wants) if w]
        outs = [results[i] for i in self.outs]
        weights = [wrap(np.array(w)) for w in self.weights]
        return wanted, list(
            gradients(outs, wanted, weights, create_graph=create_graph, allow_unused=True)
        )

    def directions(self) -> list[Any]:
        """The random direction of each wanted leaf."""
        return [v for v in self.ways if v is not None]


def _fill(x: Any) -> Any:
    """None stays for an absent tensor, anything else is replaced in order."""
    return (
        tuple(_fill(i) for i in x)
        if isinstance(x, (tuple, list))
        else x
        if x is not None
        else _Absent
    )


class _Absent:
    """Stands for an optional tensor that is not given."""


def _dot(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return float(sum(np.real(np.sum(np.conj(y) * x)) for x, y in zip(xs, ys) if x is not None))


def _probes(op: Op) -> list[_Probe]:
    found = [_Probe(op, arrays, attrs) for arrays, attrs in samples(op)]
    return [p for p in found if any(p.wants) and p.outs]


def _undefined(op: Op, run: Callable[[], Any]) -> Any:
    """A rule may say that there is no derivative."""
    try:
        return run()
    except NotImplementedError:
        return None


def check_grad(op: Op | str) -> None:
    """The gradient along a random direction against a central difference."""
    op = _op(op)
    for p in _probes(op):
        found = _undefined(op, p.slopes)
        if found is None:
            continue
        _, slopes = found
        for leaf, g in zip(found[0], slopes):
            if g is not None:
                assert g._a.shape == leaf._a.shape, f"{op.name}: a gradient of shape {g._a.shape}"
                assert g._a.dtype == leaf._a.dtype, f"{op.name}: a gradient of dtype {g._a.dtype}"
        p.ways = _without(p, slopes)
        slopes = [g for g in slopes if g is not None]
        got = _dot([g._a for g in slopes], p.directions())
        step, rtol = (EPS, 2e-5) if all(w.dtype.itemsize >= 8 for w in p.low) else (0.05, 1e-3)
        want = (p.loss(step) - p.loss(-step)) / (2 * step)
        np.testing.assert_allclose(got, want, rtol, 1e-6, err_msg=f"{op.name}{p.attrs}: gradient")


def _without(p: _Probe, slopes: Sequence[Any]) -> list[Any]:
    """Directions of the inputs that have a gradient."""
    it = iter(slopes)
    return [v if w and next(it) is not None else None for v, w in zip(p.ways, p.wants)]


def check_recorded(op: Op) -> None:
    """The gradient on raw arrays equals the one that create_graph records."""
    for p in _probes(op):
        found = _undefined(op, p.slopes)
        if found is None:
            continue
        for a, b in zip(found[1], p.slopes(create_graph=True)[1]):
            if a is None or b is None:
                present = b if a is None else a
                assert present is None or not np.any(present._a), (
                    f"{op.name}{p.attrs}: one gradient is None"
                )
            else:
                _close(b, a, f"{op.name}{p.attrs}: recorded gradient", 1e-8, 1e-10)


def check_double(op: Op) -> None:
    """The gradient of the gradient along a random direction against a central difference."""
    for p in _probes(op):
        found = _undefined(op, functools.partial(p.slopes, create_graph=True))
        if found is None:
            continue
        leaves, slopes = found
        rng = np.random.default_rng(11)
        pairs = [(g, p._random(rng, g._a)) for g in slopes if g is not None and g._n is not None]
        if not pairs:
            continue
        ws = [wrap(np.array(w)) for _, w in pairs]
        second = gradients([g for g, _ in pairs], leaves, ws, allow_unused=True)
        got = _dot([None if s is None else s._a for s in second], p.directions())
        which = [g is not None and g._n is not None for g in slopes]

        def inner(
            step: float, p: _Probe = p, which: list[bool] = which, pairs: Any = pairs
        ) -> float:
            made = p.slopes(step)[1]
            return _dot([g._a for g, k in zip(made, which) if k], [w for _, w in pairs])

        want = (inner(EPS) - inner(-EPS)) / (2 * EPS)
        np.testing.assert_allclose(
            got, want, 5e-5, 2e-6, err_msg=f"{op.name}{p.attrs}: second derivative"
        )


# ---- layouts, devices, kernels -------------------------------------------------------------------------
def _strided(a: Any) -> Any:
    """The same values, every second element of a larger array in Fortran order."""
    big = np.zeros(tuple(2 * n for n in a.shape), a.dtype, order="F")
    view = big[(..., *(slice(None, None, 2),) * a.ndim)]
    view[...] = a
    return view


def check_layout(op: Op) -> None:
    """Strided inputs give what contiguous ones give, and no input is changed."""
    for arrays, attrs in samples(op):
        plain = call(op, tree(_copy, arrays), attrs)
        odd = tree(_strided, arrays)
        for i, (a, b) in enumerate(zip(call(op, odd, attrs), plain)):
            _close(a, b, f"{op.name}{attrs} output {i} of strided inputs", 1e-12, 1e-13)
        for before, after in zip(flat(arrays), flat(odd)):
            if before is not None:
                np.testing.assert_array_equal(after, before, err_msg=f"{op.name} changed an input")


def check_small(op: Op) -> None:
    """Elementwise operators take scalars and empty arrays; broadcasting is NumPy's."""
    if op.scalar is None:
        return
    for arrays, attrs in samples(op):
        shape = np.broadcast_shapes(*(x.shape for x in arrays if x is not None))
        whole = [None if a is None else np.broadcast_to(a, shape) for a in arrays]
        full = call(op, tree(_copy, arrays), attrs)[0]._a
        _close(
            call(op, tuple(whole), attrs)[0], full, f"{op.name} of expanded inputs", 1e-12, 1e-13
        )
        ends = tuple(None if a is None else np.array(a.reshape(-1)[-1]) for a in whole)
        one = call(op, ends, attrs)[0]._a
        assert (one.shape, type(one)) == ((), np.ndarray), f"{op.name} of scalars gives {one!r}"
        _close(one, full.reshape(-1)[-1], f"{op.name} of scalars", 1e-6, 1e-7)
        none = call(op, tuple(None if a is None else a.reshape(-1)[:0] for a in whole), attrs)[0]._a
        found = (none.shape, none.dtype)
        assert found == ((0,), full.dtype), f"{op.name} of empty arrays gives {none!r}"


def check_inplace(op: Op) -> None:
    """The in-place method writes what the operator returns, and returns its tensor."""
    if not op.inplace:
        return
    for arrays, attrs in samples(op):
        want = call(op, tree(_copy, arrays), attrs)[0]
        if want._a.shape != arrays[0].shape:
            arrays = (np.array(np.broadcast_to(arrays[0], want._a.shape)), *arrays[1:])
        t, *rest = tree(wrap, tree(_copy, arrays))
        result = getattr(t, op.name + "_")(*rest, **attrs)
        assert result is t, f"{op.name}_ does not return its tensor"
        _close(t._a.astype(want._a.dtype), want, f"{op.name}_", 1e-12, 1e-13)
        assert t._version == 1, f"{op.name}_ left version {t._version}"


def check_meta(op: Op) -> None:
    """Shapes and dtypes without data are those with data."""
    for arrays, attrs in samples(op):
        real = call(op, tree(_copy, arrays), attrs)
        hollow = call(op, arrays, attrs, lambda a: wrap(MetaArray(a.shape, a.dtype)))
        for i, (a, b) in enumerate(zip(hollow, real)):
            assert type(a._a) is MetaArray, (
                f"{op.name}{attrs} output {i} is a {type(a._a).__name__}"
            )
            got, want = (a._a.shape, a._a.dtype), (b._a.shape, b._a.dtype)
            assert got == want, f"{op.name}{attrs} output {i} on meta: {got}, expected {want}"


def check_kernels(op: Op) -> None:
    """The fast CPU kernel against the generic one, and a composite's kernel against its formula."""
    for arrays, attrs in samples(op):
        first = next(a for a in flat(arrays) if a is not None)
        args = tree(_copy, arrays[0] if op.variadic else arrays)
        fast = flat(kernel(op, first)(*args, **attrs))
        if op.cpu is not None:
            # what is kept for the backward is each kernel's own; the gradient checks see it
            returned = len(op.outputs) if op.keeps and op.outputs else 1 if op.keeps else None
            generic = space(op.kernel.__module__, np.ndarray)[op.name + "_generic"]
            for i, (a, b) in enumerate(zip(fast[:returned], flat(generic(*args, **attrs)))):
                if a is not None:
                    _close(a, b, f"{op.name}{attrs} kernel result {i}", 1e-6, 1e-8)
        if op.formula is not None:
            for i, (a, b) in enumerate(zip(fast, flat(op.formula(*tree(wrap, args), **attrs)))):
                _close(a, b, f"{op.name}{attrs} formula result {i}", 1e-7, 1e-9)


CHECKS: dict[str, Callable[[Op], None]] = {
    "complete": check_complete, "value": check_value, "dtype": check_dtype, "grad": check_grad,
    "recorded": check_recorded, "double": check_double, "layout": check_layout, "small": check_small,
    "inplace": check_inplace, "meta": check_meta, "kernels": check_kernels,
}  # fmt: skip


def _op(op: Op | str) -> Op:
    if isinstance(op, str):
        if op not in OPS:
            raise ValueError(f"no operator is named {op!r}")
        return OPS[op]
    return op


def check_op(op: Op | str, check: str | None = None) -> None:
    """Run one derived test on an operator, or all of them.

    >>> check_op("sigmoid")
    """
    found = _op(op)
    for name in [check] if check else CHECKS:
        CHECKS[name](found)

"""One formula per optimizer, run over all parameters of a group at once.

A subclass writes `_formula(m, h, p, g, *state)`: the new parameter and state from the old ones,
with operators and the functions of ``m`` only. It is run on flat blocks of raw arrays (small
parameters gathered into one block, large ones cut so that they stay in the cache), or on Tensors
where ``differentiable=True`` asks for a recorded step. The state of gathered parameters lies in
one array that their state Tensors are views of: a step over many is a handful of array calls.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from .. import config
from ..autograd import enable_grad
from ..devices import device_of, ndarray, xp_of
from ..dtypes import ACCUMULATE, REAL, Array, default_raw
from ..meta import MetaArray
from ..tensor import Tensor, wrap
from .optimizer import Closure, Optimizer, check_capturable, number, run_closure

BLOCK = 16384  # elements of a block on the CPU: a dozen float32 temporaries stay in the L2 cache
GPU_BLOCK = 1 << 20  # on a GPU a launch costs more than copying a gradient of this size
F4, F8 = np.dtype("f4"), np.dtype("f8")


class Part:
    """One parameter of a bucket: where it lies, and which of the bucket's gradients is its own."""

    __slots__ = ("array", "entry", "flat", "index", "order", "param")

    def __init__(self, param: Tensor, entry: dict[str, Any], index: int) -> None:
        self.param, self.array, self.entry, self.index = param, param._a, entry, index
        self.order, self.flat = flat_view(self.array)


class Block:
    """What one run of the formula covers: one parameter in place, or several gathered ones."""

    __slots__ = ("gather", "part", "state")

    def __init__(self, parts: list[Part], state: list[Array]) -> None:
        self.state = state
        self.part = parts[0] if len(parts) == 1 and parts[0].flat is not None else None
        self.gather: list[tuple[Part, int, int]] = []
        at = 0
        for part in parts:
            self.gather.append((part, at, at + part.array.size))
            at += part.array.size


class Bucket:
    """Parameters of one group that share dtype, device and the values of their scalars."""

    __slots__ = (
        "blocks",
        "cache",
        "compute",
        "dt",
        "expected",
        "fresh",
        "grads",
        "names",
        "parts",
        "real",
        "scalars",
        "xp",
    )

    def __init__(self, a: Array, names: tuple[str, ...], fresh: bool) -> None:
        self.names, self.fresh, self.dt, self.xp = names, fresh, a.dtype, xp_of(a)
        self.parts: list[Part] = []
        self.grads: list[Array] = []
        self.real, self.compute = REAL.get(a.dtype), ACCUMULATE.get(a.dtype)
        self.blocks: list[Block] = []
        self.scalars: Array = None  # (scalars, parameters) on the host
        self.expected = b""  # the bytes of scalars, to notice a write from outside
        self.cache: Any = None  # what a kernel keeps between steps


class Plan:
    """The buckets of one group, with everything that must still be the same at the next step."""

    __slots__ = ("buckets", "idle", "names", "params", "rows", "state")

    def __init__(self, params: list[Tensor], names: tuple[str, ...], state: Any) -> None:
        self.params, self.names, self.state = list(params), names, state
        self.buckets: list[Bucket] = []
        self.idle: list[Tensor] = []
        self.rows: list[tuple[Any, ...]] = []  # parameter, array, state, arrays of state, gradients


def flat_view(a: Array) -> tuple[tuple[int, ...] | None, Array]:
    """(order of dims, 1-D view in memory order): None, view in C order; None, None with gaps."""
    if a.flags.c_contiguous:
        return None, a.reshape(-1)
    strides = a.strides
    order = tuple(sorted(range(a.ndim), key=lambda d: -strides[d]))
    t = a.transpose(order)
    return (order, t.reshape(-1)) if t.flags.c_contiguous else (None, None)


def shaped(flat: Array, like: Array, order: tuple[int, ...] | None) -> Array:
    """A flat array seen in another's shape, with its dims in the same order in memory."""
    if order is None:
        return flat.reshape(like.shape)
    back = sorted(range(like.ndim), key=order.__getitem__)
    return flat.reshape([like.shape[d] for d in order]).transpose(back)


def scalar_dtype() -> Any:
    """The dtype of ``step``: float64 where that is the default, else float32."""
    return F8 if default_raw() == F8 else F4


class Elementwise(Optimizer):
    """Base of the optimizers whose update is elementwise over parameter, gradient and state."""

    _scalars: ClassVar[tuple[str, ...]] = ("step",)  # state that is one number per parameter

    # -- what a subclass gives
    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state that has the parameter's shape."""
        raise NotImplementedError

    def _initial(self, group: dict[str, Any], name: str) -> float:
        """What a state or scalar starts with."""
        return 0.0

    def _advance(
        self, group: dict[str, Any], n: Callable[[Any], Any], now: dict[str, Any], fresh: bool
    ) -> SimpleNamespace:
        """Move the scalars in ``now`` one step on; returns the constants of the formula."""
        raise NotImplementedError

    @staticmethod
    def _formula(m: Any, h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """The new parameter, and the new state."""
        raise NotImplementedError

    def _kernel(self, group: dict[str, Any], bucket: Bucket) -> bool:
        """Do a bucket's step in one compiled call; False if there is no kernel for it."""
        return False

    # -- the step
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans: dict[int, Plan] = {}
        for entry in self.state.values():  # old checkpoints keep numbers in place of Tensors
            for name in self._scalars if isinstance(entry, dict) else ():
                if name in entry and not isinstance(entry[name], Tensor):
                    entry[name] = wrap(np.array(entry[name], scalar_dtype()))

    def step(self, closure: Closure = None) -> Any:
        """Update all parameters that have a gradient; returns what ``closure`` returned."""
        loss = None if closure is None else run_closure(closure)
        plans = self.__dict__.get("_plans")
        if plans is None:
            plans = self._plans = {}
        for i, group in enumerate(self.param_groups):
            if group["differentiable"]:
                self._step_recorded(group)
                continue
            plan = plans.get(i)
            if plan is None or not self._holds(plan, group):
                plan = plans[i] = self._make_plan(group)
            for bucket in plan.buckets:
                if not self._kernel(group, bucket):
                    self._run(group, bucket)
                bucket.fresh = False
                bucket.grads.clear()
                for part in bucket.parts:
                    part.param._bump()
        return loss

    def _holds(self, plan: Plan, group: dict[str, Any]) -> bool:
        """Whether a plan is still right; if so its buckets have this step's gradients."""
        state, params = self.state, group["params"]
        if (
            plan.state is not state
            or len(params) != len(plan.params)
            or plan.names != self._names(group)
        ):
            return False
        if not all(map(is_, params, plan.params)):
            return False
        for p in plan.idle:
            if p.grad is not None:
                return False
        for bucket in plan.buckets:
            bucket.grads.clear()
            if bucket.scalars is not None and bucket.scalars.tobytes() != bucket.expected:
                return False
        lookup = state.get
        try:
            for p, a, entry, kept, grads in plan.rows:
                g = p.grad
                if g is None or p._a is not a:
                    return False
                if kept:
                    if lookup(p) is not entry:
                        return False
                    for name, array in kept:
                        if entry[name]._a is not array:
                            return False
                g = g._a
                if g.dtype is not a.dtype or g.shape != a.shape:
                    g = fitting(p, g)
                grads.append(g)
        except (AttributeError, KeyError):  # state that somebody removed or replaced
            return False
        return True

    def _make_plan(self, group: dict[str, Any]) -> Plan:
        check_capturable([group], self._capturable_what)
        names = self._names(group)
        plan = Plan(group["params"], names, self.state)
        found: dict[Any, Bucket] = {}
        for p in group["params"]:
            if p.grad is None:
                plan.idle.append(p)
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients{self._sparse_hint}"
                )
            entry = self.state[p] if names or self._scalars else {}
            fresh = any(entry.get(name) is None for name in names)
            values = tuple(
                number(entry[s]) if s in entry else self._initial(group, s) for s in self._scalars
            )
            device = device_of(p._a)
            key = (p._a.dtype, device.type, device.index, fresh, values)
            bucket = found.get(key)
            if bucket is None:
                bucket = found[key] = Bucket(p._a, names, fresh)
                plan.buckets.append(bucket)
            bucket.grads.append(fitting(p, p.grad._a))
            bucket.parts.append(Part(p, entry, len(bucket.parts)))
        for key, bucket in found.items():
            self._lay_out(group, bucket, key[-1])
            names_kept = (*self._scalars, *names)
            for part in bucket.parts:
                kept = [(name, part.entry[name]._a) for name in names_kept]
                plan.rows.append((part.param, part.array, part.entry, kept, bucket.grads))
        return plan

    def _lay_out(self, group: dict[str, Any], bucket: Bucket, values: tuple[float, ...]) -> None:
        """Give a bucket's parameters their state, and cut it into blocks."""
        parts = bucket.parts
        if self._scalars:
            rows = np.empty((len(values), len(parts)), scalar_dtype())
            rows[...] = np.array(values)[:, None]
            bucket.scalars, bucket.expected = rows, rows.tobytes()
            for j, part in enumerate(parts):
                for i, name in enumerate(self._scalars):
                    part.entry[name] = wrap(rows[i, j : j + 1].reshape(()))
        limit = BLOCK if type(parts[0].array) in (ndarray, MetaArray) else GPU_BLOCK
        waiting: list[Part] = []
        size = 0
        for part in parts:
            if part.flat is None or part.array.size >= limit // 4:
                bucket.blocks.append(self._block(group, bucket, [part]))
                continue
            if waiting and size + part.array.size > limit:
                bucket.blocks.append(self._block(group, bucket, waiting))
                waiting, size = [], 0
            waiting.append(part)
            size += part.array.size
        if waiting:
            bucket.blocks.append(self._block(group, bucket, waiting))

    def _block(self, group: dict[str, Any], bucket: Bucket, parts: list[Part]) -> Block:
        """A block with one flat array per state; that of a single large part stays where it is."""
        total = sum(part.array.size for part in parts)
        state = []
        for name in bucket.names:
            whole = None
            if len(parts) == 1:
                whole = usable(parts[0], parts[0].entry.get(name))
            if whole is None:
                whole = bucket.xp.empty(total, bucket.dt)
                at = 0
                for part in parts:
                    flat = whole[at : at + part.array.size]
                    at += part.array.size
                    view = shaped(flat, part.array, part.order)
                    before = part.entry.get(name)
                    if before is None:
                        value = self._initial(group, name)
                        (flat if bucket.real is None else flat.view(bucket.real))[...] = value
                    else:
                        view[...] = fitting(part.param, before._a, f"the state {name!r}")
                    part.entry[name] = wrap(view)
            state.append(whole)
        return Block(parts, state)

    def _constants(self, group: dict[str, Any], bucket: Bucket) -> SimpleNamespace:
        """The constants of this step; the scalars of the bucket are moved on."""
        now: dict[str, Any] = {}
        if bucket.scalars is not None:
            now = dict(zip(self._scalars, bucket.scalars[:, 0].tolist(), strict=True))
        h = self._advance(group, number, now, bucket.fresh)
        if bucket.scalars is not None:
            for i, name in enumerate(self._scalars):
                bucket.scalars[i].fill(now[name])
            bucket.expected = bucket.scalars.tobytes()
        return h

    def _run(self, group: dict[str, Any], bucket: Bucket) -> None:
        h = self._constants(group, bucket)
        if type(bucket.parts[0].array) is MetaArray:
            return
        with np.errstate(all="ignore"):
            for block in bucket.blocks:
                if block.part is not None:
                    self._run_single(bucket, block.part, h, block.state)
                else:
                    self._run_gathered(bucket, block, h)

    def _run_single(self, bucket: Bucket, part: Part, h: Any, state: list[Array]) -> None:
        p, g = part.flat, bucket.grads[part.index]
        g = (g if part.order is None else g.transpose(part.order)).reshape(-1)
        if bucket.real is not None:
            p, g, state = (
                p.view(bucket.real),
                g.view(bucket.real),
                [s.view(bucket.real) for s in state],
            )
        step = BLOCK if type(p) is ndarray else p.size or 1
        for at in range(0, p.size, step):
            cut = slice(at, at + step)
            p[cut] = self._apply(bucket, h, p[cut], g[cut], [s[cut] for s in state])

    def _run_gathered(self, bucket: Bucket, block: Block, h: Any) -> None:
        grads, concatenate, state = bucket.grads, bucket.xp.concatenate, block.state
        g = concatenate([memory(part, grads[part.index]) for part, _, _ in block.gather])
        p = concatenate([memory(part, part.array) for part, _, _ in block.gather])
        if bucket.real is not None:
            p, g, state = (
                p.view(bucket.real),
                g.view(bucket.real),
                [s.view(bucket.real) for s in state],
            )
        p = self._apply(bucket, h, p, g, state)
        if bucket.real is not None:
            p = p.view(bucket.dt)
        for part, start, end in block.gather:
            if part.flat is not None:
                part.flat[...] = p[start:end]
            else:
                part.array[...] = p[start:end].reshape(part.array.shape)

    def _apply(self, bucket: Bucket, h: Any, p: Array, g: Array, state: list[Array]) -> Array:
        """Run the formula on a block, write its state; returns the new parameter values."""
        if bucket.compute is None:
            new = self._formula(bucket.xp, h, p, g, *state)
        else:  # half precision: in float32, rounded once
            up = [x.astype(bucket.compute) for x in (p, g, *state)]
            new = self._formula(bucket.xp, h, *up)
        for old, value in zip(state, new[1:], strict=True):
            old[...] = value
        return new[0]

    def _fill_state(self, group: dict[str, Any], p: Tensor) -> tuple[bool, dict[str, Any]]:
        """(whether state was missing, the complete state of one parameter)."""
        names = self._names(group)
        entry = self.state[p] if names or self._scalars else {}
        for name in self._scalars:
            if name not in entry:
                entry[name] = wrap(np.array(self._initial(group, name), scalar_dtype()))
        missing = [name for name in names if entry.get(name) is None]
        for name in missing:
            a, value = xp_of(p._a).empty(p._a.shape, p._a.dtype), self._initial(group, name)
            a[...] = complex(value, value) if a.dtype.kind == "c" else value
            entry[name] = wrap(a)
        return bool(missing), entry

    # -- what messages of single optimizers differ in
    _capturable_what: ClassVar[str] = "params and state_steps"
    _sparse_hint: ClassVar[str] = ""

    # -- differentiable=True
    def _step_recorded(self, group: dict[str, Any]) -> None:
        """The same formula on Tensors, so that the step has a history."""
        names = self._names(group)
        for p in group["params"]:
            if p.grad is None:
                continue
            fresh, entry = self._fill_state(group, p)
            with enable_grad():
                now = {name: number(entry[name]) for name in self._scalars}
                h = self._advance(group, lambda x: x, now, fresh)
                operands = [p, p.grad, *(entry[name] for name in names)]
                if p.is_complex():
                    operands = [x.view_as_real() for x in operands]
                new = self._formula(TENSORS, h, *operands)
                if p.is_complex():
                    new = tuple(x.view_as_complex() for x in new)
                p.copy_(new[0])
            for name, value in zip(names, new[1:], strict=True):
                entry[name] = value
            for name, value in now.items():
                entry[name] = wrap(np.array(number(value), scalar_dtype()))


def memory(part: Part, a: Array) -> Array:
    """An array's elements in the order in which the part's parameter has them in memory."""
    return a.ravel() if part.order is None else a.transpose(part.order).ravel()


def usable(part: Part, before: Any) -> Array:
    """The flat view of a state Tensor that lies as its parameter; None if it must be copied."""
    if before is None or part.flat is None or before._a.dtype != part.array.dtype:
        return None
    if type(before._a) is not type(part.array) or before._a.shape != part.array.shape:
        return None
    order, flat = flat_view(before._a)
    return flat if order == part.order and before._a.flags.writeable else None


def fitting(p: Tensor, g: Array, what: str = "the gradient") -> Array:
    """An array of a parameter's shape and dtype; RuntimeError if the shapes differ."""
    a = p._a
    if g.shape != a.shape:
        raise RuntimeError(
            f"{what} of a parameter has another shape; expected {tuple(a.shape)}, got "
            f"{tuple(g.shape)}"
        )
    if type(g) is not type(a):
        raise RuntimeError(
            f"{what} of a parameter is on another device; expected {device_of(a)}, got "
            f"{device_of(g)}"
        )
    return g if g.dtype == a.dtype else g.astype(a.dtype)


# The functions of `m` for Tensors
TENSORS = SimpleNamespace(
    sqrt=lambda x: x.sqrt(),
    abs=lambda x: x.abs(),
    sign=lambda x: x.sign(),
    maximum=lambda x, y: x.maximum(y),
    clip=lambda x, low, high: x.clamp(low, high),
    where=lambda c, value, x: x.masked_fill(c, value),
)


def kernel_lists(bucket: Bucket, kernel: Any) -> list[Any]:
    """[kernel, parameters, state by state] of a compiled step; empty where none serves."""
    parts = bucket.parts
    if kernel is None or not config.get("DISTRIB_KERNELS") or bucket.dt not in (F4, F8):
        return []
    if any(type(part.array) is not ndarray or part.flat is None for part in parts):
        return []
    state = [[part.entry[name]._a for part in parts] for name in bucket.names]
    return [kernel, [part.array for part in parts], *state]

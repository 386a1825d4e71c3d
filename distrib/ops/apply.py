"""From a record to the function that users call: one specialised wrapper per operator.

The source is generated: no ``*args``, no loop, no dictionary in the common case. A generic
``apply(op, tensors, attrs)`` serves operators of several outputs or any number of tensors.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import ndarray
from ..dtypes import F4, FLOAT, OF
from ..tensor import SEQ, Node, Tensor, W, cell_of, new, raw, register_view, state, wrap
from . import promote
from .explain import explain
from .record import Op, kernel

NUM = frozenset((int, float, bool, complex))
ERRORS = (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError)


# ---- the source of a wrapper --------------------------------------------------------------------
def signature(op: Op) -> str:
    """Tensors, attributes, then what expand() handles and ``out``."""
    parts: list[str] = []
    for name in [*op.tensors, *op.attrs]:
        if name not in op.defaults and any("=" in p for p in parts) and "*" not in parts:
            parts.append("*")
        parts.append(f"{name}={op.defaults[name]!r}" if name in op.defaults else name)
    parts += [f"{name}={value!r}" for name, value in op.extra.items()]
    return ", ".join(parts + (["out=None"] if op.out else []))


def source(op: Op, check: bool = True) -> str:
    """The wrapper's text; check=False leaves out the test for interceptors."""
    ts, n = op.tensors, len(op.tensors)
    args = f"({', '.join(ts)},)"
    attrs = "{" + ", ".join(f"{a!r}: {a}" for a in op.attrs) + "}"
    promoting = op.rule in ("promote", "float", "bool")
    two = promoting and n == 2 and not op.optional and len(op.promote) == 2 and 1 in op.numbers
    slow = f"promoted(OP, {args}, {attrs})"
    unpack = [f"x{i} = {t}._a" + (f" if {t} is not None else None" if t in op.optional else "") for i, t in enumerate(ts)]  # fmt: skip
    nodes = [f"n{i} = {t}._n" + (f" if {t} is not None else None" if t in op.optional else "") for i, t in enumerate(ts)]  # fmt: skip
    out = [f"def {op.name}({signature(op)}):"]
    special = [f"{k} is not {v!r}" if v is None or v is True or v is False else f"{k} != {v!r}" for k, v in op.extra.items()]  # fmt: skip
    special += ["out is not None"] if op.out else []
    if special:
        extras = ", ".join(f"{k}={k}" for k in op.extra)
        into = "out" if op.out else "None"
        out.append(
            f"  if {' or '.join(special)}: return extended(OP, {args}, {attrs}, dict({extras}), {into})"
        )
    if "dim" in op.attrs:
        out.append("  if type(dim) is list: dim = tuple(dim)")
    if two:
        ok = "x0.dtype.char in 'fdFD'"  # half precisions are computed in float32 and rounded once
        if op.rule != "float":
            ok += " or kind is int and x0.dtype.kind == 'i'"
        out += [
            f"  kind = type({ts[1]})",
            "  if kind is float or kind is int:",
            f"    try: {unpack[0]}",
            f"    except AttributeError: return {slow}",
            f"    x1 = {ts[1]}; {nodes[0]}; n1 = None",
            f"    if not ({ok}): return {slow}",
            "  else:",
            f"    try: {'; '.join(unpack)}",
            f"    except AttributeError: return {slow}",
            "    if x0.dtype is not x1.dtype" + (" or x0.dtype.char not in 'fdFD'" if op.rule == "float" else " or x0.dtype.char in 'eE'") + f": return {slow}",
            f"    {'; '.join(nodes)}",
        ]  # fmt: skip
    else:
        fail = f"return {slow}" if promoting else f"raise not_tensors(OP, {args}) from None"
        out += [f"  try: {'; '.join(unpack)}", f"  except AttributeError: {fail}"]
        tests = []
        if promoting:
            first = op.promote[0]
            some = list(op.promote[1:])
            tests = [f"x{i} is not None and x{first}.dtype is not x{i}.dtype" if ts[i] in op.optional else f"x{first}.dtype is not x{i}.dtype" for i in some]  # fmt: skip
            tests.append(
                f"x{first}.dtype.char " + ("not in 'fdFD'" if op.rule == "float" else "in 'eE'")
            )
        elif op.rule == "math":
            tests = ["x0.dtype.char in 'eE'"]
            slow = f"lowered(OP, {args}, {attrs})"
        if tests:
            out.append(f"  if {' or '.join(tests)}: return {slow}")
        if op.grads or op.view:
            out.append(f"  {'; '.join(nodes)}")
    if check:  # after promotion: a trace sees casts as calls of their own
        out.append(f"  if icept: return intercepted(OP, {args}, {attrs})")
    call = ", ".join([f"x{i}" for i in range(n)] + [f"{a}={a}" for a in op.attrs])
    kernel_of = "x0" if ts and ts[0] not in op.optional else "x1"
    out += [
        f"  try: out_ = (K if type({kernel_of}) is ndarray else kernel_of_(OP, {kernel_of}))({call})",
        f"  except ERRORS as e: raise explain(OP, {args}, {attrs}, e) from None",
    ]
    if op.keeps:
        out.append(f"  out_, {', '.join(op.keeps)} = out_")
    out += [
        f"  if type(out_) is not ndarray: out_ = fix(out_, {kernel_of})",
        "  t = new(Tensor); t._a = out_; t._grad = t._c = t._view = None",
    ]
    if op.view:
        shares = "out_.base is (x0 if x0.base is None else x0.base) or type(out_) is not ndarray or out_ is x0"
        out += [
            f"  if {shares}:" if op.view == "maybe" else "  if True:",
            f"    c = t._c = {ts[0]}._c or cell_of({ts[0]})",
            f"    if not nograd or state.grad: t._view = ({ts[0]}, OP, {attrs}); c.views.append(ref(t)); c.views[c.limit:] and forget(c)",
        ]
    inferred = "    if nograd and state.inference: inferred(t)"
    if not op.grads:
        return "\n".join([*out, "  t._n = None", inferred[2:], "  return t"])
    none = " and ".join(f"n{i} is None" for i in range(n))
    if op.cast:
        none = f"({none} or out_.dtype.kind in 'biu')"
    out += [
        f"  if {none} or nograd and not state.grad:",
        "    t._n = None",
        inferred,
        "    return t",
        f"  n = t._n = new(Node); n.op = OP; n.edges = ({', '.join(f'n{i}' for i in range(n))},)",
        f"  n.saved = {saved_source(op)}; n.shape = out_.shape; n.dt = out_.dtype; n.seq = next(SEQ)",
        f"  n.attrs = {attrs if op.attrs else 'None'}; n.ver = {version_source(op, two)}; n.cell = None",
    ]
    if op.view:
        out.append("  if t._c is not None: n.cell = t._c")
    return "\n".join([*out, "  return t"])


def version_source(op: Op, two: bool) -> str:
    """What the node notes of the versions of what it keeps; None where no version exists."""
    names = [n for n in op.saved if n in op.tensors]
    if not names:
        return "None"
    safe = [
        f"({n} is None or {n}._c is None)" if n in op.optional else f"{n}._c is None" for n in names
    ]
    ver = f"None if {' and '.join(safe)} else versions({', '.join(names)})"
    if two and op.tensors[1] in names:
        rest = [n for n in names if n != op.tensors[1]]
        only = " and ".join(f"{n}._c is None" for n in rest) or "True"
        ver = f"(None if {only} else versions({', '.join(names)})) if kind in NUM else ({ver})"
    return ver


def saved_source(op: Op) -> str:
    """What the node keeps under each name: nothing if no gradient that uses it is wanted."""
    parts = []
    for n in op.saved:
        if n.endswith(("_shape", "_dtype")) and n[:-6] in op.tensors:
            i = op.tensors.index(n[:-6])
            value = f"x{i}.{n[-5:]}"
            parts.append(f"(None if x{i} is None else {value})" if n[:-6] in op.optional else value)
            continue
        value = "out_" if n == "y" else n
        if op.together or op.formula or len(op.users[n]) == len(op.tensors):
            parts.append(value)
        else:
            wanted = " or ".join(f"n{i} is not None" for i in op.users[n])
            parts.append(f"{value} if {wanted} else None")
    return "(" + "".join(p + ", " for p in parts) + ")"


def compile_source(text: str, name: str, **cells: Any) -> Any:
    """Compile a function whose free names are closure cells; its globals are the shared W."""
    scope: dict[str, Any] = {}
    lines = "".join(f" {line}\n" for line in text.split("\n"))
    exec(
        compile(f"def make({', '.join(cells)}):\n{lines} return {name}", f"<{name}>", "exec"),
        W,
        scope,
    )
    made = scope["make"](**cells)
    made.__qualname__ = name  # Python's own messages about arguments say it
    return made


def build(op: Op) -> None:
    """Compile an operator's wrapper and put it wherever its stub was published."""
    k = op.kernels.get(ndarray) or op.kernel_for(np.empty(0))
    if op.variadic or op.outputs:
        op.call, op.generic = many(op, True), many(op, False)
    else:
        op.call = compile_source(source(op), op.name, OP=op, K=k)
        op.generic = compile_source(source(op, check=False), op.name, OP=op, K=k)
    for f in (op.call, op.generic):
        vars(f)["op"] = op
    for holder, name in op.places:
        current = holder.__dict__.get(name) if isinstance(holder, type) else holder.get(name)
        if getattr(current, "op", None) is op:
            if isinstance(holder, type):
                setattr(holder, name, op.call)
            else:
                holder[name] = op.call


# ---- the generic form -----------------------------------------------------------------------------
def many(op: Op, check: bool) -> Any:
    """The wrapper of an operator with several outputs or any number of tensors."""
    order, required = [*op.tensors, *op.attrs, *op.extra], len(op.tensors)

    def bind(args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        values = dict(zip(order, args, strict=False))
        if len(args) > len(order):
            raise TypeError(f"{op.name}() takes {len(order)} arguments but {len(args)} were given")
        for k, v in kwargs.items():
            if k not in order:
                raise TypeError(f"{op.name}() got an unexpected keyword argument '{k}'")
            values[k] = v
        for k in order:
            if k not in values:
                if k not in op.defaults and k not in op.extra:
                    raise TypeError(f"{op.name}() missing required argument '{k}'")
                values[k] = op.defaults[k] if k in op.defaults else op.extra[k]
        tensors = [values[k] for k in order[:required]]
        if op.variadic:
            tensors = list(tensors[0])
        attrs = {k: tuple(values[k]) if type(values[k]) is list else values[k] for k in op.attrs}
        return tuple(tensors), attrs, {k: values[k] for k in op.extra}

    def call(*args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None) if op.out else None
        tensors, attrs, extra = bind(args, kwargs)
        if out is not None or any(extra[k] is not v and extra[k] != v for k, v in op.extra.items()):
            return extended(op, (tensors,) if op.variadic else tensors, attrs, extra, out)
        return apply(op, tensors, attrs, check)

    return call


def apply(op: Op, tensors: tuple[Any, ...], attrs: dict[str, Any], check: bool = True) -> Any:
    """Run one operator on any number of tensors, with any number of outputs, and record it."""
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor) and not (
            t is None and not op.variadic and op.tensors[i] in op.optional
        ):
            if op.rule in ("promote", "float", "bool") and not op.variadic:
                return promote.promoted(op, tensors, attrs)
            raise promote.not_tensor(op, t, i)
    if op.rule:
        tensors, low = _common(op, tensors)
        if low is not None:
            return promote.lower(apply(op, tensors, attrs, check), low)
    if check and W["icept"]:
        return intercepted(op, (tensors,) if op.variadic else tensors, attrs)
    arrays = [raw(t) for t in tensors]
    lead: Any = next((a for a in arrays if a is not None), None)
    try:
        result = kernel(op, lead)(*arrays, **attrs)
    except ERRORS as e:
        raise explain(op, tensors, attrs, e) from None
    kept: dict[str, Any] = {}
    if not op.outputs:
        outs, single = [result], True
        if op.keeps:
            outs, kept = [result[0]], dict(zip(op.keeps, result[1:], strict=True))
    else:
        single = False
        result = list(result)
        if op.outputs[0] == "*":
            outs = result
        else:
            outs = result[: len(op.outputs)]
            kept = dict(zip(op.keeps, result[len(op.outputs) :], strict=True))
    made = [wrap(o if type(o) is ndarray else fix(o, lead)) for o in outs]
    edges = tuple(None if t is None else t._n for t in tensors)
    recording = op.grads and any(e is not None for e in edges) and (not W["nograd"] or state.grad)
    if W["nograd"] and state.inference:
        for t in made:
            inferred(t)
    if op.view:
        for t in made:
            if (
                t._a.base is (lead.base if lead.base is not None else lead)
                or type(lead) is not ndarray
            ):
                register_view(t, tensors[0], None if not single else op, attrs)
    if recording:
        record(op, tensors, attrs, edges, made, kept)
    if single:
        return made[0]
    if op.outputs[0] == "*":
        return tuple(made)
    if op.result is None:
        op.result = return_type(op)
    return op.result(*made)


def _common(op: Op, tensors: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Bring tensors to one dtype; the half precision to return to, if any."""
    from .record import OPS

    cast = OPS["cast"].call
    if op.rule == "math":
        d = next(t for t in tensors if t is not None)._a.dtype
    else:
        d = promote.result_raw([t for t in tensors if t is not None])
        if op.rule == "float" and OF[d].category < FLOAT:
            d = dtypes.default_raw()
    compute, low = (F4, d) if d in promote.LOW else (d, None)
    taking = range(len(tensors)) if op.variadic else op.promote

    def change(i: int, t: Any) -> Any:
        if t is None or i not in taking or t._a.dtype is compute:
            return t
        if op.rule == "math" and t._a.dtype not in promote.LOW:
            return t
        return cast(t, dtype=compute)

    return tuple(change(i, t) for i, t in enumerate(tensors)), low


def record(op: Op, tensors: Any, attrs: Any, edges: Any, made: Any, kept: Any) -> None:
    """Make the node of a call, with one pick node per output where several have gradients."""
    named: dict[str, Any] = {"y": made[0]._a, **kept}
    if op.variadic:
        name = op.tensors[0]
        named[name] = tuple(tensors)
        named[name + "_shape"] = tuple(t._a.shape for t in tensors)
        named[name + "_dtype"] = tuple(t._a.dtype for t in tensors)
        named["others"] = tuple(tensors[1:])
        saved_tensors = tensors if name in op.saved else tensors[1:] if "others" in op.saved else ()
    else:
        for name, t in zip(op.tensors, tensors, strict=True):
            named[name] = t
            if t is not None:
                named[name + "_shape"], named[name + "_dtype"] = t._a.shape, t._a.dtype
        saved_tensors = [named[n] for n in op.saved if n in op.tensors]
    for name, t in zip(op.outputs, made, strict=False):
        named[name] = t._a
    n = node(op, edges, tuple(named.get(k) for k in op.saved), attrs or None)
    n.ver = (
        None if all(t is None or t._c is None for t in saved_tensors) else versions(*saved_tensors)
    )
    diff = [i for i, t in enumerate(made) if (op.outputs[:1] == ("*",) or not op.outputs or op.diff[i]) and t._a.dtype.kind not in "biu"]  # fmt: skip
    if not op.outputs or (len(diff) == 1 and op.outputs[0] != "*"):
        t = made[diff[0]] if diff else made[0]
        t._n, n.shape, n.dt, n.cell = n, t._a.shape, t._a.dtype, t._c
        return
    n.shape, n.dt = [t._a.shape for t in made], made[0]._a.dtype
    for i in diff:
        p = made[i]._n = node(PICK, (n,), None, i)
        p.shape, p.dt, p.cell = made[i]._a.shape, made[i]._a.dtype, made[i]._c


def node(op: Any, edges: Any, saved: Any, attrs: Any) -> Node:
    """A node, youngest of all."""
    n: Node = new(Node)
    n.op, n.edges, n.saved, n.attrs = op, edges, saved, attrs
    n.seq, n.ver, n.cell, n.shape, n.dt = next(SEQ), None, None, None, None
    return n


class _Pick:
    """Stands for one output of a node that has several: hands its gradient to the node's list."""

    name, grad_name, formula = "pick", "Pick", None
    hooked, pick = False, True


PICK = _Pick()


def return_type(op: Op) -> Any:
    """A named tuple as ``torch.return_types.max``."""
    make: Any = collections.namedtuple
    base = make(op.name, op.outputs)

    def text(self: Any) -> str:
        body = ",\n".join(f"{k}={v!r}" for k, v in zip(op.outputs, self, strict=True))
        return f"torch.return_types.{op.name}(\n{body})"

    base.__repr__ = text
    base.__module__ = "torch.return_types"
    return base


# ---- slow branches of the wrappers ------------------------------------------------------------------
def intercepted(op: Op, args: Any, attrs: Any) -> Any:
    """Run the innermost interceptor with itself taken off the stack."""
    stack = state.stack
    if not stack:  # another thread's interceptor
        return op.generic(*args, **attrs)
    state.stack = stack[:-1]
    try:
        return stack[-1](op, args, attrs, op.call if len(stack) > 1 else op.generic)
    finally:
        state.stack = stack


def extended(op: Op, args: Any, attrs: Any, extra: Any, out: Any) -> Any:
    """The public parameters that are not the kernel's: alpha and its like, and out=."""
    if op.expand is not None and any(
        extra[k] is not v and extra[k] != v for k, v in op.extra.items()
    ):
        result = op.expand(op.call, *args, **attrs, **extra)
    else:
        result = op.call(*args, **attrs)
    return result if out is None else W["write_out"](op.name, result, out, args)


def versions(*ts: Any) -> tuple[int, ...]:
    """The versions of kept tensors; saving inference tensors is an error."""
    found = [0 if t is None or type(t) in NUM or t._c is None else t._c.version for t in ts]
    if None in found:
        raise RuntimeError(
            "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
            "inference mode in computation tracked by autograd. To work around this, you can make a "
            "clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
            "`torch.inference_mode()`."
        )
    return (*found, 0, 0, 0)


def fix(out: Any, like: Any) -> Any:
    """NumPy returns scalars for 0-d results; a Tensor always holds an array."""
    return out if type(out) is type(like) or not isinstance(out, (np.generic, int, float, complex)) else np.asarray(out)  # fmt: skip


def inferred(t: Tensor) -> None:
    """Mark a tensor as made in inference mode."""
    if t._c is None:  # else a view, which is what its base is
        cell_of(t).version = None


W.update(NUM=NUM, ERRORS=ERRORS, intercepted=intercepted, extended=extended)
W.update(
    PICK=PICK,
    alias_op=lambda: W["OPS"]["alias"],
    versions=versions,
    fix=fix,
    inferred=inferred,
    explain=explain,
)

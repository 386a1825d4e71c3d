"""From a record to the backward of its nodes: unpack what was kept, check versions, call the rules.

Like the wrappers, the source is generated per operator; the rules are bound to raw kernels for the
common case and to recorded operators for create_graph.
"""

from __future__ import annotations

from typing import Any

from ..tensor import W
from .record import Op, rebind

TWICE = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have "
    "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
    "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or "
    "if you need to access saved tensors after calling backward."
)


def source(op: Op, on_arrays: bool) -> str:
    """The text of one node's backward: ``(n, g) -> gradients of all edges``."""
    out = [f"def {op.name}_backward(n, g):"]
    if op.saved:
        out += [
            "  s = n.saved",
            "  if s is FREED: raise RuntimeError(TWICE)",
            f"  {', '.join(op.saved)}, = s",
        ]
        two = op.rule in ("promote", "float", "bool") and len(op.tensors) == 2
        for i, n in enumerate(op.saved):
            if n not in op.tensors and n != "others":
                continue
            if op.variadic:
                out.append(f"  for i, t in enumerate({n}):")
                out.append("    if t._c is not None: check(n, i, t._c)")
                if on_arrays:
                    out.append(f"  {n} = tuple(t._a for t in {n})")
                continue
            scalar = two and n == op.tensors[1]
            out.append(f"  if {n} is not None" + (f" and type({n}) not in NUM:" if scalar else ":"))
            out.append(f"    if {n}._c is not None: check(n, {i}, {n}._c)")
            if on_arrays:
                out.append(f"    {n} = {n}._a")
        if "y" in op.saved:
            out.append(f"  if n.cell is not None: check(n, {op.saved.index('y')}, n.cell)")
            if not on_arrays:
                out.append("  if y is not None: y = wrap(y, n)")
        if not on_arrays:
            for n in op.saved:
                if n in op.keeps or n in op.outputs:
                    out.append(f"  if type({n}) is not Tensor and {n} is not None: {n} = wrap({n})")
    used = sorted({a for need in op.needs for a in need if a in op.attrs})
    if used:
        out.append("  at = n.attrs")
        out += [f"  {a} = at[{a!r}]" for a in used]
    if any("want" in need for need in op.needs):
        out.append("  want = tuple([e is not None for e in n.edges])")
    calls = [f"R{i}(g{''.join(', ' + a for a in need)})" for i, need in enumerate(op.needs)]
    if op.together:
        out.append(f"  return {calls[0]}")
    elif len(calls) == 1:
        out.append(f"  return ({calls[0]},)")
    else:
        parts = [
            f"{c} if e[{i}] is not None else None" if op.rules[i] else "None"
            for i, c in enumerate(calls)
        ]
        out += ["  e = n.edges", f"  return ({', '.join(parts)},)"]
    return "\n".join(out)


def glue(op: Op, on_arrays: bool, ns: dict[str, Any]) -> Any:
    """Compile the backward, its rules bound to the namespace ns."""
    from .apply import compile_source

    rules = {f"R{i}": r and rebind(r, ns) for i, r in enumerate(op.rules)}
    return compile_source(source(op, on_arrays), f"{op.name}_backward", **rules)


def check(n: Any, i: int, cell: Any) -> None:
    """Raise if what a node kept was written to since."""
    want = n.ver[i] if n.ver and i < len(n.ver) else 0
    if cell.version != want and cell.version is not None:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: [{n.op.grad_name}] is at version {cell.version}; expected version {want} "
            "instead. Hint: enable anomaly detection to find the operation that failed to compute its "
            "gradient, with torch.autograd.set_detect_anomaly(True)."
        )


W.update(check=check, TWICE=TWICE)

"""Scalar formulas: traced once with symbols, rendered as NumPy, C++ and Triton source.

Tracing calls the formula of a record with symbols and gives a graph in which equal parts are one node,
so that every renderer emits common parts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import targets


class Expr:
    """A node of a traced formula: an operation on nodes and numbers, or a named input."""

    __slots__ = ("args", "kind", "op")
    __hash__ = object.__hash__

    def __init__(self, op: str, args: tuple[Any, ...], kind: str) -> None:
        self.op, self.args, self.kind = op, args, kind

    def __repr__(self) -> str:
        return (
            self.args[0] if self.op == "input" else f"{self.op}({', '.join(map(repr, self.args))})"
        )

    def __bool__(self) -> bool:
        raise TypeError("a formula cannot branch on a value: use m.where")


_SHARED: list[dict[Any, Expr]] = []  # one table a trace, innermost last


def _key(x: Any) -> Any:
    return id(x) if isinstance(x, Expr) else (type(x), x)


def _kind(op: str, args: tuple[Any, ...]) -> str:
    """b for truth values, x for what the kernel's dtype says."""
    if op in targets.TRUTH:
        return "b"
    if op in ("bitwise_and", "bitwise_or", "bitwise_xor", "invert"):
        return "b" if all(isinstance(a, Expr) and a.kind == "b" for a in args) else "x"
    return "x"


def make(op: str, *args: Any) -> Expr:
    """The node of an operation; the same one for the same arguments within a trace."""
    if not _SHARED:
        raise TypeError(f"m.{op} was called on plain numbers outside of a trace")
    key = (op, *map(_key, args))
    found = _SHARED[-1].get(key)
    if found is None:
        found = _SHARED[-1][key] = Expr(op, args, _kind(op, args))
    return found


_TWO = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lt": "less", "le": "less_equal",
    "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
_ONE = {"neg": "negative", "abs": "absolute", "invert": "invert"}


def _operators() -> None:
    def two(dunder: str, name: str) -> None:
        def forward(self: Expr, other: Any) -> Expr:
            return make(name, self, other)

        def reflected(self: Expr, other: Any) -> Expr:
            return make(name, other, self)

        setattr(Expr, f"__{dunder}__", forward)
        setattr(Expr, f"__r{dunder}__", reflected)

    for dunder, name in _TWO.items():
        two(dunder, name)
    for dunder, name in _ONE.items():
        setattr(Expr, f"__{dunder}__", lambda self, _name=name: make(_name, self))


_operators()


class _Math:
    """The functions that formulas may call, under NumPy's names."""

    def __getattr__(self, name: str) -> Callable[..., Expr]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any) -> Expr:
            return make(name, *args)

        self.__dict__[name] = call
        return call


math: Any = _Math()


def trace(fn: Callable[..., Any], names: Sequence[str], **attrs: Any) -> Expr:
    """The graph of a formula of inputs with these names; attributes become constants."""
    _SHARED.append({})
    try:
        made = fn(*[make("input", n) for n in names], **attrs)
        return made if isinstance(made, Expr) else make("constant", made)
    finally:
        _SHARED.pop()


def order(root: Expr) -> tuple[list[Expr], dict[int, int]]:
    """All nodes, arguments first, and how often each is used."""
    nodes: list[Expr] = []
    uses: dict[int, int] = {id(root): 1}
    opened: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            nodes.append(node)
        elif id(node) not in opened:
            opened.add(id(node))
            stack.append((node, True))
            for a in node.args:
                if isinstance(a, Expr):
                    uses[id(a)] = uses.get(id(a), 0) + 1
                    stack.append((a, False))
    return nodes, uses


class Renderer:
    """Turns a graph into statements of one language, each shared part assigned to a name once."""

    def __init__(self, target: targets.Target, dtype: str) -> None:
        self.target, self.dtype = target, dtype

    def render(self, root: Expr) -> tuple[list[str], str]:
        """The statements, and the expression of the result."""
        nodes, uses = order(root)
        text: dict[int, str] = {}
        lines: list[str] = []
        for node in nodes:
            if node.op == "input":
                text[id(node)] = node.args[0]
                continue
            made = self.expression(node, text)
            if uses[id(node)] > 1:
                name = f"t{len(lines)}"
                lines.append(
                    self.target.assign(name, made, self.target.types(node.kind, self.dtype))
                )
                made = name
            text[id(node)] = made
        return lines, text[id(root)]

    def expression(self, node: Expr, text: dict[int, str]) -> str:
        """One node as an expression of the texts of its arguments."""
        if node.op == "constant":
            return self.literal(node.args[0])
        if node.op == "where":
            numbers = [i for i in (1, 2) if not isinstance(node.args[i], Expr)]
            args = [self.argument(a, text) for a in node.args]
            if len(numbers) == 2 and self.target.name == "numpy":
                args[1] = f"np.asarray({args[1]}, {node.args[0]!r}.dtype)"
        else:
            args = [self.argument(a, text) for a in node.args]
        form = self.target.forms.get(node.op)
        if form is None:
            raise NotImplementedError(f"{self.target.name} has no form of {node.op}")
        return form.format(*args, T=self.target.types("x", self.dtype))

    def argument(self, a: Any, text: dict[int, str]) -> str:
        """The text of a node or the typed literal of a number."""
        return text[id(a)] if isinstance(a, Expr) else self.literal(a)

    def literal(self, value: Any) -> str:
        """A number in the kernel's dtype."""
        return self.target.literal(value, self.dtype)


def _traced(op: Any, attrs: dict[str, Any]) -> Expr:
    if op.scalar is None:
        raise ValueError(f"{op.name} has no scalar formula")
    values = {a: attrs.get(a, op.defaults.get(a)) for a in op.attrs}
    return trace(op.scalar, op.tensors, **values)


def numpy_source(op: Any, **attrs: Any) -> str:
    """A NumPy function ``<name>(inputs)`` with the meaning of a record's formula."""
    lines, result = Renderer(targets.NUMPY, "float64").render(_traced(op, attrs))
    body = "".join(f"    {line}\n" for line in [*lines, f"return {result}"])
    return f"def {op.name}({', '.join(op.tensors)}):\n{body}"


def cpp_source(op: Any, dtype: str = "float32", suffix: str = "", **attrs: Any) -> str:
    """A C function ``dk_<name>_<dtype>(inputs, out, n)`` over contiguous arrays; needs ``cpp_prelude()``."""
    root = _traced(op, attrs)
    lines, result = Renderer(targets.CPP, dtype).render(root)
    kind = targets.CPP.types("x", dtype)
    out = targets.CPP.types(root.kind, dtype)
    inputs = "".join(f"const {kind}* p_{t}, " for t in op.tensors)
    loads = "".join(f"    const {kind} {t} = p_{t}[i_];\n" for t in op.tensors)
    body = "".join(f"    {line}\n" for line in lines)
    return (
        f'extern "C" void dk_{op.name}_{dtype}{suffix}({inputs}{out}* out_, long n_) {{\n'
        f"  for (long i_ = 0; i_ < n_; ++i_) {{\n{loads}{body}    out_[i_] = {result};\n  }}\n}}\n"
    )


def cpp_prelude() -> str:
    """The includes and functions that rendered C++ relies on."""
    from .cpp import PRELUDE

    return PRELUDE


def triton_source(op: Any, dtype: str = "float32", **attrs: Any) -> str:
    """A Triton function ``dk_<name>(inputs)`` of blocks of values; NotImplementedError where Triton lacks a part."""
    lines, result = Renderer(targets.TRITON, dtype).render(_traced(op, attrs))
    body = "".join(f"    {line}\n" for line in [*lines, f"return {result}"])
    return f"@triton.jit\ndef dk_{op.name}({', '.join(op.tensors)}):\n{body}"

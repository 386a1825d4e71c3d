"""Op: all that is known of one operator, and the namespaces in which its code runs.

A kernel or rule is ONE code object bound to several namespaces: in the namespace of an array type
every operator name means its kernel and ``xp`` the array module; in the module's own globals the
same names mean recorded operators on Tensors.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from ..devices import XP, ndarray
from ..tensor import W

OPS: dict[str, Op] = {}
SPACES: dict[tuple[str, type], dict[str, Any]] = {}  # (module, array type) -> namespace
PACKAGE = __name__.rpartition(".")[0]


class Op:
    """One operator.

    kernel    arrays in, arrays out; positional parameters are tensors, keyword-only ones attributes
    cpu       a faster kernel for NumPy arrays; the other stays callable as ``<name>_generic``
    grads     a rule per tensor (None: no gradient), or one callable that returns all of them;
              a rule's parameter names say what is kept: an input, ``y`` the output, an output by name,
              ``<input>_shape``, ``<input>_dtype``, an attribute, ``want`` (which gradients are needed)
    rule      dtypes: "promote", "float" (integers become the default float), "bool" (comparison),
              "math" (no promotion; half precisions are computed in float32), None
    view      True, or "maybe": the result shares memory with the first tensor
    outputs   names of several results; diff says which of them have gradients
    keeps     further kernel results that a rule may name, not returned to the user
    formula   the composite in other operators that this kernel stands for
    fixed     tensors that take no part in promotion
    numbers   positions of promoted tensors at which a Python number is taken as well
    extra     further keyword parameters of the public function, handled by expand()
    """

    hooked = pick = False  # see autograd.hooks.Hooked and apply.PICK

    def __init__(
        self, name: str, kernel: Callable[..., Any], grads: Any = None, rule: str | None = None, *,
        cpu: Callable[..., Any] | None = None, view: bool | str = False,
        outputs: Sequence[str] = (), diff: Sequence[bool] = (), keeps: Sequence[str] = (),
        formula: Callable[..., Any] | None = None, fixed: Sequence[str] = (),
        extra: dict[str, Any] | None = None, expand: Callable[..., Any] | None = None,
        out: bool = False, method: bool = True, inplace: bool = False,
        into: Callable[..., Any] | None = None, cast: bool = False,
        ref: Callable[..., Any] | None = None, samples: Callable[[], Any] | None = None,
        domain: tuple[float, float] | None = None, errors: Sequence[Any] = (),
        onnx: str | None = None, scalar: Callable[..., Any] | None = None,
        grad_name: str | None = None, once: bool = False, numbers: Sequence[int] = (1,),
    ) -> None:  # fmt: skip
        self.name, self.kernel, self.cpu, self.rule, self.view = name, kernel, cpu, rule, view
        self.outputs, self.keeps, self.formula = tuple(outputs), tuple(keeps), formula
        self.diff = tuple(diff) or (True,) * len(self.outputs)
        self.extra, self.expand, self.out = dict(extra or {}), expand, out
        self.method, self.inplace, self.into, self.cast = method, inplace, into, cast
        self.ref, self.samples, self.domain, self.errors = ref, samples, domain, errors
        self.onnx, self.scalar, self.once, self.numbers = onnx, scalar, once, frozenset(numbers)
        self.grad_name = grad_name or "".join(p.title() for p in name.split("_")) + "Backward0"
        self.tensors, self.attrs, self.defaults, self.variadic = parameters(kernel)
        self.optional = {t for t in self.tensors if t in self.defaults and self.defaults[t] is None}
        self.promote = [i for i, t in enumerate(self.tensors) if t not in fixed]
        self.grads, self.together = grads, callable(grads)
        self.rules: list[Any] = [grads] if self.together else list(grads or ())
        self.needs = [parameters(r)[0][1:] if r else [] for r in self.rules]
        self.saved, self.users = self._kept()
        shapes = tuple(t + s for t in self.tensors for s in ("_shape", "_dtype"))
        self.frees = any(n not in shapes for n in self.saved)  # what a second backward would miss
        self.kernels: dict[type, Callable[..., Any]] = {}
        self.raw: dict[type, Callable[..., Any]] = {}
        self.places: list[tuple[Any, str]] = []
        self.call: Callable[..., Any] = self.unbuilt
        self.generic: Callable[..., Any] = self.unbuilt
        self.result: Any = None
        self._rec: Any = None

    def _kept(self) -> tuple[list[str], dict[str, list[int]]]:
        named = {n for need in self.needs for n in need if n not in self.attrs and n != "want"}
        if self.formula:
            named |= set(self.tensors)
        order = [t for t in self.tensors if t in named] + sorted(named - set(self.tensors))
        return order, {n: [i for i, need in enumerate(self.needs) if n in need] for n in order}

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def unbuilt(self, *args: Any, **kwargs: Any) -> Any:
        """Build the specialised wrapper, then call it."""
        from .apply import build

        build(self)
        return self.call(*args, **kwargs)

    def glue(self, array_type: type) -> Callable[..., Any]:
        """The backward of one node on raw arrays of a type."""
        made = self.raw.get(array_type)
        if made is None:
            from .backward import glue

            made = self.raw[array_type] = glue(
                self, True, space(self.kernel.__module__, array_type)
            )
        return made

    @property
    def rec(self) -> Any:
        """The backward of one node on Tensors, recorded."""
        if self._rec is None:
            from .backward import glue

            self._rec = glue(self, False, sys.modules[self.kernel.__module__].__dict__)
        return self._rec

    def kernel_for(self, array: Any) -> Callable[..., Any]:
        """The kernel for an array's type."""
        kind = type(array)
        found = self.kernels.get(kind)
        if found is None:
            if kind not in XP:
                raise TypeError(f"{self.name}() has no kernel for {kind.__name__}")
            space(self.kernel.__module__, kind)
            found = self.kernels[kind]
        return found


def parameters(fn: Any) -> tuple[list[str], list[str], dict[str, Any], bool]:
    """Positional names, keyword-only names, defaults, and whether there is a ``*name``."""
    code = fn.__code__
    n, k = code.co_argcount, code.co_kwonlyargcount
    names, only = list(code.co_varnames[:n]), list(code.co_varnames[n : n + k])
    defaults = dict(
        zip(names[n - len(fn.__defaults__ or ()) :], fn.__defaults__ or (), strict=True)
    )
    defaults.update(fn.__kwdefaults__ or {})
    variadic = bool(code.co_flags & 4)
    return names + list(code.co_varnames[n + k : n + k + variadic]), only, defaults, variadic


def kernel(op: Op, array: Any) -> Callable[..., Any]:
    """The kernel of an operator for an array's type."""
    return op.kernels.get(type(array)) or op.kernel_for(array)


def rebind(fn: Any, ns: dict[str, Any]) -> Any:
    """The same code with other globals."""
    f = types.FunctionType(fn.__code__, ns, fn.__name__, fn.__defaults__, fn.__closure__)
    f.__kwdefaults__ = fn.__kwdefaults__
    return f


def space(module: str, array_type: type) -> dict[str, Any]:
    """The globals of an operator module for one array type: names mean kernels, xp the array module."""
    found = SPACES.get((module, array_type))
    if found is None:
        _make_spaces(array_type)
        found = SPACES[module, array_type]
    return found


def _make_spaces(array_type: type) -> None:
    """Bind all operator modules for an array type: first each module's own, then what it imports."""
    modules = {op.kernel.__module__ for op in OPS.values()}
    modules |= {m for m in sys.modules if m.startswith(PACKAGE + ".")}
    names = [m for m in sorted(modules) if m not in _PLUMBING and m in sys.modules]
    for name in names:
        ns = SPACES[name, array_type] = dict(sys.modules[name].__dict__)
        ns["xp"] = ns["m"] = XP[array_type]
    for op in OPS.values():
        ns = SPACES[op.kernel.__module__, array_type]
        generic = rebind(op.kernel, ns)
        fast = op.cpu if array_type is ndarray else None
        op.kernels[array_type] = rebind(fast, ns) if fast else generic
        if op.into and array_type is ndarray:
            op.into = rebind(op.into, ns)
        ns[op.name + "_generic"] = generic
    own: dict[tuple[str, str], Any] = {}
    for name in names:
        ns = SPACES[name, array_type]
        for key, value in sys.modules[name].__dict__.items():
            op_ = getattr(value, "op", None)
            if isinstance(value, types.FunctionType) and op_ is None and value.__module__ == name:
                ns[key] = own[name, value.__name__] = rebind(value, ns)
    for name in names:
        ns = SPACES[name, array_type]
        for key, value in sys.modules[name].__dict__.items():
            op_ = getattr(value, "op", None)
            if isinstance(op_, Op):
                f = op_.kernels[array_type]
                ns[key] = _first(f) if op_.keeps else f
            elif isinstance(value, types.FunctionType) and value.__module__ != name:
                ns[key] = own.get((value.__module__, value.__name__), value)


_PLUMBING = {
    f"{PACKAGE}.{m}"
    for m in ("record", "apply", "explain", "backward", "promote", "registry", "formula")
}


def _first(f: Callable[..., Any]) -> Callable[..., Any]:
    def first(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)[0]

    return first


W.update(kernel=kernel, kernel_of_=kernel, OPS=OPS)  # kernel_of_: attributes may be called kernel
